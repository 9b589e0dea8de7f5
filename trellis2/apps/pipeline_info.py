"""What a page needs to know of a pipeline before its networks are loaded: read from its JSON file alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["STAGES", "PipelineInfo", "SamplerDefaults", "read_pipeline_info"]

#: sampler's name in the pipeline file -> words; its options are called `<name>_params`
STAGES = {
    "sparse_structure_sampler": "Where the object is",
    "shape_slat_sampler": "Surface",
    "tex_slat_sampler": "Colours and materials",
}
_PUBLISHED_TYPES = {"512": 512, "1024": 1024, "1024_cascade": 1024, "1536_cascade": 1536}
_PUBLISHED_TEXTURE_SIZES = (512, 1024, 1536)
LARGE_GRID = 256  # above it the published export settings apply


@dataclass(frozen=True)
class SamplerDefaults:
    """Settings of one stage as the pipeline file has them."""

    steps: int
    guidance_strength: float
    guidance_rescale: float
    rescale_t: float
    guidance_interval: tuple[float, float]

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> SamplerDefaults:
        low, high = params.get("guidance_interval", (0.0, 1.0))
        return cls(
            int(params.get("steps", 12)),
            float(params.get("guidance_strength", 1.0)),
            float(params.get("guidance_rescale", 0.0)),
            float(params.get("rescale_t", 1.0)),
            (float(low), float(high)),
        )


@dataclass(frozen=True)
class PipelineInfo:
    """A pipeline as a page shows it."""

    name: str
    resolutions: dict[str, int]  # pipeline type -> voxels a side
    default_type: str
    samplers: dict[str, SamplerDefaults]  # by the keys of `STAGES` that the file has

    @property
    def large(self) -> bool:
        return max(self.resolutions.values()) > LARGE_GRID


def read_pipeline_info(path: str, config_file: str = "pipeline.json") -> PipelineInfo:
    """From a local folder, or a Hub repository (downloads the JSON file).

    Raises ValueError if the file is no pipeline file, and PipelineLoadError if it cannot be had.
    """
    from trellis2.pipelines.files import Source

    file = Source(path).config_file(config_file)
    try:
        args = json.loads(Path(file).read_text(encoding="utf-8"))["args"]
        sizes = _sizes(args)
        samplers = {name: SamplerDefaults.of(args[name].get("params", {})) for name in STAGES if name in args}
        default = str(args.get("default_pipeline_type") or args.get("default_resolution") or "")
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is no pipeline file: {type(error).__name__}: {error}") from None
    if default not in sizes:
        default = "1024_cascade" if "1024_cascade" in sizes else next(iter(sizes))
    return PipelineInfo(Path(path).name or path, sizes, default, samplers)


def _sizes(args: Mapping[str, Any]) -> dict[str, int]:
    """Voxels a side of everything that the pipeline can make, by name."""
    if "pipeline_types" in args:
        return {key: int(value["resolution"]) for key, value in args["pipeline_types"].items()}
    if "texture_types" in args:
        return {key: int(key) for key in args["texture_types"]}
    if "shape_slat_encoder" in args["models"]:
        return {str(size): size for size in _PUBLISHED_TEXTURE_SIZES}
    return dict(_PUBLISHED_TYPES)
