"""What finishing does to a surface: a picture of the decoded surface, of few faces alone, and with the baked maps.

    python finish_asset.py [MESH] [--resolution 192] [--faces 1500] [--texture-size 1024] [--output finish.png]

Without MESH a bumpy shape with a pit is made. Panels: the decoded surface; the simplified one; the same with its normal
map and ambient occlusion; base colour; normals; occlusion, roughness and metal.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from PIL import Image

from o_voxel.asset import mesh_to_asset
from o_voxel.mesh import orient_outward, unify_face_orientations
from o_voxel.postprocess import save_asset, to_glb
from o_voxel.rasterize import interpolate, rasterize

LIGHT = np.array([-0.5, 0.7, 0.5]) / np.linalg.norm([-0.5, 0.7, 0.5])
TURN = trimesh.transformations.euler_matrix(0.45, -0.6, 0)[:3, :3]  # of a Y-up object towards the viewer at +Z


def bumpy_shape() -> trimesh.Trimesh:
    """A ball with waves, a pit on its side, and colours in bands."""
    mesh = trimesh.creation.icosphere(subdivisions=6)
    v = np.asarray(mesh.vertices)
    radius = 1 + 0.03 * np.sin(18 * v[:, 0]) * np.sin(16 * v[:, 1]) * np.sin(14 * v[:, 2])
    pit = np.exp(-(((v - [-0.55, -0.75, 0.35]) / 0.28) ** 2).sum(1))
    colors = np.stack([0.75 + 0.2 * np.sin(9 * v[:, 2]), 0.55 + 0.2 * np.sin(7 * v[:, 0]), 0.4 + 0.3 * (v[:, 2] > 0.2)])
    rgba = (np.concatenate([colors, np.ones((1, len(v)))]).T * 255).astype(np.uint8)
    return trimesh.Trimesh(v * (radius - 0.5 * pit)[:, None], mesh.faces, vertex_colors=rgba, process=False)


def draw(vertices: np.ndarray, faces: np.ndarray, values: dict[str, np.ndarray], size: int) -> dict[str, np.ndarray]:
    """Values of vertices [V, C], Y up, at the pixels [size, size, C] of a view; `shown` is where there is a surface."""
    seen = vertices @ TURN.T
    clip = np.concatenate([seen[:, :2] * [1.9, -1.9], -seen[:, 2:], np.ones((len(seen), 1))], 1)  # row 0 on top
    tri = torch.from_numpy(np.ascontiguousarray(faces, np.int32))
    rast = rasterize(torch.from_numpy(clip.astype(np.float32)), tri, (size, size))
    out = {
        name: interpolate(torch.from_numpy(np.ascontiguousarray(array, np.float32)), rast, tri)[0].numpy()
        for name, array in values.items()
    }
    return {**out, "shown": (rast[0, ..., 3:] > 0).numpy()}


def shade(normals: np.ndarray, shown: np.ndarray, openness: np.ndarray | float = 1.0) -> np.ndarray:
    """Grey clay lit from above, uint8 [H, W, 3]."""
    n = normals @ TURN.T
    n = n / np.maximum(np.linalg.norm(n, axis=-1, keepdims=True), 1e-9)
    light = 0.35 * np.asarray(openness) + 0.65 * np.clip(n @ LIGHT, 0, None)[..., None]
    return (np.where(shown, np.clip(light, 0, 1) ** (1 / 2.2), 0.94) * 255).astype(np.uint8).repeat(3, -1)


def lookup(image: Image.Image, uv: np.ndarray) -> np.ndarray:
    """Texels in 0..1 at UVs (v up)."""
    pixels = np.asarray(image.convert("RGB")) / 255.0
    height, width = pixels.shape[:2]
    x = np.clip((uv[..., 0] * width).astype(int), 0, width - 1)
    return pixels[np.clip(((1 - uv[..., 1]) * height).astype(int), 0, height - 1), x]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mesh", nargs="?", type=Path)
    parser.add_argument("--resolution", type=int, default=192)
    parser.add_argument("--faces", type=int, default=1500)
    parser.add_argument("--texture-size", type=int, default=1024)
    parser.add_argument("--size", type=int, default=384, help="pixels of a panel")
    parser.add_argument("--output", type=Path, default=Path("finish.png"))
    args = parser.parse_args()

    voxels = mesh_to_asset(bumpy_shape() if args.mesh is None else args.mesh, args.resolution)
    values, layout = voxels.material()
    vertices, faces = voxels.to_mesh()
    asset, report = to_glb(
        vertices, faces, values, voxels.coords, layout, voxels.grid.aabb, grid_size=voxels.grid.grid_size,
        decimation_target=args.faces, texture_size=args.texture_size, report=True,
    )  # fmt: skip
    save_asset(asset, args.output.with_suffix(".glb"))
    print(report.to_text())

    full = vertices.numpy()[:, [0, 2, 1]] * [1, 1, -1]
    wound = np.asarray(orient_outward(vertices, unify_face_orientations(vertices, faces)[1]))
    smooth = np.asarray(trimesh.Trimesh(full, wound, process=False).vertex_normals)
    fine = draw(full, wound, {"normal": smooth}, args.size)
    material: Any = asset.visual.material
    attributes = {
        "normal": np.asarray(asset.vertex_normals),
        "tangent": np.asarray(asset.vertex_attributes["TANGENT"]),
        "uv": np.asarray(asset.visual.uv),
    }
    few = draw(np.asarray(asset.vertices), np.asarray(asset.faces), attributes, args.size)
    local = lookup(material.normalTexture, few["uv"]) * 2 - 1
    n, t, w = few["normal"], few["tangent"][..., :3], few["tangent"][..., 3:]
    detailed = local[..., :1] * t + local[..., 1:2] * np.sign(w) * np.cross(n, t) + local[..., 2:] * n
    openness = lookup(material.occlusionTexture, few["uv"])[..., :1]
    top = [shade(fine["normal"], fine["shown"]), shade(n, few["shown"]), shade(detailed, few["shown"], openness)]
    maps = (material.baseColorTexture, material.normalTexture, material.metallicRoughnessTexture)
    bottom = [np.asarray(image.convert("RGB").resize((args.size,) * 2)) for image in maps]
    Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in (top, bottom)])).save(args.output)
    print(args.output)


if __name__ == "__main__":
    main()
