"""O-Voxel -> mesh: the surface of a .vxz file with vertex colours, as .ply.

    python ovox2mesh.py [sample.vxz] [--output sample.ply]

Also writes a picture of the mesh, drawn by the triangle rasteriser.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image

from o_voxel import io
from o_voxel.convert import flexible_dual_grid_to_mesh
from o_voxel.mesh import orient_outward, unify_face_orientations, vertex_normals
from o_voxel.rasterize import interpolate, intrinsics_to_projection, rasterize
from o_voxel.view import look_at


def draw(vertices: torch.Tensor, faces: torch.Tensor, colors: torch.Tensor, size: int = 512) -> np.ndarray:
    """A lit picture [size, size, 3] of a mesh with vertex colours [V, 3]."""
    extrinsics, intrinsics = look_at(math.radians(30), math.radians(25), 2.2, math.radians(35), vertices.device)
    camera = torch.cat([vertices, torch.ones(len(vertices), 1)], 1) @ extrinsics.T
    clip = (camera @ intrinsics_to_projection(intrinsics, 0.1, 10.0).T)[None].contiguous()
    rast = rasterize(clip, faces, (size, size))
    normals = torch.as_tensor(vertex_normals(vertices, faces), dtype=torch.float32)
    image = interpolate(torch.cat([colors, normals], 1)[None].contiguous(), rast, faces)
    light = torch.nn.functional.normalize(torch.tensor([0.3, -0.6, 0.7]), dim=0)
    shade = 0.35 + 0.65 * (image[0, ..., 3:] @ light).clamp(min=0)
    covered = (rast[0, ..., 3:] > 0).float()
    lit = image[0, ..., :3] * shade[..., None] * covered + 0.94 * (1 - covered)
    return (lit.clamp(0, 1) * 255).byte().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("voxels", nargs="?", type=Path, default=Path("sample.vxz"))
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    output = args.output or args.voxels.with_suffix(".ply")

    coords, attributes = io.read(args.voxels)
    header = io.read_vxz_info(args.voxels)
    dual_vertices = attributes["dual_vertices"].float() / 255  # in voxels, from the voxel's lower corner
    intersected = (attributes["intersected"] >> torch.arange(3, dtype=torch.uint8)) & 1
    vertices, faces = flexible_dual_grid_to_mesh(
        coords, dual_vertices, intersected.bool(), None, header["aabb"], grid_size=header["grid_size"]
    )
    # The dual surface has no side of its own: wind it consistently, then outward.
    faces = orient_outward(vertices, unify_face_orientations(vertices, faces)[1])
    faces = torch.as_tensor(faces, dtype=torch.int32)
    colors = attributes["base_color"]
    mesh = trimesh.Trimesh(vertices.numpy(), faces.numpy(), vertex_colors=colors.numpy(), process=False)
    mesh.export(output)
    print(f"{output}: {len(vertices)} vertices, {len(faces)} faces, watertight: {mesh.is_watertight}")

    picture = output.with_name(f"{output.stem}_mesh.png")
    Image.fromarray(draw(vertices, faces, colors.float() / 255)).save(picture)
    print(picture)


if __name__ == "__main__":
    main()
