"""Pipeline types as data: which networks run, on which grids, with which image sizes.

A type runs: sparse structure on `ss_resolution`, then its shape stages, then the texture stage. A second shape stage
starts from the structure that the decoder finds at the first one's resolution (a cascade).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from .errors import PipelineConfigError, unknown_key

__all__ = [
    "PUBLISHED_TYPES",
    "PUBLISHED_TEXTURE_TYPES",
    "PipelineType",
    "ShapeStage",
    "TextureType",
    "parse_pipeline_types",
    "parse_texture_types",
]


@dataclass(frozen=True)
class ShapeStage:
    """One pass of a shape flow model."""

    model: str  # key in `models`
    resolution: int  # output grid that its latents stand for, voxels a side
    cond_resolution: int  # size of the conditioning image, pixels


@dataclass(frozen=True)
class PipelineType:
    """What happens between an image and a decoded asset."""

    ss_resolution: int  # grid of the sparse structure, cells a side; = first shape resolution / latent factor
    ss_cond_resolution: int  # size of its conditioning image, pixels
    shape_stages: tuple[ShapeStage, ...]  # one, or two for a cascade
    tex_model: str  # key in `models`
    tex_cond_resolution: int  # size of its conditioning image, pixels
    resolution: int  # output grid, voxels a side
    token_ladder: tuple[int, ...] = ()  # output grids to try in turn until the token limit holds; cascades only

    def __post_init__(self) -> None:
        sizes = {
            "ss_resolution": self.ss_resolution,
            "ss_cond_resolution": self.ss_cond_resolution,
            "tex_cond_resolution": self.tex_cond_resolution,
            "resolution": self.resolution,
        }
        for name, value in sizes.items():
            _positive(name, value)
        if len(self.shape_stages) not in (1, 2):
            raise PipelineConfigError(f"shape_stages must hold one or two stages, got {len(self.shape_stages)}")
        for stage in self.shape_stages:
            _positive("shape_stages[].resolution", stage.resolution)
            _positive("shape_stages[].cond_resolution", stage.cond_resolution)
        if self.shape_stages[-1].resolution != self.resolution:
            raise PipelineConfigError(
                f"the last shape stage must have the type's resolution {self.resolution}, "
                f"got {self.shape_stages[-1].resolution}"
            )
        if self.token_ladder and not self.is_cascade:
            raise PipelineConfigError("token_ladder needs a cascade (two shape stages)")
        ladder = self.ladder
        if ladder[0] != self.resolution or any(a <= b for a, b in pairwise(ladder)):
            raise PipelineConfigError(
                f"token_ladder must fall strictly and start at the resolution {self.resolution}, got {list(ladder)}"
            )

    @property
    def is_cascade(self) -> bool:
        return len(self.shape_stages) == 2

    @property
    def ladder(self) -> tuple[int, ...]:
        """Output grids in the order in which they are tried."""
        return self.token_ladder or (self.resolution,)

    @property
    def models(self) -> tuple[str, ...]:
        """Keys of all networks that the type needs."""
        keys = ["sparse_structure_flow_model", "sparse_structure_decoder"]
        keys += [stage.model for stage in self.shape_stages]
        keys += ["shape_slat_decoder", self.tex_model, "tex_slat_decoder"]
        return tuple(dict.fromkeys(keys))

    @property
    def cond_resolutions(self) -> tuple[int, ...]:
        """Sizes of all conditioning images, ascending."""
        return tuple(sorted({*self.shape_cond_resolutions, self.tex_cond_resolution}))

    @property
    def shape_cond_resolutions(self) -> tuple[int, ...]:
        """Sizes of the conditioning images of all stages but the texture, ascending."""
        return tuple(sorted({self.ss_cond_resolution, *(stage.cond_resolution for stage in self.shape_stages)}))


@dataclass(frozen=True)
class TextureType:
    """How a given mesh is textured at one resolution."""

    tex_model: str  # key in `models`
    cond_resolution: int  # size of the conditioning image, pixels

    def __post_init__(self) -> None:
        _positive("cond_resolution", self.cond_resolution)


def _positive(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PipelineConfigError(f"{name} must be a positive integer, got {value!r}")


def _cascade(top: int) -> PipelineType:
    return PipelineType(
        ss_resolution=32,
        ss_cond_resolution=512,
        shape_stages=(
            ShapeStage("shape_slat_flow_model_512", 512, 512),
            ShapeStage("shape_slat_flow_model_1024", top, 1024),
        ),
        tex_model="tex_slat_flow_model_1024",
        tex_cond_resolution=1024,
        resolution=top,
        token_ladder=tuple(range(top, 1023, -128)),
    )


#: The four published types.
PUBLISHED_TYPES: Mapping[str, PipelineType] = MappingProxyType(
    {
        "512": PipelineType(
            ss_resolution=32,
            ss_cond_resolution=512,
            shape_stages=(ShapeStage("shape_slat_flow_model_512", 512, 512),),
            tex_model="tex_slat_flow_model_512",
            tex_cond_resolution=512,
            resolution=512,
        ),
        "1024": PipelineType(
            ss_resolution=64,
            ss_cond_resolution=512,
            shape_stages=(ShapeStage("shape_slat_flow_model_1024", 1024, 1024),),
            tex_model="tex_slat_flow_model_1024",
            tex_cond_resolution=1024,
            resolution=1024,
        ),
        "1024_cascade": _cascade(1024),
        "1536_cascade": _cascade(1536),
    }
)

#: Texturing by output resolution, as published.
PUBLISHED_TEXTURE_TYPES: Mapping[int, TextureType] = MappingProxyType(
    {
        512: TextureType("tex_slat_flow_model_512", 512),
        1024: TextureType("tex_slat_flow_model_1024", 1024),
        1536: TextureType("tex_slat_flow_model_1024", 1024),
    }
)


def _entry(where: str, cls: type, value: Any) -> dict[str, Any]:
    """Check that `value` is an object with exactly the fields of dataclass `cls` (defaults may be left out)."""
    if not isinstance(value, Mapping):
        raise PipelineConfigError(f"{where} must be an object, got {type(value).__name__}")
    names = [f.name for f in fields(cls)]
    for key in value:
        if key not in names:
            raise unknown_key(where, key, names)
    missing = [name for name in names if name not in value and name != "token_ladder"]
    if missing:
        raise PipelineConfigError(f"{where}: missing {', '.join(missing)}")
    return dict(value)


def parse_pipeline_types(value: Any) -> dict[str, PipelineType]:
    """Read the `pipeline_types` table of a pipeline file. Raises PipelineConfigError."""
    if not isinstance(value, Mapping) or not value:
        raise PipelineConfigError("args.pipeline_types must be a non-empty object of type name to definition")
    table = {}
    for name, definition in value.items():
        where = f"args.pipeline_types[{name!r}]"
        entry = _entry(where, PipelineType, definition)
        stages = entry.pop("shape_stages")
        if not isinstance(stages, list):
            raise PipelineConfigError(f"{where}.shape_stages must be a list, got {type(stages).__name__}")
        parsed = tuple(
            ShapeStage(**_entry(f"{where}.shape_stages[{i}]", ShapeStage, stage)) for i, stage in enumerate(stages)
        )
        ladder = tuple(entry.pop("token_ladder", ()))
        try:
            table[str(name)] = PipelineType(shape_stages=parsed, token_ladder=ladder, **entry)
        except PipelineConfigError as error:
            raise PipelineConfigError(f"{where}: {error}") from None
    return table


def parse_texture_types(value: Any) -> dict[int, TextureType]:
    """Read the `texture_types` table of a texturing pipeline file. Raises PipelineConfigError."""
    if not isinstance(value, Mapping) or not value:
        raise PipelineConfigError("args.texture_types must be a non-empty object of resolution to definition")
    table = {}
    for resolution, definition in value.items():
        where = f"args.texture_types[{resolution!r}]"
        if not str(resolution).isdigit() or int(resolution) < 1:
            raise PipelineConfigError(f'{where}: the key must be a resolution such as "128"')
        table[int(resolution)] = TextureType(**_entry(where, TextureType, definition))
    return table
