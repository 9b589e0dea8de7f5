"""Occupancy of the coarse grid, from shape-latent coordinates or from pooled dual-grid coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from .base import StandardDatasetBase
from .metadata import Filter, at_least, is_true
from .packed import Packed
from .projection import draw_voxels
from .roots import single_subfolder
from .voxel_file import read_voxels

__all__ = ["SparseStructure", "occupancy_from_coords"]


def occupancy_from_coords(coords: np.ndarray, source_resolution: int, resolution: int) -> np.ndarray:
    """[R, 3] voxel indices on the source grid → uint8 [S, S, S], 1 where any voxel falls (max-pooling)."""
    if source_resolution % resolution != 0:
        raise ValueError(f"resolution {resolution} does not divide the source resolution {source_resolution}")
    cells = np.asarray(coords, dtype=np.int64) // (source_resolution // resolution)
    if len(cells) == 0:
        raise ValueError("no voxel")
    if cells.min() < 0 or cells.max() >= resolution:
        raise ValueError(f"coordinates leave the grid: up to {int(np.max(coords))}, resolution {source_resolution}")
    grid = np.zeros((resolution, resolution, resolution), dtype=np.uint8)
    grid[cells[:, 0], cells[:, 1], cells[:, 2]] = 1
    return grid


class SparseStructure(StandardDatasetBase):
    """Batches {`ss`}: float32 [B, 1, S, S, S] of 0 and 1, S = `resolution`.

    `source` says where it comes from: "dual_grid" (voxels of a `source_resolution`³ grid) or "shape_latent" (latent
    coordinates; `source_resolution` is their grid size, by default S).
    """

    def __init__(
        self,
        roots: str | Path | Mapping[str, Any],
        *,
        resolution: int = 64,
        source: Literal["dual_grid", "shape_latent"] = "shape_latent",
        source_resolution: int | None = None,
        shape_latent_name: str | None = None,
        min_aesthetic_score: float | None = None,
        **kwargs: Any,
    ) -> None:
        if source not in ("dual_grid", "shape_latent"):
            raise ValueError(f"source must be dual_grid or shape_latent, got {source!r}")
        self.resolution = resolution
        self.source = source
        self.source_resolution = source_resolution or resolution
        self.shape_latent_name = shape_latent_name
        self.min_aesthetic_score = min_aesthetic_score
        self.ROOTS = (source,)  # type: ignore[misc]
        super().__init__(roots, **kwargs)

    def derive_roots(self, folder: Path) -> dict[str, Path]:
        if self.source == "dual_grid":
            return {"base": folder, "dual_grid": folder / f"dual_grid_{self.source_resolution}"}
        return {"base": folder, "shape_latent": single_subfolder(folder / "shape_latents", self.shape_latent_name)}

    def filters(self) -> list[Filter]:
        if self.source == "dual_grid":
            out = [is_true("dual_grid_converted", "Dual Grid Converted")]
        else:
            out = [is_true("shape_latent_encoded", "With latent")]
        if self.min_aesthetic_score is not None:
            v = self.min_aesthetic_score
            out.append(at_least("aesthetic_score", v, f"Aesthetic score >= {v}"))
        return out

    def cache_identity(self) -> dict[str, Any]:
        return {"resolution": self.resolution, "source": self.source, "source_resolution": self.source_resolution}

    def load_raw(self, index: int) -> dict[str, np.ndarray]:
        folders, sha = self.instances[index]
        if self.source == "dual_grid":
            coords, _ = read_voxels(folders["dual_grid"] / f"{sha}.vxz", {})
        else:
            with np.load(folders["shape_latent"] / f"{sha}.npz", allow_pickle=False) as data:
                coords = data["coords"]
        grid = occupancy_from_coords(coords, self.source_resolution, self.resolution)
        return {"bits": np.packbits(grid.reshape(-1), bitorder="little")}

    def assemble(self, packed: Packed, rng: torch.Generator) -> dict[str, Any]:
        bits = packed.dense["bits"]  # [B, S³/8] uint8
        shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
        flat = (bits[:, :, None] >> shifts) & 1  # [B, S³/8, 8]
        s = self.resolution
        return {"ss": flat.reshape(len(packed), -1)[:, : s**3].reshape(-1, 1, s, s, s).float()}

    def visualize_sample(self, sample: Any) -> torch.Tensor:
        """[B, 3, H, W] views of the occupancy; colour is position."""
        ss = sample["ss"] if isinstance(sample, Mapping) else sample
        where = torch.nonzero(ss[:, 0] > 0)  # [R, 4]
        return draw_voxels(where, where[:, 1:].float() / self.resolution, len(ss), self.resolution)

    def __str__(self) -> str:
        return f"{super().__str__()}\n  - Resolution: {self.resolution} (from {self.source})"
