"""Contact sheet of the generator: one row a family, samples from the front right, the last column from the back left.

python -m data_toolkit.procedural.preview --output sheet.png --families chair,table --samples 5
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from data_toolkit.procedural.families import FAMILIES
from data_toolkit.procedural.generate import generate_asset

__all__ = ["contact_sheet", "main"]


def contact_sheet(families: list[str], samples: int, size: int, first: int = 0) -> Image.Image:
    """Render `samples` assets of each family; the front (+Z in glTF) faces the viewer."""
    from trellis2.renderers.asset_views import ViewCamera, load_asset, render_asset_view

    sheet = Image.new("RGB", ((samples + 1) * size, len(families) * size), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for row, family in enumerate(families):
        for column in range(samples + 1):
            back = column == samples
            asset = load_asset(generate_asset(first + (0 if back else column), family).scene())
            azimuth = math.radians(-90 + (215 if back else 30))  # 0 is +X, the front is -Y
            camera = ViewCamera.from_blender_view(azimuth, math.radians(22), 2.6, math.radians(34))
            view = render_asset_view(asset, camera, size)["rgba"].astype(np.float32)
            alpha = view[..., 3:] / 255
            image = view[..., :3] * alpha + 235 * (1 - alpha)
            sheet.paste(Image.fromarray(image.astype(np.uint8)), (column * size, row * size))
        draw.text((4, row * size + 2), family, fill=(200, 0, 0))
    return sheet


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--families", default=",".join(FAMILIES), help="comma-separated names")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--size", type=int, default=128, help="pixels a cell")
    parser.add_argument("--first", type=int, default=0, help="index of the first sample")
    args = parser.parse_args()
    contact_sheet(args.families.split(","), args.samples, args.size, args.first).save(args.output)


if __name__ == "__main__":
    main()
