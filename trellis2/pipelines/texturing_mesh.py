"""Meshes on their way into and out of the texturing pipeline.

Letters: V vertices, F faces, N voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    import trimesh

__all__ = [
    "TO_Z_UP_4",
    "attribute_volume",
    "bake_material",
    "load_mesh",
    "normalize_corners",
    "normalize_mesh",
    "usable_uv",
]

#: Longest side after normalisation; below 1 so that no surface lies on the border of the box.
_SIDE = 0.99999
_TO_Z_UP = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float64)  # (x, y, z) -> (x, -z, y)

TO_Z_UP_4 = np.eye(4)
TO_Z_UP_4[:3, :3] = _TO_Z_UP


def load_mesh(path: str | Path) -> trimesh.Trimesh | trimesh.Scene:
    """Read a mesh file with trimesh; vertices that coincide become one.

    Raises FileNotFoundError, or ValueError for a file that trimesh cannot read, without faces, with indices out
    of range, or with vertices that are not finite.
    """
    import trimesh

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"mesh file not found: {path}")
    try:
        mesh: Any = trimesh.load(path, process=False)  # processing would drop the faces at NaN vertices without a word
    except Exception as error:  # the readers of trimesh raise many kinds
        raise ValueError(f"{path} cannot be read as a mesh: {error}") from None
    parts = list(mesh.geometry.values()) if isinstance(mesh, trimesh.Scene) else [mesh]
    surfaces = [part for part in parts if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if not surfaces:
        raise ValueError(f"{path} must hold a mesh with faces, found none")
    for part in surfaces:
        faces = np.asarray(part.faces)
        if faces.min() < 0 or faces.max() >= len(part.vertices):
            raise ValueError(f"{path}: faces must index its {len(part.vertices)} vertices, got {faces.max()}")
        if not np.isfinite(np.asarray(part.vertices)[np.unique(faces)]).all():
            raise ValueError(f"{path} must have finite vertex coordinates, got NaN or infinity")
        part.process()
    return mesh


def normalize_mesh(mesh: Any) -> tuple[trimesh.Trimesh, np.ndarray]:
    """A mesh or scene, Y up, as one mesh in [-0.5, 0.5]^3, Z up, with its UVs; and the way back.

    The matrix [4, 4] maps the Y-up result of `bake_material` to the place of the input.
    Raises TypeError for other objects, ValueError for a mesh without faces or extent, or not finite.
    """
    import trimesh

    if isinstance(mesh, trimesh.Scene):
        mesh = mesh.to_geometry() if hasattr(mesh, "to_geometry") else mesh.dump(concatenate=True)
    if not isinstance(mesh, trimesh.Trimesh):
        raise TypeError(f"mesh must be a trimesh mesh or scene, got {type(mesh).__name__}")
    vertices = np.asarray(mesh.vertices, np.float64)
    faces = np.asarray(mesh.faces)
    if len(faces) == 0:
        raise ValueError(f"mesh must have faces, got none ({len(vertices)} vertices)")
    used = vertices[np.unique(faces)]
    if not np.isfinite(used).all():
        raise ValueError("mesh must have finite vertex coordinates, got NaN or infinity")
    lower, upper = used.min(axis=0), used.max(axis=0)
    extent = float((upper - lower).max())
    if extent <= 0:
        raise ValueError("mesh must have an extent, but all its vertices coincide")
    center, scale = (lower + upper) / 2, _SIDE / extent
    points = np.nan_to_num((vertices - center) * scale) @ _TO_Z_UP.T
    uv = _own_uv(mesh)
    visual = None if uv is None else trimesh.visual.TextureVisuals(uv=uv.copy())
    out = trimesh.Trimesh(np.clip(points, -0.5, 0.5), faces.copy(), visual=visual, process=False)
    back = np.eye(4)
    back[:3, :3] /= scale
    back[:3, 3] = center
    return out, back


def normalize_corners(corners: np.ndarray) -> tuple[trimesh.Trimesh, np.ndarray]:
    """As `normalize_mesh` for the corners [F, 3, 3] of faces; corners at one place become one vertex."""
    import trimesh

    vertices, inverse = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    return normalize_mesh(trimesh.Trimesh(vertices, inverse.reshape(-1, 3), process=False))


def attribute_volume(attrs: Any, layout: Mapping[str, slice], resolution: int) -> Any:
    """`AttributeVolume` of decoded voxels (a SparseTensor with feats [N, C]) in the box [-0.5, 0.5]^3."""
    from o_voxel.postprocess.volume import AttributeVolume

    feats, coords = attrs.feats.detach().float().clamp(0, 1), attrs.coords[:, 1:].int()
    edges = np.full(3, 1 / resolution)
    return AttributeVolume(feats, coords, dict(layout), np.full(3, -0.5), edges, (resolution,) * 3)


def _own_uv(mesh: Any) -> np.ndarray | None:
    uv = getattr(mesh.visual, "uv", None)
    return None if uv is None or len(uv) != len(mesh.vertices) else np.asarray(uv, np.float64)


def usable_uv(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """The UVs [V, 2] of a mesh (v up), if they lie in the unit square and no two faces share room; else None."""
    uv = _own_uv(mesh)
    if uv is None or not np.isfinite(uv).all() or uv.min() < -1e-4 or uv.max() > 1 + 1e-4:
        return None
    import torch
    from o_voxel.rasterize import rasterize

    corners = uv[mesh.faces]  # [F, 3, 2]
    edges = corners[:, 1:] - corners[:, :1]
    area = 0.5 * np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0])
    clip = np.concatenate([uv * 2 - 1, np.zeros((len(uv), 1)), np.ones((len(uv), 1))], axis=1)
    tri = torch.from_numpy(np.ascontiguousarray(mesh.faces, dtype=np.int32))
    rast = rasterize(torch.from_numpy(clip.astype(np.float32)), tri, (1024, 1024))
    covered = float((rast[..., 3] > 0).float().mean())
    flat = (area < 1e-12).mean() > 0.02
    return None if flat or covered == 0 or area.sum() > 1.05 * covered + 0.01 else uv


def bake_material(
    mesh: trimesh.Trimesh,  # normalised, Z up
    attrs: Tensor,  # [N, C] float32 in 0…1
    coords: Tensor,  # [N, 3] int32
    layout: Mapping[str, slice],
    resolution: int,
    texture_size: int,
    uv: Literal["auto", "keep", "unwrap"] = "auto",
) -> trimesh.Trimesh:
    """Sample the voxels at every texel; returns the mesh Y up with base colour, metallic and roughness textures.

    Raises ValueError for a bad `texture_size` or `uv`, or if UVs are to be kept and there are none.
    """
    import trimesh
    from o_voxel.mesh import unwrap
    from o_voxel.mesh.normals import numpy_vertex_normals
    from o_voxel.postprocess.bake import bake
    from o_voxel.postprocess.material import make_textures
    from o_voxel.postprocess.volume import AttributeVolume

    if isinstance(texture_size, bool) or not isinstance(texture_size, int) or not 16 <= texture_size <= 16384:
        raise ValueError(f"texture_size must be an integer in 16…16384, got {texture_size!r}")
    if uv not in ("auto", "keep", "unwrap"):
        raise ValueError(f"unknown uv {uv!r}, choose from: auto, keep, unwrap")
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces)
    normals = numpy_vertex_normals(vertices, faces)
    own = usable_uv(mesh) if uv == "auto" else None
    if uv == "keep":
        own = _own_uv(mesh)
        if own is None:
            raise ValueError("uv is 'keep', but the mesh has no UVs")
    if own is not None:
        rows = np.stack([own[:, 0], 1 - own[:, 1]], axis=1)  # v up -> down the rows
    else:
        padding = 1 if texture_size <= 512 else 2
        charts = unwrap(vertices, faces, resolution=texture_size, padding=padding)
        vertices, faces, rows = charts.vertices, charts.faces, charts.uvs
        normals = normals[charts.vmap]
    volume = AttributeVolume(
        attrs, coords.int(), dict(layout), np.full(3, -0.5), np.full(3, 1 / resolution), (resolution,) * 3
    )
    textures = make_textures(bake(vertices, faces, rows, texture_size, volume), volume)
    material = textures.material(double_sided=True)
    return trimesh.Trimesh(
        vertices=vertices @ _TO_Z_UP,  # (x, y, z) -> (x, z, -y)
        faces=faces,
        vertex_normals=normals @ _TO_Z_UP,
        visual=trimesh.visual.TextureVisuals(uv=np.stack([rows[:, 0], 1 - rows[:, 1]], axis=1), material=material),
        process=False,
    )
