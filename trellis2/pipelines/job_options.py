"""What a job may be told, as checked data: the same for the command line, the server and the apps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from trellis2.samplers import FUSIONS

from .errors import unknown_key
from .noise import check_seed
from .sampler_params import check_sampler_params

__all__ = ["FORMATS", "PLAIN_FORMATS", "ExportOptions", "Format", "GenerateOptions", "TextureOptions"]

Format = Literal["glb", "gltf", "obj", "ply", "stl", "3mf", "usdz", "vxz"]
FORMATS: tuple[str, ...] = get_args(Format)
PLAIN_FORMATS = ("glb", "obj", "ply", "stl")  # that can hold geometry without a material
PROFILES = ("game", "raw", "print")
IMAGE_FORMATS = ("png", "jpeg", "webp")
VIEW_LABELS = ("front", "right", "back", "left", "top", "bottom")
UVS = ("auto", "keep", "unwrap")
MAX_SAMPLES = 16

O = TypeVar("O", bound="_Options")


def _whole(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number in {low}…{high}, got {value!r}")


def _choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}, choose from: {', '.join(choices)}")


@dataclass(frozen=True)
class _Options:
    @classmethod
    def from_dict(cls: type[O], values: Mapping[str, Any]) -> O:
        """Read JSON values. Raises ValueError for unknown names (with the nearest) and values out of range."""
        known = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise unknown_key(cls.__name__, key, known)
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class GenerateOptions(_Options):
    """From one image, or several of one object, to latents."""

    seed: int = 42  # of the first sample; the next ones follow
    num_samples: int = 1
    candidates: int = 1  # a sample: so many are made, the one that fits the image best is kept
    pipeline_type: str | None = None  # None: the pipeline's default
    steps: int | None = None  # of every stage; None: as the pipeline says
    sparse_structure_sampler_params: Mapping[str, Any] = field(default_factory=dict)
    shape_slat_sampler_params: Mapping[str, Any] = field(default_factory=dict)
    tex_slat_sampler_params: Mapping[str, Any] = field(default_factory=dict)
    max_num_tokens: int = 49152
    preprocess_image: bool = True
    texture: bool = True  # False: geometry only
    fusion: str | None = None  # of several images; None: as the pipeline says
    view_labels: tuple[str, ...] = ()  # of the images, in their order; or none

    def __post_init__(self) -> None:
        check_seed(self.seed)
        _whole("num_samples", self.num_samples, 1, MAX_SAMPLES)
        _whole("candidates", self.candidates, 1, MAX_SAMPLES)
        _whole("max_num_tokens", self.max_num_tokens, 1, 2**31)
        if self.steps is not None:
            _whole("steps", self.steps, 1, 1000)
        if self.fusion is not None:
            _choice("fusion", self.fusion, FUSIONS)
        object.__setattr__(self, "view_labels", tuple(self.view_labels))
        for label in self.view_labels:
            _choice("view label", label, VIEW_LABELS)
        for name in ("sparse_structure_sampler_params", "shape_slat_sampler_params", "tex_slat_sampler_params"):
            check_sampler_params(name, getattr(self, name))

    def sampler_params(self) -> dict[str, dict[str, Any]]:
        """Keywords of `generate` for the three samplers; `steps` yields to a stage's own."""
        common = {} if self.steps is None else {"steps": self.steps}
        names = ("sparse_structure_sampler_params", "shape_slat_sampler_params", "tex_slat_sampler_params")
        return {name: {**common, **getattr(self, name)} for name in names}


@dataclass(frozen=True)
class ExportOptions(_Options):
    """From a decoded asset to a file."""

    format: str = "glb"
    profile: str | None = None  # None: "game", or "print" for small grids, whose holes are noise
    faces: int | None = None  # most faces; None: by the size of the grid
    texture_size: int | None = None  # texels a side; None: by the size of the grid
    remesh: bool = True  # a closed surface in place of the decoded one
    image_format: str | None = None  # of the textures; None: WebP for large grids, else PNG

    def __post_init__(self) -> None:
        _choice("format", self.format, FORMATS)
        if self.profile is not None:
            _choice("profile", self.profile, PROFILES)
        if self.faces is not None:
            _whole("faces", self.faces, 4, 2**26)
        if self.texture_size is not None:
            _whole("texture_size", self.texture_size, 16, 16384)
        if self.image_format is not None:
            _choice("image_format", self.image_format, IMAGE_FORMATS)


@dataclass(frozen=True)
class TextureOptions(_Options):
    """A material for a given mesh."""

    seed: int = 42
    resolution: int | None = None  # voxels a side; None: the pipeline's default
    texture_size: int = 2048  # texels a side
    uv: str = "auto"
    steps: int | None = None
    tex_slat_sampler_params: Mapping[str, Any] = field(default_factory=dict)
    preprocess_image: bool = True
    fusion: str | None = None
    image_format: str = "png"

    def __post_init__(self) -> None:
        check_seed(self.seed)
        _whole("texture_size", self.texture_size, 16, 16384)
        _choice("uv", self.uv, UVS)
        _choice("image_format", self.image_format, IMAGE_FORMATS)
        if self.steps is not None:
            _whole("steps", self.steps, 1, 1000)
        if self.fusion is not None:
            _choice("fusion", self.fusion, FUSIONS)
        check_sampler_params("tex_slat_sampler_params", self.tex_slat_sampler_params)

    def sampler_params(self) -> dict[str, Any]:
        """Keywords of the texture sampler; `steps` yields to its own."""
        return {**({} if self.steps is None else {"steps": self.steps}), **self.tex_slat_sampler_params}
