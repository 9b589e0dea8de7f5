"""Index -> asset.

Conventions of every family: glTF frame (Y up), the front faces +Z, which is -Y in the Z-up world of the voxel stages;
the bounding box is centred at the origin and its longest side is 1. Families come in shuffled rounds, so that any
range of indices is balanced. Training uses indices from 0, held-out assets start at `EVAL_START`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from data_toolkit.procedural.asset import Primitive
from data_toolkit.procedural.families import FAMILIES
from data_toolkit.procedural.glb import write_glb
from data_toolkit.procedural.rng import Rng

if TYPE_CHECKING:
    import trimesh

__all__ = ["EVAL_START", "VERSION", "Model", "family_of", "generate_asset", "spec_sha256"]

VERSION = 1  # part of every seed: raise it whenever a family or a primitive changes
EVAL_START = 1_000_000


@dataclass(frozen=True)
class Model:
    """A generated asset: one primitive per material."""

    index: int
    family: str
    primitives: list[Primitive]

    @property
    def num_faces(self) -> int:
        """Triangles of all primitives."""
        return sum(len(p.faces) for p in self.primitives)

    def glb(self) -> bytes:
        """The model as a binary glTF file, identical on every machine."""
        return write_glb(self.primitives, f"{self.family}_{self.index}")

    def scene(self) -> trimesh.Scene:
        """The model as a trimesh scene (by way of its GLB file)."""
        import io

        import trimesh

        return trimesh.load_scene(io.BytesIO(self.glb()), file_type="glb")


def family_of(index: int) -> str:
    """Name of the family of an asset."""
    if index < 0:
        raise ValueError(f"index must be >= 0, got {index}")
    names = list(FAMILIES)
    return names[_round(index // len(names))[index % len(names)]]


@cache
def _round(block: int) -> tuple[int, ...]:
    """A permutation of the families (Fisher-Yates)."""
    rng, order = Rng(VERSION, 1, block), list(range(len(FAMILIES)))
    for i in range(len(order) - 1, 0, -1):
        j = rng.integer(0, i)
        order[i], order[j] = order[j], order[i]
    return tuple(order)


def generate_asset(index: int, family: str | None = None) -> Model:
    """Make asset `index`; `family` overrides the family that belongs to the index (for previews).

    Raises ValueError if the index is negative or the family unknown.
    """
    own = family_of(index)
    name = own if family is None else family
    if name not in FAMILIES:
        raise ValueError(f"unknown family {name!r}, choose from: {', '.join(sorted(FAMILIES))}")
    primitives = FAMILIES[name](Rng(VERSION, 0, index)).build()
    return Model(index, name, primitives)


def spec_sha256(index: int) -> str:
    """64 hex digits that name an asset: the hash of its specification (generator, version, family, index)."""
    spec = {"generator": "trellis2.procedural", "version": VERSION, "family": family_of(index), "index": index}
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
