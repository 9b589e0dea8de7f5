"""From parts to a normalised, reproducible triangle model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from data_toolkit.procedural.materials import Material
from data_toolkit.procedural.shapes import Geo, join

__all__ = ["GRID", "Asset", "Primitive"]

GRID = 2.0**-16  # vertices lie on this grid, which hides last-bit differences between math libraries


@dataclass(frozen=True)
class Primitive:
    """All triangles of one material, in the glTF frame (Y up, front +Z)."""

    positions: np.ndarray  # [V, 3] float32
    normals: np.ndarray  # [V, 3] float32, unit
    uvs: np.ndarray  # [V, 2] float32, v up
    faces: np.ndarray  # [F, 3] uint32
    material: Material


@dataclass
class Asset:
    """A model under construction: parts are meshes with a material."""

    parts: list[tuple[Geo, Material]] = field(default_factory=list)

    def add(self, geo: Geo, material: Material, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Asset:
        """Add a part, moved by (x, y, z)."""
        self.parts.append((geo.at(x, y, z), material))
        return self

    def build(self) -> list[Primitive]:
        """Centre the bounding box, scale its longest side to 1, snap, merge by material and compute normals.

        Raises ValueError if there is no geometry, no extent, or a coordinate is not finite.
        """
        if not self.parts:
            raise ValueError("an asset needs at least one part")
        everything = np.concatenate([g.v[np.unique(g.f)] for g, _ in self.parts])
        low, high = everything.min(0), everything.max(0)
        extent = float((high - low).max())
        if not np.isfinite(everything).all() or extent <= 0:
            raise ValueError(f"an asset must be finite and have extent, got bounds {low} to {high}")
        centre, scale = (low + high) / 2, 1.0 / extent
        groups: dict[int, list[Geo]] = {}
        materials: dict[int, Material] = {}
        for geo, material in self.parts:
            groups.setdefault(id(material), []).append(geo)
            materials[id(material)] = material
        out = []
        for key, geos in groups.items():
            primitive = _finish(join(geos), materials[key], centre, scale)
            if len(primitive.faces):
                out.append(primitive)
        return out


def _finish(geo: Geo, material: Material, centre: np.ndarray, scale: float) -> Primitive:
    v = np.rint((geo.v - centre) * (scale / GRID)) * GRID
    f = geo.f
    e1, e2 = v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]]
    # explicit products: exact on the grid, so that the test for zero area is the same everywhere
    n = np.stack([e1[:, i] * e2[:, j] - e1[:, j] * e2[:, i] for i, j in ((1, 2), (2, 0), (0, 1))], 1)
    keep = (n != 0).any(1)
    f, n = f[keep], n[keep]
    sums = np.zeros((len(v), 3))
    for axis in range(3):
        for corner in range(3):
            sums[:, axis] += np.bincount(geo.weld[f[:, corner]], weights=n[:, axis], minlength=len(v))
    normal = sums[geo.weld]
    length = np.sqrt(normal[:, 0] ** 2 + normal[:, 1] ** 2 + normal[:, 2] ** 2)
    bad = length < 1e-14
    normal[bad], length[bad] = (0.0, 1.0, 0.0), 1.0
    normal = normal / length[:, None]
    used = np.zeros(len(v), bool)
    used[f] = True
    index = np.cumsum(used) - 1
    uv = np.rint(geo.uv * (material.repeats * 4096)) / 4096
    return Primitive(
        v[used].astype(np.float32), normal[used].astype(np.float32), uv[used].astype(np.float32),
        index[f].astype(np.uint32), material,
    )  # fmt: skip
