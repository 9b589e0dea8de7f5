"""Compressed geometry for glTF (KHR_draco_mesh_compression), by the optional package DracoPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from o_voxel.postprocess.textured import TexturedMesh

__all__ = ["CompressedMesh", "DracoEncoder", "draco_encoder"]

POSITION_BITS, NORMAL_BITS, UV_BITS = 16, 10, 14
LEVEL = 7  # of 10: more costs time and saves little
_TYPES = {0: "POSITION", 1: "NORMAL", 3: "TEXCOORD_0", 4: "TANGENT"}  # Draco's attribute types


class CompressedMesh(NamedTuple):
    """Compressed bytes, the ids of the attributes in them, and what readers will find (rows in Draco's order)."""

    data: bytes
    ids: dict[str, int]
    decoded: TexturedMesh


DracoEncoder = Callable[[TexturedMesh], CompressedMesh]


def draco_encoder() -> DracoEncoder:
    """The compressor. Raises ImportError if DracoPy is missing.

    Positions keep 16 bits of the longest side, normals 10 and UVs 14; tangents stay as they are.
    """
    try:
        import DracoPy
    except ImportError:
        raise ImportError('compression="draco" needs the package DracoPy: pip install DracoPy') from None

    def encode(mesh: TexturedMesh) -> CompressedMesh:
        data = DracoPy.encode(
            mesh.positions.astype(np.float64),
            mesh.faces.astype(np.uint32),
            quantization_bits=POSITION_BITS,
            compression_level=LEVEL,
            tex_coord=mesh.uvs.astype(np.float64),
            normals=mesh.normals.astype(np.float64),
            tex_coord_quantization_bits=UV_BITS,
            normal_quantization_bits=NORMAL_BITS,
            generic_attributes=None if mesh.tangents is None else {0: mesh.tangents.astype(np.float32)},
        )
        found = DracoPy.decode(data)
        parts = {_TYPES[part["attribute_type"]]: part for part in found.attributes}
        decoded = replace(
            mesh,
            positions=parts["POSITION"]["data"],
            normals=parts["NORMAL"]["data"],
            uvs=parts["TEXCOORD_0"]["data"],
            faces=found.faces,
            tangents=parts["TANGENT"]["data"] if "TANGENT" in parts else None,
        )
        return CompressedMesh(data, {name: part["unique_id"] for name, part in parts.items()}, decoded)

    return encode
