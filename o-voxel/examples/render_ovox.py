"""Voxel rendering: attributes of a .vxz file drawn as boxes, from a camera on a circle.

    python render_ovox.py [sample.vxz] [--output sample_render.png] [--size 512]

The picture shows base colour, metal, roughness, normals, depth and coverage of one view.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from PIL import Image

from o_voxel import io
from o_voxel.rasterize import VoxelRenderer
from o_voxel.view import contact_sheet, look_at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("voxels", nargs="?", type=Path, default=Path("sample.vxz"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--yaw", type=float, default=30.0, help="degrees; 0 is the front, -Y")
    args = parser.parse_args()
    output = args.output or args.voxels.with_name(f"{args.voxels.stem}_render.png")

    coords, attributes = io.read(args.voxels)
    header = io.read_vxz_info(args.voxels)
    aabb = torch.tensor(header["aabb"])
    voxel_size = (aabb[1] - aabb[0]) / torch.tensor(header["grid_size"])
    centers = (coords + 0.5) * voxel_size + aabb[0]
    names = ("base_color", "metallic", "roughness", "normal")
    values = torch.cat([attributes[name] for name in names], 1).float() / 255  # [N, 8]

    extrinsics, intrinsics = look_at(math.radians(args.yaw), math.radians(25), 2.2, math.radians(35), coords.device)
    renderer = VoxelRenderer({"resolution": args.size, "ssaa": 2, "near": 0.1, "far": 10.0})
    out = renderer.render(centers, values, voxel_size, extrinsics, intrinsics)
    covered = out.alpha > 0
    near, far = float(out.depth[covered].min()), float(out.depth[covered].max())
    depth = torch.where(covered, 1 - 0.8 * (out.depth - near) / max(far - near, 1e-6), 0)
    pictures = [
        out.attr[0:3], out.attr[3:4].expand(3, -1, -1), out.attr[4:5].expand(3, -1, -1), out.attr[5:8],
        depth.expand(3, -1, -1), out.alpha.expand(3, -1, -1),
    ]  # fmt: skip
    frames = [(p.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy() for p in pictures]
    Image.fromarray(contact_sheet(frames, columns=3)).save(output)
    print(f"{output}: base colour, metal, roughness / normals, depth, coverage")


if __name__ == "__main__":
    main()
