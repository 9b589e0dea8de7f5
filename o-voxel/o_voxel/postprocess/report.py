"""What `to_glb` did and what came out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from o_voxel.mesh import MeshStats
from o_voxel.postprocess.bake import BakedTexels

__all__ = ["ExportReport", "StageClock"]

logger = logging.getLogger("o_voxel.postprocess")


@dataclass
class ExportReport:
    """Numbers for one export; lengths are in the unit of the input vertices."""

    input_faces: int = 0
    source: MeshStats | None = None  # the cleaned surface, before simplification
    output: MeshStats | None = None  # the exported surface, before unwrapping
    hidden_faces: int = 0  # dropped because nothing sees them
    charts: int = 0
    texels_per_unit: float = 0.0
    texture_use: float = 0.0  # share of texels that lie on a chart
    bake_distance: float = 0.0  # mean distance from texels of the simplified to the source surface
    alpha_mode: str = "OPAQUE"
    double_sided: bool = False
    seconds: dict[str, float] = field(default_factory=dict)  # per stage

    def add_bake(self, baked: BakedTexels) -> None:
        """Note how much of the atlas is used and how far texels were moved."""
        self.texture_use = len(baked.texels.row) / baked.texels.size**2
        if baked.hit is not None:
            near = baked.hit.distance[baked.hit.face >= 0]
            self.bake_distance = float(near.mean()) if len(near) else 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class StageClock:
    """Times the stages of an export; reports them by log lines (`verbose`) and a progress bar (`use_tqdm`)."""

    def __init__(
        self, seconds: dict[str, float], stages: int, *, verbose: bool, use_tqdm: bool, device: torch.device
    ) -> None:
        self._seconds = seconds
        self._device = device
        self._level = logging.INFO if verbose else logging.DEBUG
        self._bar: Any = None
        if use_tqdm:
            from tqdm import tqdm

            self._bar = tqdm(total=stages, desc="to_glb")

    def log(self, message: str) -> None:
        logger.log(self._level, message)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
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

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
