"""Shape O-Voxels: dual vertices and intersection flags of the flexible dual grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .base import StandardDatasetBase
from .dump_mesh import mesh_of_dump
from .metadata import Filter, at_least, at_most, is_true
from .packed import Packed
from .projection import draw_voxels
from .sparse_batch import batch_coords, make_sparse
from .voxel_file import read_voxels

__all__ = ["FlexiDualGridDataset"]


class FlexiDualGridDataset(StandardDatasetBase):
    """Batches {`vertices`, `intersected`}: row-aligned SparseTensors, float32 [R, 3] in [0, 1] and bool [R, 3].

    `mesh`, a list of `Mesh`, is added for rendering losses (`require_meshes`).
    """

    ROOTS = ("dual_grid",)
    RAGGED = ("coords", "vertices", "intersected")
    MESH_ROOT = "mesh_dump"
    LOAD_COLUMN = "dual_grid_size"

    def __init__(
        self,
        roots: str | Path | Mapping[str, Any],
        resolution: int = 1024,
        max_active_voxels: int = 1_000_000,
        max_num_faces: int | None = None,
        min_aesthetic_score: float | None = 5.0,
        **kwargs: Any,
    ) -> None:
        self.resolution = resolution
        self.max_active_voxels = max_active_voxels
        self.max_num_faces = max_num_faces
        self.min_aesthetic_score = min_aesthetic_score
        super().__init__(roots, **kwargs)

    def derive_roots(self, folder: Path) -> dict[str, Path]:
        roots = {"base": folder, "dual_grid": folder / f"dual_grid_{self.resolution}"}
        if (folder / "asset_stats" / "metadata.csv").is_file():
            roots["asset_stats"] = folder / "asset_stats"
        if (folder / "mesh_dumps" / "metadata.csv").is_file():
            roots["mesh_dump"] = folder / "mesh_dumps"
        return roots

    def mesh_of_dump(self, dump: dict[str, Any]) -> Any:
        return mesh_of_dump(dump)

    def filters(self) -> list[Filter]:
        out = [is_true("dual_grid_converted", "Dual Grid Converted")]
        if self.min_aesthetic_score is not None:
            v = self.min_aesthetic_score
            out.append(at_least("aesthetic_score", v, f"Aesthetic score >= {v}"))
        out.append(at_most("dual_grid_size", self.max_active_voxels, f"Active Voxels <= {self.max_active_voxels}"))
        if self.max_num_faces is not None:
            out.append(at_most("num_faces", self.max_num_faces, f"Faces <= {self.max_num_faces}"))
        return out

    def load_raw(self, index: int) -> dict[str, np.ndarray]:
        folders, sha = self.instances[index]
        coords, attrs = read_voxels(folders["dual_grid"] / f"{sha}.vxz", {"vertices": 3, "intersected": 1})
        return {"coords": coords, "vertices": attrs["vertices"], "intersected": attrs["intersected"]}

    def assemble(self, packed: Packed, rng: torch.Generator) -> dict[str, Any]:
        coords = batch_coords(packed)
        bits = packed.ragged["intersected"].to(torch.uint8)  # [R, 1]
        flags = torch.cat([(bits & 1), (bits >> 1) & 1, (bits >> 2) & 1], dim=1).bool()  # [R, 3] x, y, z edges
        vertices = packed.ragged["vertices"].float() / 255
        vertices_st = make_sparse(vertices, coords, packed.seqlen)
        return {"vertices": vertices_st, "intersected": vertices_st.replace(flags)}

    def visualize_sample(self, sample: Mapping[str, Any]) -> torch.Tensor:
        """[B, 3, H, W] orthographic views; colours are dual-vertex offsets."""
        st = sample["vertices"]
        return draw_voxels(st.coords, st.feats, len(st), self.resolution)

    def __str__(self) -> str:
        return f"{super().__str__()}\n  - Resolution: {self.resolution}"
