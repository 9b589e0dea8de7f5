"""A whole O-Voxel asset: made from a textured mesh, kept in one file, turned back into a mesh.

The steps that the command line and the examples share. An asset stands in the library's frame (Z up); what was done to
the mesh to bring it there is remembered, so that a mesh made from the asset can be put back.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from o_voxel.convert import (
    flexible_dual_grid_to_mesh,
    mesh_to_flexible_dual_grid,
    textured_mesh_to_volumetric_attr,
)
from o_voxel.convert.materials import TexturedTriangles
from o_voxel.convert.mesh_input import read_mesh
from o_voxel.grid import Grid, VectorLike, box_to_local, resolve_grid
from o_voxel.io import read, read_vxz_info, write
from o_voxel.io.vxz_header import check_chunk_size

__all__ = [
    "PBR_LAYOUT",
    "Placement",
    "VoxelAsset",
    "load_asset",
    "mesh_to_asset",
    "place",
    "save_asset",
    "up_axis_of",
]

PBR_LAYOUT = {  # columns of `VoxelAsset.pbr`
    "base_color": slice(0, 3),
    "metallic": slice(3, 4),
    "roughness": slice(4, 5),
    "alpha": slice(5, 6),
}
_Y_TO_Z = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # (x, y, z) -> (x, -z, y)
_Z_UP_SUFFIXES = (".ply", ".stl", ".off")
_FILL = 0.99999  # longest side of a normalised asset: a surface on the border of the box would be ambiguous
UpAxis = Literal["y", "z"]


@dataclass(frozen=True)
class Placement:
    """How a mesh was brought into the asset's frame: rotated if Y was up, then (p - center) * scale."""

    up: UpAxis = "z"
    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    @property
    def rotation(self) -> np.ndarray:
        """[3, 3] from the mesh's axes to Z up."""
        return _Y_TO_Z if self.up == "y" else np.eye(3)

    def undo(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 3] of the asset's frame -> frame and units of the mesh it was made from."""
        return (np.asarray(points, np.float64) / self.scale + np.array(self.center)) @ self.rotation


@dataclass(frozen=True)
class VoxelAsset:
    """Voxels of a surface with their stored bytes. N voxels."""

    coords: Tensor  # [N, 3] int32
    attrs: dict[str, Tensor]  # uint8 [N, C]: dual_vertices 3, intersected 1, base_color 3, metallic, roughness, ...
    grid: Grid
    placement: Placement = field(default_factory=Placement)

    @property
    def dual_vertices(self) -> Tensor:
        """Surface points in voxels from the voxel's lower corner, float32 [N, 3] in [0, 1]."""
        return self.attrs["dual_vertices"].float() / 255

    @property
    def intersected(self) -> Tensor:
        """Crossed edges along x, y, z that end at the voxel's upper corner, bool [N, 3]."""
        return (self.attrs["intersected"] >> torch.arange(3, dtype=torch.uint8)).bitwise_and(1).bool()

    @property
    def pbr(self) -> Tensor:
        """Material as float32 [N, 6] in 0..1, columns as in `PBR_LAYOUT`; 1 colour, 0 metal, 1 rough, 1 opaque where
        the file has none."""
        count = len(self.coords)
        missing = {"base_color": (255, 3), "metallic": (0, 1), "roughness": (255, 1), "alpha": (255, 1)}
        parts = [
            self.attrs.get(name, torch.full((count, channels), value, dtype=torch.uint8))
            for name, (value, channels) in missing.items()
        ]
        return torch.cat(parts, 1).float() / 255

    def material(self) -> tuple[Tensor, dict[str, slice]]:
        """Columns of `pbr`, and of `emissive` where anything glows, with their layout: what `to_glb` takes."""
        glow = self.attrs.get("emissive")
        if glow is None or not bool((glow > 0).any()):
            return self.pbr, PBR_LAYOUT
        return torch.cat([self.pbr, glow.float() / 255], 1), {**PBR_LAYOUT, "emissive": slice(6, 9)}

    def centers(self) -> Tensor:
        """Voxel centres in the asset's frame, float32 [N, 3]."""
        return (self.coords + 0.5) * self.grid.voxel_size + self.grid.aabb[0]

    def to_mesh(self) -> tuple[Tensor, Tensor]:
        """Surface in the asset's frame: vertices float32 [N, 3], one per voxel in order, and faces int32 [F, 3].

        Raises ValueError if the file holds no dual grid.
        """
        for name in ("dual_vertices", "intersected"):
            if name not in self.attrs:
                raise ValueError(f"the voxels have no {name!r}: they carry no surface, only {sorted(self.attrs)}")
        vertices, faces = flexible_dual_grid_to_mesh(
            self.coords, self.dual_vertices, self.intersected, None, self.grid.aabb, grid_size=self.grid.grid_size
        )
        return vertices, faces.int()


def place(source: TexturedTriangles, up: UpAxis = "z", normalize: bool = True) -> tuple[TexturedTriangles, Placement]:
    """Turn triangles to Z up and, with `normalize`, centre their box on the origin with a longest side of 0.99999.

    Raises ValueError on a mesh without triangles or extent.
    """
    if up not in ("y", "z"):
        raise ValueError(f"up must be 'y' or 'z', got {up!r}")
    if len(source.triangles) == 0:
        raise ValueError("the mesh has no triangles")
    rotation = _Y_TO_Z if up == "y" else np.eye(3)
    corners = np.asarray(torch.as_tensor(source.triangles).cpu(), np.float64) @ rotation.T
    normals = np.asarray(torch.as_tensor(source.normals).cpu(), np.float64) @ rotation.T
    placement = Placement(up)
    if normalize:
        low, high = corners.reshape(-1, 3).min(0), corners.reshape(-1, 3).max(0)
        extent = float((high - low).max())
        if not extent > 0:
            raise ValueError("all vertices of the mesh coincide")
        center = (low + high) / 2
        placement = Placement(up, (float(center[0]), float(center[1]), float(center[2])), _FILL / extent)
        corners = (corners - center) * placement.scale
    return dataclasses.replace(
        source, triangles=corners.astype(np.float32), normals=normals.astype(np.float32)
    ), placement


def up_axis_of(path: str | os.PathLike[str]) -> UpAxis:
    """The axis that a mesh format puts upward: Z in .ply, .stl and .off, Y in glTF and .obj."""
    return "z" if Path(path).suffix.lower() in _Z_UP_SUFFIXES else "y"


def _order(coords: Tensor) -> np.ndarray:
    """Rows sorted by (x, y, z)."""
    c = coords.numpy().astype(np.int64)
    return np.argsort((c[:, 0] << 42) + (c[:, 1] << 21) + c[:, 2])


def mesh_to_asset(
    mesh: Any,  # path, GltfFile, TexturedTriangles, trimesh.Trimesh or trimesh.Scene
    resolution: int = 512,
    *,
    up: UpAxis | None = None,
    normalize: bool = True,
    aabb: Any = None,  # [2, 3] in the asset's frame; default: the unit cube around the origin
    attributes: bool = True,
    device: torch.device | str = "cpu",
    face_weight: float = 1.0,
    boundary_weight: float = 0.2,
    regularization_weight: float = 1e-2,
) -> VoxelAsset:
    """Convert a textured mesh to voxels with surface points and, unless `attributes` is False, its material.

    The work is done on `device`; the asset is on the CPU and the same for every device. `up` None takes the format's
    habit for paths (`up_axis_of`), else Z. Without `normalize` the mesh keeps its units and whatever leaves `aabb` is
    cut off. Rows are sorted by coordinates. Raises ValueError on meshes that cannot be read or are empty, and if
    nothing of the mesh lies in the box.
    """
    is_path = isinstance(mesh, (str, os.PathLike))
    source, placement = place(read_mesh(mesh), up or (up_axis_of(mesh) if is_path else "z"), normalize)
    grid = resolve_grid(None, resolution, [[-0.5] * 3, [0.5] * 3] if aabb is None else aabb)
    vertices = torch.as_tensor(source.triangles, device=device).reshape(-1, 3)
    faces = torch.arange(len(vertices), dtype=torch.int32, device=device).reshape(-1, 3)
    result = mesh_to_flexible_dual_grid(
        vertices, faces, None, grid.grid_size, grid.aabb, face_weight, boundary_weight, regularization_weight
    )
    coords, dual, flags = (t.cpu() for t in result)
    if len(coords) == 0:
        raise ValueError("no voxel is crossed: the mesh lies outside the box or is smaller than one voxel")
    local = box_to_local(dual, coords, grid)
    order = _order(coords)
    coords = coords[order]
    stored = {
        "dual_vertices": (local[order].clamp(0, 1) * 255).to(torch.uint8),
        "intersected": (flags[order].to(torch.uint8) << torch.arange(3, dtype=torch.uint8)).sum(
            1, keepdim=True, dtype=torch.uint8
        ),
    }
    if attributes:
        attr_coords, values = textured_mesh_to_volumetric_attr(source, None, grid.grid_size, grid.aabb, device=device)
        attr_coords, values = attr_coords.cpu(), {name: value.cpu() for name, value in values.items()}
        attr_order = _order(attr_coords)
        if not torch.equal(attr_coords[attr_order], coords):
            raise RuntimeError("shape and material of one mesh have different voxels")
        stored = {**{name: value[attr_order] for name, value in values.items()}, **stored}
    return VoxelAsset(coords, stored, grid, placement)


def save_asset(path: str | os.PathLike[str], asset: VoxelAsset, **options: Any) -> None:
    """Write an asset to `.vxz` (with grid and placement in the header), `.npz` or `.ply` (voxels only).

    `options` go to the format's writer.
    """
    if Path(path).suffix.lower() == ".vxz":
        placement = asset.placement
        options.setdefault("metadata", {
            "grid_size": asset.grid.grid_size.tolist(),
            "aabb": [[float(v) for v in corner] for corner in asset.grid.aabb],
            "placement": {"up": placement.up, "center": list(placement.center), "scale": placement.scale},
        })  # fmt: skip
    write(path, asset.coords, asset.attrs, **options)


def _placement(entry: Any) -> Placement:
    if not isinstance(entry, Mapping):
        return Placement()
    up, center, scale = entry.get("up"), entry.get("center"), entry.get("scale")
    try:
        values = np.array([*center, scale], np.float64) if isinstance(center, list) else np.zeros(0)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if up not in ("y", "z") or values.shape != (4,) or not np.isfinite(values).all() or not values[3] > 0:
        raise ValueError(f"header: placement must hold up, center and a positive scale, got {str(entry)[:80]}")
    return Placement(up, (float(values[0]), float(values[1]), float(values[2])), float(values[3]))


def load_asset(
    path: str | os.PathLike[str],
    resolution: VectorLike | None = None,
    aabb: Any = None,  # [2, 3]
    **options: Any,
) -> VoxelAsset:
    """Read voxels and the grid they lie on.

    The grid comes from the arguments, else from the header of a `.vxz` file; the box defaults to the unit cube. Files
    of dual grids by the dataset tools, which call the surface points `vertices`, are read too. Raises ValueError on a
    malformed file, on one without a grid if `resolution` is None, and on voxels outside the grid.
    """
    header: dict[str, Any] = {}
    if Path(path).suffix.lower() == ".vxz":
        header = read_vxz_info(path)
        check_chunk_size(header["chunk_size"])
    coords, attrs = read(path, **options)
    if resolution is None:
        resolution = header.get("grid_size")
    if resolution is None:
        raise ValueError(f"{os.fspath(path)}: the file does not say its grid size; give the resolution")
    box = aabb if aabb is not None else header.get("aabb", [[-0.5] * 3, [0.5] * 3])
    grid = resolve_grid(None, resolution, box)
    if len(coords) and not bool(((coords >= 0) & (coords < grid.grid_size)).all()):
        low, high = coords.amin(0).tolist(), coords.amax(0).tolist()
        raise ValueError(f"{os.fspath(path)}: voxels {low} to {high} leave the grid of {grid.grid_size.tolist()}")
    if "vertices" in attrs and "dual_vertices" not in attrs:
        attrs = {**{k: v for k, v in attrs.items() if k != "vertices"}, "dual_vertices": attrs["vertices"]}
    for name, channels in (("dual_vertices", 3), ("intersected", 1), ("base_color", 3), ("normal", 3)):
        value = attrs.get(name)
        if value is not None and (value.dtype != torch.uint8 or value.shape != (len(coords), channels)):
            raise ValueError(f"{os.fspath(path)}: {name} must be uint8 [N, {channels}], got {list(value.shape)}")
    return VoxelAsset(coords, attrs, grid, _placement(header.get("placement")))
