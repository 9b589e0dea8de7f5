"""Material O-Voxels: base colour, metallic, roughness, alpha per voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .base import StandardDatasetBase
from .dump_mesh import pbr_mesh_of_dump
from .metadata import Filter, at_least, at_most, is_true
from .packed import Packed
from .projection import draw_voxels
from .sparse_batch import batch_coords, make_sparse
from .voxel_file import read_voxels

__all__ = ["PBR_CHANNELS", "SparseVoxelPbrDataset", "pbr_layout"]

PBR_CHANNELS = {"base_color": 3, "metallic": 1, "roughness": 1, "emissive": 3, "alpha": 1}
_DEFAULT_ATTRS = ("base_color", "metallic", "roughness", "alpha")


def pbr_layout(attrs: Sequence[str]) -> dict[str, slice]:
    """Channel range of each attribute, in the given order."""
    layout, start = {}, 0
    for name in attrs:
        if name not in PBR_CHANNELS:
            raise ValueError(f"unknown attribute {name!r}, choose from: {', '.join(PBR_CHANNELS)}")
        layout[name] = slice(start, start + PBR_CHANNELS[name])
        start += PBR_CHANNELS[name]
    return layout


class SparseVoxelPbrDataset(StandardDatasetBase):
    """Batches {`x`}: SparseTensor float32 [R, ΣC], values mapped from [0, 255] to [-1, 1].

    `mesh`, a list of `MeshWithPbrMaterial`, is added for rendering losses (`require_meshes`) unless `with_mesh` is
    false.
    """

    ROOTS = ("pbr_voxel",)
    RAGGED = ("coords", "attrs")
    MESH_ROOT = "pbr_dump"
    LOAD_COLUMN = "num_pbr_voxels"
    value_range = (-1.0, 1.0)

    def __init__(
        self,
        roots: str | Path | Mapping[str, Any],
        resolution: int = 1024,
        max_active_voxels: int = 1_000_000,
        max_num_faces: int | None = None,
        min_aesthetic_score: float | None = 5.0,
        attrs: Sequence[str] = _DEFAULT_ATTRS,
        with_mesh: bool = True,
        **kwargs: Any,
    ) -> None:
        self.resolution = resolution
        self.max_active_voxels = max_active_voxels
        self.max_num_faces = max_num_faces
        self.min_aesthetic_score = min_aesthetic_score
        self.attrs = list(attrs)
        self.layout = pbr_layout(attrs)
        self.with_mesh = with_mesh
        super().__init__(roots, **kwargs)

    def derive_roots(self, folder: Path) -> dict[str, Path]:
        roots = {"base": folder, "pbr_voxel": folder / f"pbr_voxels_{self.resolution}"}
        if (folder / "asset_stats" / "metadata.csv").is_file():
            roots["asset_stats"] = folder / "asset_stats"
        if (folder / "pbr_dumps" / "metadata.csv").is_file():
            roots["pbr_dump"] = folder / "pbr_dumps"
        return roots

    def require_meshes(self, reason: str) -> None:
        if not self.with_mesh:
            raise ValueError(f"{reason} needs meshes, which dataset.with_mesh=false leaves out")
        super().require_meshes(reason)

    def mesh_of_dump(self, dump: dict[str, Any]) -> Any:
        return pbr_mesh_of_dump(dump)

    def filters(self) -> list[Filter]:
        out = [is_true("pbr_voxelized", "PBR Voxelized")]
        if self.min_aesthetic_score is not None:
            v = self.min_aesthetic_score
            out.append(at_least("aesthetic_score", v, f"Aesthetic score >= {v}"))
        out.append(at_most("num_pbr_voxels", self.max_active_voxels, f"Active voxels <= {self.max_active_voxels}"))
        if self.max_num_faces is not None:
            out.append(at_most("num_faces", self.max_num_faces, f"Faces <= {self.max_num_faces}"))
        return out

    def cache_identity(self) -> dict[str, Any]:
        return {"attrs": self.attrs}

    def load_raw(self, index: int) -> dict[str, np.ndarray]:
        folders, sha = self.instances[index]
        channels = {name: PBR_CHANNELS[name] for name in self.attrs}
        coords, attrs = read_voxels(folders["pbr_voxel"] / f"{sha}.vxz", channels)
        return {"coords": coords, "attrs": np.concatenate([attrs[name] for name in self.attrs], axis=1)}

    def assemble(self, packed: Packed, rng: torch.Generator) -> dict[str, Any]:
        values = packed.ragged["attrs"].float() / 255 * 2 - 1
        return {"x": make_sparse(values, batch_coords(packed), packed.seqlen)}

    def visualize_sample(self, sample: Any) -> dict[str, torch.Tensor]:
        """One image set [B, 3, H, W] an attribute."""
        st = sample["x"] if isinstance(sample, Mapping) else sample
        out = {}
        for name, part in self.layout.items():
            colours = st.feats[:, part].float() * 0.5 + 0.5
            out[name] = draw_voxels(st.coords, colours.expand(-1, 3), len(st), self.resolution)
        return out

    def __str__(self) -> str:
        return f"{super().__str__()}\n  - Resolution: {self.resolution}\n  - Attributes: {self.attrs}"
