"""O-Voxel -> GLB: cleaned, simplified, unwrapped and textured, with a report of what came out.

    python ovox2glb.py [sample.vxz] [--output sample.glb] [--faces 20000] [--texture-size 1024]

Also writes a picture: the asset turned back into voxels, and its base-colour texture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from o_voxel.asset import PBR_LAYOUT, load_asset, mesh_to_asset
from o_voxel.postprocess import save_glb, to_glb
from o_voxel.view import contact_sheet, render_asset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("voxels", nargs="?", type=Path, default=Path("sample.vxz"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--faces", type=int, default=20_000)
    parser.add_argument("--texture-size", type=int, default=1024)
    args = parser.parse_args()
    output = args.output or args.voxels.with_suffix(".glb")

    asset = load_asset(args.voxels)
    vertices, faces = asset.to_mesh()
    mesh, report = to_glb(
        vertices, faces, asset.pbr, asset.coords, PBR_LAYOUT, asset.grid.aabb, grid_size=asset.grid.grid_size,
        decimation_target=args.faces, texture_size=args.texture_size, profile="game", report=True,
    )  # fmt: skip
    save_glb(mesh, output)
    print(f"{output}: {len(mesh.faces)} faces, {output.stat().st_size} bytes")
    print(report)

    views = contact_sheet(render_asset(mesh_to_asset(output, 256), views=3))
    texture = mesh.visual.material.baseColorTexture.convert("RGB").resize(views.shape[:1] * 2)
    picture = output.with_name(f"{output.stem}_glb.png")
    Image.fromarray(np.concatenate([views, np.asarray(texture)], 1)).save(picture)
    print(picture)


if __name__ == "__main__":
    main()
