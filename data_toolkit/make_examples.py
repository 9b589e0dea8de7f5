"""Make the example images and meshes of the repository from assets that training never sees.

python data_toolkit/make_examples.py --output assets
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from PIL import Image

from data_toolkit.files import atomic_write, write_bytes
from data_toolkit.procedural import family_of, generate_asset
from data_toolkit.procedural.generate import EVAL_START

__all__ = ["FAMILIES", "main"]

FAMILIES = ("chair", "car", "teapot", "teddy", "house", "rocket", "lamp", "duck")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make_examples.py", description="Make the example images and meshes.")
    parser.add_argument("--output", type=Path, required=True, help="gets example_image/*.png and example_mesh/*.glb")
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    args = parser.parse_args(argv)
    from trellis2.renderers.asset_views import ViewCamera, load_asset, render_asset_view

    for family in FAMILIES:
        index = next(i for i in range(EVAL_START, EVAL_START + 1000) if family_of(i) == family)
        model = generate_asset(index)
        # from the front right (+X), a little from above; yaw 0 is +X and the front is -Y
        camera = ViewCamera.from_blender_view(math.radians(-90 + 35), math.radians(20), 2.4, math.radians(40))
        picture = Image.fromarray(render_asset_view(load_asset(model.scene()), camera, args.size)["rgba"])
        path = args.output / "example_image" / f"{family}.png"
        atomic_write(path, lambda file, image=picture: image.save(file, "PNG", optimize=True))  # type: ignore[misc]
        write_bytes(args.output / "example_mesh" / f"{family}.glb", model.glb())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
