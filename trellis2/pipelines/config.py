"""`pipeline.json` as typed, checked data. Unknown keys are errors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trellis2 import samplers

from .errors import PipelineConfigError, unknown_key
from .pipeline_types import (
    PUBLISHED_TEXTURE_TYPES,
    PUBLISHED_TYPES,
    PipelineType,
    TextureType,
    parse_pipeline_types,
    parse_texture_types,
)
from .sampler_params import check_sampler_params

__all__ = [
    "SAMPLERS",
    "ImageTo3DConfig",
    "ModelSpec",
    "Normalization",
    "SamplerSpec",
    "TexturingConfig",
    "read_pipeline_json",
]

#: Samplers by the name that a pipeline file gives them.
SAMPLERS: dict[str, type[samplers.FlowEulerSampler]] = {
    "FlowEulerSampler": samplers.FlowEulerSampler,
    "FlowEulerCfgSampler": samplers.FlowEulerCfgSampler,
    "FlowEulerGuidanceIntervalSampler": samplers.FlowEulerGuidanceIntervalSampler,
}


@dataclass(frozen=True)
class ModelSpec:
    """A class by name, with constructor arguments."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SamplerSpec:
    """A sampler class, its constructor arguments and the default keywords of its `sample`."""

    name: str
    args: Mapping[str, Any]
    params: Mapping[str, Any]

    def build(self) -> samplers.FlowEulerSampler:
        return SAMPLERS[self.name](**self.args)


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of a latent."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def as_dict(self) -> dict[str, list[float]]:
        return {"mean": list(self.mean), "std": list(self.std)}


@dataclass(frozen=True)
class ImageTo3DConfig:
    """Arguments of the image-to-3D pipeline."""

    models: Mapping[str, str]  # key -> stem of NAME.json + NAME.safetensors
    sparse_structure_sampler: SamplerSpec
    shape_slat_sampler: SamplerSpec
    tex_slat_sampler: SamplerSpec
    shape_slat_normalization: Normalization
    tex_slat_normalization: Normalization
    image_cond_model: ModelSpec
    rembg_model: ModelSpec
    low_vram: bool = True
    default_pipeline_type: str = "1024_cascade"
    pipeline_types: Mapping[str, PipelineType] = field(default_factory=lambda: PUBLISHED_TYPES)

    @classmethod
    def parse(cls, args: Any) -> ImageTo3DConfig:
        """Read the `args` object of a pipeline file. Raises PipelineConfigError."""
        _check_keys(args, cls)
        types = parse_pipeline_types(args["pipeline_types"]) if "pipeline_types" in args else PUBLISHED_TYPES
        default = args.get("default_pipeline_type", "1024_cascade" if types is PUBLISHED_TYPES else next(iter(types)))
        if default not in types:
            raise PipelineConfigError(
                f"args.default_pipeline_type is {default!r}, but pipeline_types has: {', '.join(types)}"
            )
        return cls(
            models=_models(args),
            sparse_structure_sampler=_sampler(args, "sparse_structure_sampler"),
            shape_slat_sampler=_sampler(args, "shape_slat_sampler"),
            tex_slat_sampler=_sampler(args, "tex_slat_sampler"),
            shape_slat_normalization=_normalization(args, "shape_slat_normalization"),
            tex_slat_normalization=_normalization(args, "tex_slat_normalization"),
            image_cond_model=_model_spec(args, "image_cond_model"),
            rembg_model=_model_spec(args, "rembg_model"),
            low_vram=_flag(args, "low_vram", True),
            default_pipeline_type=default,
            pipeline_types=types,
        )


@dataclass(frozen=True)
class TexturingConfig:
    """Arguments of the texturing pipeline."""

    models: Mapping[str, str]
    tex_slat_sampler: SamplerSpec
    shape_slat_normalization: Normalization
    tex_slat_normalization: Normalization
    image_cond_model: ModelSpec
    rembg_model: ModelSpec
    low_vram: bool = True
    texture_types: Mapping[int, TextureType] = field(default_factory=lambda: PUBLISHED_TEXTURE_TYPES)
    default_resolution: int = 1024

    @classmethod
    def parse(cls, args: Any) -> TexturingConfig:
        """Read the `args` object of a texturing pipeline file. Raises PipelineConfigError."""
        # a file made for both pipelines may carry the samplers of the other one
        _check_keys(args, cls, also={"sparse_structure_sampler", "shape_slat_sampler"})
        types = parse_texture_types(args["texture_types"]) if "texture_types" in args else PUBLISHED_TEXTURE_TYPES
        default = args.get("default_resolution", 1024 if 1024 in types else max(types))
        if default not in types:
            raise PipelineConfigError(
                f"args.default_resolution is {default!r}, but texture_types has: {', '.join(map(str, types))}"
            )
        return cls(
            models=_models(args),
            tex_slat_sampler=_sampler(args, "tex_slat_sampler"),
            shape_slat_normalization=_normalization(args, "shape_slat_normalization"),
            tex_slat_normalization=_normalization(args, "tex_slat_normalization"),
            image_cond_model=_model_spec(args, "image_cond_model"),
            rembg_model=_model_spec(args, "rembg_model"),
            low_vram=_flag(args, "low_vram", True),
            texture_types=types,
            default_resolution=default,
        )


def read_pipeline_json(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a pipeline file: its class name and the unparsed `args`. Raises PipelineConfigError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise PipelineConfigError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise PipelineConfigError(f"{path} must hold a JSON object, got {type(content).__name__}")
    for key in content:
        if key not in ("name", "args"):
            raise unknown_key(str(path), key, ("name", "args"))
    name, args = content.get("name"), content.get("args")
    if not isinstance(name, str) or not isinstance(args, dict):
        raise PipelineConfigError(f"{path} must have a string `name` and an object `args`")
    return name, args


def _check_keys(args: Any, cls: type, also: set[str] | None = None) -> None:
    if not isinstance(args, Mapping):
        raise PipelineConfigError(f"args must be an object, got {type(args).__name__}")
    known = set(cls.__dataclass_fields__)  # type: ignore[attr-defined]
    for key in args:
        if key not in known | (also or set()):
            raise unknown_key("args", key, known)


def _object(args: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    if key not in args:
        raise PipelineConfigError(f"args: missing {key!r}")
    if not isinstance(args[key], Mapping):
        raise PipelineConfigError(f"args.{key} must be an object, got {type(args[key]).__name__}")
    return args[key]


def _models(args: Mapping[str, Any]) -> dict[str, str]:
    models = _object(args, "models")
    for key, stem in models.items():
        if not isinstance(stem, str) or not stem:
            raise PipelineConfigError(f"args.models[{key!r}] must be a path, got {stem!r}")
    return dict(models)


def _flag(args: Mapping[str, Any], key: str, default: bool) -> bool:
    value = args.get(key, default)
    if not isinstance(value, bool):
        raise PipelineConfigError(f"args.{key} must be true or false, got {value!r}")
    return value


def _named(args: Mapping[str, Any], key: str, allowed: tuple[str, ...]) -> tuple[str, dict[str, dict[str, Any]]]:
    """The `name` of an object and its sub-objects, all of `allowed` names."""
    value = _object(args, key)
    for name in value:
        if name != "name" and name not in allowed:
            raise unknown_key(f"args.{key}", name, ("name", *allowed))
    if not isinstance(value.get("name"), str):
        raise PipelineConfigError(f"args.{key}: missing 'name'")
    parts = {}
    for name in allowed:
        part = value.get(name, {})
        if not isinstance(part, Mapping):
            raise PipelineConfigError(f"args.{key}.{name} must be an object, got {type(part).__name__}")
        parts[name] = dict(part)
    return value["name"], parts


def _model_spec(args: Mapping[str, Any], key: str) -> ModelSpec:
    name, parts = _named(args, key, ("args",))
    return ModelSpec(name, parts["args"])


def _sampler(args: Mapping[str, Any], key: str) -> SamplerSpec:
    name, parts = _named(args, key, ("args", "params"))
    if name not in SAMPLERS:
        raise PipelineConfigError(f"args.{key}: unknown sampler {name!r}, choose from: {', '.join(SAMPLERS)}")
    for param in parts["args"]:
        if param not in ("sigma_min", "batch_guidance"):
            raise unknown_key(f"args.{key}.args", param, ("sigma_min", "batch_guidance"))
    check_sampler_params(f"args.{key}.params", parts["params"], SAMPLERS[name].PARAMS)
    spec = SamplerSpec(name, parts["args"], parts["params"])
    try:
        spec.build()
    except (TypeError, ValueError) as error:
        raise PipelineConfigError(f"args.{key}.args: {error}") from None
    return spec


def _normalization(args: Mapping[str, Any], key: str) -> Normalization:
    value = _object(args, key)
    for name in value:
        if name not in ("mean", "std"):
            raise unknown_key(f"args.{key}", name, ("mean", "std"))
    rows = []
    for name in ("mean", "std"):
        numbers = value.get(name)
        if not isinstance(numbers, list) or not numbers:
            raise PipelineConfigError(f"args.{key}.{name} must be a list of numbers, one a channel")
        if not all(isinstance(v, (int, float)) and math.isfinite(v) for v in numbers):
            raise PipelineConfigError(f"args.{key}.{name} must hold finite numbers only")
        rows.append(tuple(float(v) for v in numbers))
    mean, std = rows
    if len(mean) != len(std) or min(std) <= 0:
        raise PipelineConfigError(f"args.{key}: std must be positive and as long as mean ({len(mean)})")
    return Normalization(mean, std)
