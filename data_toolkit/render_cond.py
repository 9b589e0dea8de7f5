"""Render condition images of every asset with the CPU rasteriser.

python data_toolkit/render_cond.py SUBSET --root ROOT --num_views 8 --resolution 160 --save_geometry
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_toolkit.adaptors import parse_with_adaptor
from data_toolkit.runner import Stage, add_common_args, load_tables, not_done, run_stage, select
from data_toolkit.steps.views import render_views
from data_toolkit.tables import Row

__all__ = ["RenderAsset", "main"]


@dataclass(frozen=True)
class RenderAsset:
    """Writes `<folder>/<sha>/`; a folder with transforms.json is complete. The seed comes from the sha."""

    folder: Path
    num_views: int
    resolution: int
    cameras: Literal["training", "published"]
    save_geometry: bool
    ssaa: int

    def __call__(self, file: Path | None, row: Row) -> dict[str, Any]:
        sha = row["sha256"]
        target = self.folder / sha
        if not (target / "transforms.json").is_file():
            if file is None or not file.is_file():
                raise ValueError(f"asset file {file} does not exist")
            render_views(
                file, target, int(sha[:12], 16), self.num_views, self.resolution,
                cameras=self.cameras, save_geometry=self.save_geometry, ssaa=self.ssaa,
            )  # fmt: skip
        return {"sha256": sha, "cond_rendered": True}


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="render_cond.py", description=__doc__)
    add_common_args(parser, workers=8)
    parser.add_argument("--download_root", type=Path, help="where raw/ is; default: --root")
    parser.add_argument("--render_cond_root", type=Path, help="default: --root")
    parser.add_argument(
        "--num_views", "--num_cond_views", dest="num_views", type=int, default=16, help="images an asset"
    )
    parser.add_argument("--resolution", type=int, default=160, help="pixels a side (published: 1024)")
    parser.add_argument(
        "--cameras", choices=("training", "published"), default="training",
        help="training: filling the picture, pitch mostly -10 to 50, fov 30 to 50 degrees; published: fov 10 to 70",
    )  # fmt: skip
    parser.add_argument("--save_geometry", action="store_true", help="also <view>_geo.npz: positions and normals")
    parser.add_argument("--ssaa", type=int, default=2, help="samples a pixel side")
    adaptor, args = parse_with_adaptor(parser, argv)
    if args.num_views < 1 or args.resolution < 8 or args.ssaa < 1:
        parser.error("--num_views and --ssaa must be positive and --resolution at least 8")
    download_root = args.download_root or args.root
    stage = Stage((args.render_cond_root or args.root) / "renders_cond", ("cond_rendered",), "Rendering")
    try:
        table = load_tables(args.root, [download_root / "raw", stage.folder], {"local_path": "download.py"})
        rows = select(
            table, args, lambda r: bool(r.get("local_path")) and not_done(r, "cond_rendered"), stage.failures(args.rank)
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))
    rows = [r for r in rows if r.get("local_path")]
    step = RenderAsset(stage.folder, args.num_views, args.resolution, args.cameras, args.save_geometry, args.ssaa)
    return run_stage(
        [stage], rows, step, rank=args.rank, max_workers=args.max_workers, base_dir=download_root, adaptor=adaptor
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
