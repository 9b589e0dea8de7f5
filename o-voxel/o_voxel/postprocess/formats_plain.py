"""OBJ with MTL and textures, PLY with vertex colours, binary STL.

V vertices, F faces.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from o_voxel.postprocess.files import beside
from o_voxel.postprocess.gltf_document import GENERATOR
from o_voxel.postprocess.images import ImageFormat, encode_images
from o_voxel.postprocess.textured import TexturedMesh

__all__ = ["MILLIMETRES", "obj_files", "ply_bytes", "stl_bytes", "vertex_colors", "z_up"]

MILLIMETRES = 1000.0  # in a metre
_MAPS = {  # glTF texture: statement of the MTL file, with the PBR extensions that editors agree on
    "baseColorTexture": ("map_Kd",),
    "emissiveTexture": ("map_Ke",),
    "normalTexture": ("norm",),
}


def z_up(vectors: np.ndarray) -> np.ndarray:
    """glTF axes (y up, front +z) to (z up, front -y)."""
    return np.stack([vectors[:, 0], -vectors[:, 2], vectors[:, 1]], axis=1)


def obj_files(
    mesh: TexturedMesh, path: Path, *, image_format: ImageFormat, quality: int, licence: str | None
) -> dict[Path, bytes]:
    """OBJ (y up, metres), its MTL and its textures; roughness and metal as two grey images (map_Pr, map_Pm)."""
    from PIL import Image

    images = {key: mesh.images[key] for key in _MAPS if key in mesh.images}
    statements = {key: _MAPS[key] for key in images}
    orm = mesh.pixels("metallicRoughnessTexture")
    if orm is not None:
        for name, statement, channel in (("roughness", "map_Pr", 1), ("metallic", "map_Pm", 2)):
            images[name] = Image.fromarray(np.ascontiguousarray(orm[..., channel]))
            statements[name] = (statement,)
    color = mesh.pixels("baseColorTexture")
    if mesh.alpha_mode != "OPAQUE" and color is not None and color.shape[2] == 4:
        images["alpha"] = Image.fromarray(np.ascontiguousarray(color[..., 3]))
        statements["alpha"] = ("map_d",)
    files: dict[Path, bytes] = {}
    lines = [f"# {GENERATOR}", "newmtl material", "Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "d 1", "illum 2", "Pr 1", "Pm 1"]
    for key, image in encode_images(images, image_format, quality).items():
        target = beside(path, f"_{key.removesuffix('Texture')}{image.suffix}")
        files[target] = image.data
        lines += [f"{statement} {target.name}" for statement in statements[key]]
    material = beside(path, ".mtl")
    files[material] = ("\n".join(lines) + "\n").encode()
    uv = np.stack([mesh.uvs[:, 0], 1.0 - mesh.uvs[:, 1]], axis=1)
    out = io.BytesIO()
    head = [f"# {GENERATOR}", f"mtllib {material.name}", "o asset"]
    if licence:
        head.insert(1, "# " + " ".join(licence.split()))
    out.write(("\n".join(head) + "\n").encode())
    np.savetxt(out, mesh.positions, fmt="v %.7g %.7g %.7g")
    np.savetxt(out, uv, fmt="vt %.7g %.7g")
    np.savetxt(out, mesh.normals, fmt="vn %.5f %.5f %.5f")
    out.write(b"usemtl material\n")
    np.savetxt(out, np.repeat(mesh.faces + 1, 3, axis=1), fmt="f %d/%d/%d %d/%d/%d %d/%d/%d")
    files[path] = out.getvalue()
    return files


def vertex_colors(mesh: TexturedMesh) -> np.ndarray:
    """Base colour at the vertices, sRGB with alpha: uint8 [V, 4], sampled bilinearly."""
    pixels = mesh.pixels("baseColorTexture")
    if pixels is None:
        return np.full((len(mesh.positions), 4), 255, dtype=np.uint8)
    height, width, channels = pixels.shape
    at = mesh.uvs * [width, height] - 0.5
    low = np.floor(at).astype(np.int64)
    share = at - low
    out = np.zeros((len(at), channels))
    for dy in (0, 1):
        for dx in (0, 1):
            x, y = np.clip(low[:, 0] + dx, 0, width - 1), np.clip(low[:, 1] + dy, 0, height - 1)
            weight = np.where(dx, share[:, 0], 1 - share[:, 0]) * np.where(dy, share[:, 1], 1 - share[:, 1])
            out += weight[:, None] * pixels[y, x]
    rgba = np.full((len(at), 4), 255.0)
    rgba[:, : 3 if channels < 3 else channels] = out
    return (rgba + 0.5).astype(np.uint8)


def ply_bytes(mesh: TexturedMesh, *, licence: str | None) -> bytes:
    """Binary PLY: y up, metres, normals and an sRGB colour a vertex."""
    vertex = np.zeros(
        len(mesh.positions),
        dtype=[(n, "<f4") for n in ("x", "y", "z", "nx", "ny", "nz")]
        + [(n, "u1") for n in ("red", "green", "blue", "alpha")],
    )
    columns = np.concatenate([mesh.positions, mesh.normals], axis=1)
    for i, name in enumerate(("x", "y", "z", "nx", "ny", "nz")):
        vertex[name] = columns[:, i]
    for i, name in enumerate(("red", "green", "blue", "alpha")):
        vertex[name] = vertex_colors(mesh)[:, i]
    face = np.zeros(len(mesh.faces), dtype=[("n", "u1"), ("v", "<i4", (3,))])
    face["n"], face["v"] = 3, mesh.faces
    lines = ["ply", "format binary_little_endian 1.0", f"comment {GENERATOR}"]
    if licence:
        lines.append("comment " + " ".join(licence.split()))
    lines.append(f"element vertex {len(vertex)}")
    lines += [f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue", "alpha")]
    lines += [f"element face {len(face)}", "property list uchar int vertex_indices", "end_header"]
    return ("\n".join(lines) + "\n").encode() + vertex.tobytes() + face.tobytes()


def stl_bytes(mesh: TexturedMesh) -> bytes:
    """Binary STL: z up, millimetres."""
    corners = (z_up(mesh.positions) * MILLIMETRES)[mesh.faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    record = np.zeros(len(corners), dtype=[("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("size", "<u2")])
    record["normal"] = normal / np.where(length > 0, length, 1)
    record["corners"] = corners
    header = f"{GENERATOR}: millimetres, z up".encode().ljust(80, b" ")
    return header + np.uint32(len(record)).tobytes() + record.tobytes()
