"""The arguments of `to_glb` that choose what is done, checked and in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from o_voxel.mesh.unwrap import texture_padding
from o_voxel.postprocess.material import AlphaMode, check_alpha_mode
from o_voxel.postprocess.prepare import SMOOTH_ROUNDS, Profile

__all__ = ["ExportOptions"]

UnwrapMethod = Literal["auto", "charts", "xatlas"]

MAX_CHART_ANGLE = 65.0  # degrees; charts are relaxed after projection, so that stretch stays near 1


@dataclass(frozen=True)
class ExportOptions:
    """What `to_glb` is asked for; the fields are described there. Raises ValueError on values out of range."""

    decimation_target: int = 1_000_000
    texture_size: int = 2048
    remesh: bool = False
    remesh_band: float = 1.0
    remesh_project: float = 0.9
    chart_half_angle: float = math.radians(90.0)
    profile: Profile = "game"
    alpha_mode: AlphaMode | None = None
    double_sided: bool | None = None
    hole_perimeter: float | None = None
    unwrap_method: UnwrapMethod = "auto"
    smooth: int = SMOOTH_ROUNDS
    normal_map: bool | None = None
    ambient_occlusion: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """The choices as plain values for JSON, with what None stood for."""
        names = ("profile", "decimation_target", "texture_size", "remesh", "unwrap_method", "hole_perimeter", "smooth")
        plain = {name: getattr(self, name) for name in names}
        return plain | {"normal_map": self.bakes_normals, "ambient_occlusion": self.bakes_occlusion}

    def __post_init__(self) -> None:
        _check_int("decimation_target", self.decimation_target, 1, 2**31 - 1)
        _check_int("texture_size", self.texture_size, 1, 16384)
        object.__setattr__(self, "decimation_target", int(self.decimation_target))
        object.__setattr__(self, "texture_size", int(self.texture_size))
        _check_choice("profile", self.profile, Profile)
        _check_choice("unwrap_method", self.unwrap_method, UnwrapMethod)
        _check_int("smooth", self.smooth, 0, 1000)
        check_alpha_mode(self.alpha_mode)
        if not self.remesh_band > 0:
            raise ValueError(f"remesh_band must be > 0, got {self.remesh_band}")
        if not 0 <= self.remesh_project <= 1:
            raise ValueError(f"remesh_project must lie in [0, 1], got {self.remesh_project}")
        if not 0 < self.chart_half_angle <= math.pi:
            raise ValueError(
                f"mesh_cluster_threshold_cone_half_angle_rad must lie in (0, pi], got {self.chart_half_angle}"
            )
        if self.hole_perimeter is not None and not self.hole_perimeter >= 0:
            raise ValueError(f"hole_perimeter must be >= 0 or None, got {self.hole_perimeter}")

    @property
    def bakes_normals(self) -> bool:
        """Whether a normal map is made: by default with the "game" profile."""
        return self.profile == "game" if self.normal_map is None else bool(self.normal_map)

    @property
    def bakes_occlusion(self) -> bool:
        """Whether ambient occlusion is made: by default with the "game" profile."""
        return self.profile == "game" if self.ambient_occlusion is None else bool(self.ambient_occlusion)

    @property
    def num_stages(self) -> int:
        """Stages of the export."""
        more = self.profile != "raw"  # shells, smooth
        remeshed = self.profile == "print" or (more and self.remesh)
        return 7 + more + (more and self.smooth > 0) + remeshed + self.bakes_normals + self.bakes_occlusion

    @property
    def padding(self) -> int:
        """Texels around each chart that take its colour."""
        return texture_padding(self.texture_size)

    @property
    def chart_angle(self) -> float:
        """Degrees by which normals of a chart may lean from its axis."""
        return min(MAX_CHART_ANGLE, math.degrees(self.chart_half_angle))


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ValueError(f"{name} must be an int in [{low}, {high}], got {value!r}")


def _check_choice(name: str, value: Any, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {list(get_args(choices))}, got {value!r}")
