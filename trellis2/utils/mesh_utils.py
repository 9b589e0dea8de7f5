"""Triangle and quad meshes as PLY files.

V vertices, T triangles, Q quads, F faces.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement, PlyParseError

__all__ = ["read_ply", "write_pbr_ply", "write_ply"]


def read_ply(path: str | Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices `[V, 3]` float32, triangles `[T, 3]` int32 and quads `[Q, 4]` int32, in file order.

    ASCII or binary, with any further properties; larger polygons are cut into fans of triangles. Raises ValueError on a
    file that is damaged, has no vertices, or whose faces name vertices that do not exist.
    """
    try:
        data = PlyData.read(str(path))
        vertex = data["vertex"]
        vertices = np.stack([np.asarray(vertex[axis], np.float32) for axis in "xyz"], axis=1)
    except (PlyParseError, KeyError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is no readable PLY mesh: {error}") from error
    triangles: list[np.ndarray] = []
    quads: list[np.ndarray] = []
    if "face" in data:
        names = {prop.name for prop in data["face"].properties}
        name = next((n for n in ("vertex_index", "vertex_indices") if n in names), None)
        if name is None:
            raise ValueError(f"{path} has faces without vertex_index or vertex_indices")
        for face in data["face"][name]:
            corners = np.asarray(face, np.int64)
            if len(corners) == 4:
                quads.append(corners)
            else:
                triangles += [corners[[0, i, i + 1]] for i in range(1, len(corners) - 1)]
    tri = np.asarray(triangles, np.int64).reshape(-1, 3)
    quad = np.asarray(quads, np.int64).reshape(-1, 4)
    for faces in (tri, quad):
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise ValueError(f"{path} has faces that name vertices outside 0..{len(vertices) - 1}")
    return vertices, tri.astype(np.int32), quad.astype(np.int32)


def write_ply(
    path: str | Path,
    vertices: np.ndarray,  # [V, 3]
    tris: np.ndarray,  # [T, 3]
    quads: np.ndarray,  # [Q, 4]
    vertex_colors: np.ndarray | None = None,  # [V, 3] or [V, 4] uint8
    ascii: bool = False,
) -> None:
    """Write a mesh, triangles before quads; little-endian binary unless `ascii`."""
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    values = [np.asarray(vertices, np.float32)]
    if vertex_colors is not None:
        colors = np.asarray(vertex_colors)
        if colors.dtype != np.uint8 or colors.ndim != 2 or colors.shape[1] not in (3, 4):
            raise ValueError(f"vertex_colors must be uint8 [V, 3] or [V, 4], got {colors.dtype} {list(colors.shape)}")
        columns += [(name, "u1") for name in ("red", "green", "blue", "alpha")[: colors.shape[1]]]
        values.append(colors)
    table = _table(columns, values, len(vertices))
    parts = [np.asarray(tris, np.int32).reshape(-1, 3), np.asarray(quads, np.int32).reshape(-1, 4)]
    faces = np.empty(sum(map(len, parts)), dtype=[("vertex_index", object)])
    faces["vertex_index"] = [row for part in parts for row in part] or []
    _write(path, table, faces, "vertex_index", ascii)


def write_pbr_ply(
    path: str | Path,
    vertices: np.ndarray,  # [V, 3]
    faces: np.ndarray,  # [F, 3]
    base_color: np.ndarray,  # [V, 3] uint8
    metallic: np.ndarray,  # [V] uint8
    roughness: np.ndarray,  # [V] uint8
    alpha: np.ndarray,  # [V] uint8
    ascii: bool = False,
) -> None:
    """Write a mesh with metallic-roughness attributes per vertex."""
    names = ("red", "green", "blue", "metallic", "roughness", "alpha")
    columns = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), *((name, "u1") for name in names)]
    single = [np.asarray(v).reshape(-1, 1) for v in (metallic, roughness, alpha)]
    table = _table(columns, [np.asarray(vertices, np.float32), np.asarray(base_color), *single], len(vertices))
    rows = np.empty(len(faces), dtype=[("vertex_indices", "<i4", (3,))])
    rows["vertex_indices"] = np.asarray(faces, np.int32)
    _write(path, table, rows, "vertex_indices", ascii)


def _table(columns: list[tuple[str, str]], values: list[np.ndarray], count: int) -> np.ndarray:
    if any(len(value) != count for value in values):
        raise ValueError(f"attributes must have one row for each of the {count} vertices")
    table = np.empty(count, dtype=columns)
    flat = [column for value in values for column in value.T]
    if len(flat) != len(columns):
        raise ValueError(f"vertices and attributes must have {len(columns)} columns together, got {len(flat)}")
    for (name, _), column in zip(columns, flat):
        table[name] = column
    return table


def _write(path: str | Path, vertices: np.ndarray, faces: np.ndarray, index_name: str, ascii: bool) -> None:
    elements = [
        PlyElement.describe(vertices, "vertex"),
        PlyElement.describe(faces, "face", len_types={index_name: "u1"}, val_types={index_name: "i4"}),
    ]
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".ply", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            PlyData(elements, text=ascii, byte_order="<").write(file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)
