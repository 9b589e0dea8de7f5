"""Counts of a dump."""

from __future__ import annotations

from typing import Any

__all__ = ["STATS_COLUMNS", "dump_stats"]

_TEXTURES = {
    "num_basecolor_tex": "baseColorTexture",
    "num_metallic_tex": "metallicTexture",
    "num_roughness_tex": "roughnessTexture",
    "num_alpha_tex": "alphaTexture",
}
STATS_COLUMNS = ("num_faces", "num_vertices", *_TEXTURES)


def dump_stats(dump: dict[str, Any]) -> dict[str, int]:
    """Faces and vertices of non-empty objects; materials with each kind of texture, if the dump has materials."""
    objects = [o for o in dump["objects"] if len(o["vertices"]) and len(o["faces"])]
    out = {"num_faces": sum(len(o["faces"]) for o in objects), "num_vertices": sum(len(o["vertices"]) for o in objects)}
    if "materials" in dump:
        for column, key in _TEXTURES.items():
            out[column] = sum(m.get(key) is not None for m in dump["materials"])
    return out
