"""What `to_glb` did and what came out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from o_voxel.mesh import MeshStats, UnwrapResult
from o_voxel.postprocess.bake import BakedTexels
from o_voxel.postprocess.prepare import PreparedSurface

__all__ = ["ExportReport", "Progress", "StageClock"]

logger = logging.getLogger("o_voxel.postprocess")

Progress = Callable[[str, int, int], None]


@dataclass
class ExportReport:
    """Numbers for one export; lengths are in the unit of the input vertices unless they say otherwise."""

    profile: str = "game"
    input_faces: int = 0
    asked_faces: int = 0
    source_faces: int = 0  # of the cleaned surface, which textures are baked from
    output: MeshStats | None = None  # the exported surface, before unwrapping
    volume: float = 0.0  # signed
    problems: tuple[str, ...] = ()  # promises of the profile that are not kept
    simplify_phase: int = 0  # 0: by strict tests; 1: flips up to 90 degrees; 2: topology was changed
    hidden_faces: int = 0  # dropped because nothing sees them
    charts: int = 0
    thin_chart_share: float = 0.0  # charts with a mean width below three texels
    thin_area_share: float = 0.0  # of the surface that lies in them
    stretch: float = 1.0  # L2 stretch of the unwrapping: 1 is an isometry
    texels_per_unit: float = 0.0
    texture_use: float = 0.0  # share of texels that lie on a chart
    padding: int = 0  # texels kept around each chart
    bake_distance: float = 0.0  # mean distance from texels of the simplified to the source surface
    chamfer_voxels: float | None = None  # between the result and the raw surface; see `surface_distance`
    hausdorff_voxels: float | None = None
    alpha_mode: str = "OPAQUE"
    double_sided: bool = False
    seconds: dict[str, float] = field(default_factory=dict)  # per stage

    @property
    def kept(self) -> bool:
        """Whether all promises of the profile are kept."""
        return not self.problems

    def add_surface(self, prepared: PreparedSurface) -> None:
        """Note the final surface and what its profile promised."""
        self.source_faces = len(prepared.source_faces)
        self.hidden_faces, self.simplify_phase = prepared.hidden_faces, prepared.simplify_phase
        self.output, self.volume = prepared.verdict.stats, prepared.verdict.volume
        self.problems = prepared.verdict.problems

    def add_charts(self, charts: UnwrapResult) -> None:
        """Note the unwrapping."""
        self.charts, self.texels_per_unit = charts.num_charts, charts.texels_per_unit
        self.thin_chart_share, self.thin_area_share = charts.thin_chart_share, charts.thin_area_share
        self.stretch, self.padding = charts.stretch, charts.padding

    def add_bake(self, baked: BakedTexels) -> None:
        """Note how much of the atlas is used and how far texels were moved."""
        self.texture_use = len(baked.texels.row) / baked.texels.size**2
        if baked.hit is not None:
            near = baked.hit.distance[baked.hit.face >= 0]
            self.bake_distance = float(near.mean()) if len(near) else 0.0

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values for JSON."""
        return {**asdict(self), "problems": list(self.problems), "kept": self.kept}

    def to_text(self) -> str:
        """A page to read."""
        out = self.output
        if out is None:
            return "nothing was exported"
        sign = "positive" if self.volume > 0 else "negative" if self.volume < 0 else "zero"
        phases = ("strict tests only", "flips up to 90 degrees", "topology was changed")
        rows = {
            f"profile {self.profile}": "all promises kept" if self.kept else "NOT KEPT: " + "; ".join(self.problems),
            "faces": f"{out.num_faces} of {self.asked_faces} asked, from {self.input_faces} "
            f"({phases[self.simplify_phase]})",
            "components": f"{out.num_components}, {'watertight' if out.watertight else 'open'}, volume {sign}",
            "edges": f"{out.boundary_edges} boundary, {out.non_manifold_edges} non-manifold, "
            f"{out.winding_conflicts} conflicting",
            "hidden": f"{self.hidden_faces} faces dropped that nothing sees",
            "charts": f"{self.charts}, {self.thin_chart_share:.0%} thin ({self.thin_area_share:.1%} of the surface), "
            f"stretch {self.stretch:.3f}",
            "texture": f"{self.texture_use:.0%} used, {self.texels_per_unit:.0f} texels a unit, {self.padding} texels "
            f"around charts, {self.alpha_mode}{', double-sided' if self.double_sided else ''}",
        }
        if self.chamfer_voxels is not None:
            rows["distance"] = f"Chamfer {self.chamfer_voxels:.3f}, Hausdorff {self.hausdorff_voxels:.2f} voxels"
        times = ", ".join(f"{name} {value:.2f}" for name, value in self.seconds.items())
        rows["seconds"] = f"{sum(self.seconds.values()):.2f}: {times}"
        return "\n".join(f"{name:14s} {text}" for name, text in rows.items())


class StageClock:
    """Times the stages of an export; reports them by log lines (`verbose`), a progress bar (`use_tqdm`) and a callback.

    A context manager, which closes the bar; the callback hears of the end only where nothing was raised.
    """

    def __init__(
        self,
        seconds: dict[str, float],
        stages: int,
        *,
        verbose: bool,
        use_tqdm: bool,
        device: torch.device,
        progress: Progress | None = None,
    ) -> None:
        self._seconds = seconds
        self._stages = stages
        self._device = device
        self._progress = progress
        self._level = logging.INFO if verbose else logging.DEBUG
        self._bar: Any = None
        if use_tqdm:
            from tqdm import tqdm

            self._bar = tqdm(total=stages, desc="to_glb")

    def log(self, message: str) -> None:
        """A line about the work."""
        logger.log(self._level, message)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time what is done inside; yields `log`."""
        if self._progress is not None:
            self._progress(name, len(self._seconds), self._stages)
        if self._bar is not None:
            self._bar.set_postfix_str(name)
        start = time.perf_counter()
        yield self.log
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds[name] = time.perf_counter() - start
        self.log(f"{name}: {self._seconds[name]:.2f} s")
        if self._bar is not None:
            self._bar.update(1)

    def __enter__(self) -> StageClock:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None and self._progress is not None:
            self._progress("", self._stages, self._stages)
