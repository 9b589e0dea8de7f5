"""Mesh -> O-Voxel: surface points, crossed edges and material of a textured mesh, written to one .vxz file.

    python mesh2ovox.py [MESH] [--resolution 256] [--output sample.vxz]

Without MESH a striped torus is made. Also writes a picture of the voxels beside the output.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from sample_mesh import sample_mesh

from o_voxel import io
from o_voxel.asset import place, up_axis_of
from o_voxel.convert import mesh_to_flexible_dual_grid, textured_mesh_to_volumetric_attr
from o_voxel.convert.mesh_input import read_mesh
from o_voxel.grid import box_to_local, resolve_grid
from o_voxel.serialize import encode_seq
from o_voxel.view import contact_sheet, render_asset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mesh", nargs="?", type=Path, help=".glb, .gltf, .obj, .ply, .stl or .off")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--output", type=Path, default=Path("sample.vxz"))
    args = parser.parse_args()

    # Triangles with their materials, turned to Z up and scaled into [-0.5, 0.5]^3.
    source = read_mesh(args.mesh or sample_mesh())
    source, placement = place(source, up_axis_of(args.mesh) if args.mesh else "z")
    grid = resolve_grid(grid_size=args.resolution, aabb=[[-0.5] * 3, [0.5] * 3])

    # Shape. `dual_vertices` are in mesh units from the lower corner of the box.
    vertices = torch.from_numpy(source.triangles.reshape(-1, 3))
    faces = torch.arange(len(vertices)).reshape(-1, 3)
    coords, dual_vertices, intersected = mesh_to_flexible_dual_grid(
        vertices, faces, grid_size=grid.grid_size, aabb=grid.aabb,
        face_weight=1.0, boundary_weight=0.2, regularization_weight=1e-2,
    )  # fmt: skip

    # Material: the same voxels, in another order. Both are sorted along the z-order curve.
    attr_coords, attributes = textured_mesh_to_volumetric_attr(source, grid_size=grid.grid_size, aabb=grid.aabb)
    if args.resolution <= 1024:  # curve codes have ten bits an axis
        order, attr_order = encode_seq(coords).argsort(), encode_seq(attr_coords).argsort()
    else:
        keys = [(c.long() * torch.tensor([1 << 42, 1 << 21, 1])).sum(1) for c in (coords, attr_coords)]
        order, attr_order = keys[0].argsort(), keys[1].argsort()
    assert torch.equal(coords[order], attr_coords[attr_order])

    # Stored form: eight bits a coordinate inside the voxel, one bit an edge.
    local = box_to_local(dual_vertices, coords, grid)[order]
    bits = intersected[order].to(torch.uint8) * torch.tensor([1, 2, 4], dtype=torch.uint8)
    stored = {name: value[attr_order] for name, value in attributes.items()}
    stored["dual_vertices"] = (local.clamp(0, 1) * 255).to(torch.uint8)
    stored["intersected"] = bits.sum(1, keepdim=True).to(torch.uint8)
    metadata = {"grid_size": grid.grid_size.tolist(), "aabb": grid.aabb.tolist()}
    io.write(args.output, coords[order], stored, compression="zstd", metadata=metadata)
    size = args.output.stat().st_size
    print(f"{args.output}: {len(coords)} voxels, {size} bytes, {8 * size / len(coords):.1f} bits a voxel")

    from o_voxel.asset import load_asset

    picture = args.output.with_suffix(".png")
    Image.fromarray(contact_sheet(render_asset(load_asset(args.output)))).save(picture)
    print(picture)


if __name__ == "__main__":
    main()
