"""Generate a training set in one pass: asset -> dual grid, PBR voxels, condition views, with the metadata tables.

    python data_toolkit/make_procedural.py --root data/train --start 0 --count 20000 --workers 64 --views 8

Writes the published layout (`dual_grid_<R>`, `pbr_voxels_<R>`, `renders_cond`, base and stage tables) with the same
functions as the staged scripts, but neither GLBs nor dumps unless --save_raw / --save_dumps ask for them. A second run
continues where the first stopped, and may extend the range.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_toolkit.datasets.Procedural import asset_row
from data_toolkit.files import write_bytes
from data_toolkit.runner import outcomes
from data_toolkit.steps.generated import GeneratedOptions, make_generated
from data_toolkit.tables import Row, Table, fill, make_table, read_table, write_table

__all__ = ["main", "make_set"]


@dataclass(frozen=True)
class _Make:
    """Picklable worker function."""

    options: GeneratedOptions

    def __call__(self, file: Path | None, row: Row) -> dict[str, Any]:
        return make_generated(int(row["index"]), self.options)


def _merge(path: Path, new: Table) -> None:
    old = read_table(path) if path.is_file() else {}
    write_table(path, fill(new, old) if old else new)


def make_set(start: int, count: int, options: GeneratedOptions, workers: int) -> tuple[int, list[tuple[str, str]]]:
    """Make assets start … start + count - 1; returns the number made and (sha256, reason) of the failures."""
    from tqdm import tqdm

    root = options.root
    rows = make_table([asset_row(i) for i in range(start, start + count)])
    R = options.resolution
    grids, voxels, views, raw, dumps = (
        root / name for name in (f"dual_grid_{R}", f"pbr_voxels_{R}", "renders_cond", "raw", "mesh_dumps")
    )
    tables: dict[Path, list[dict[str, Any]]] = {grids: [], voxels: [], views: [], raw: [], dumps: []}
    tables[root / "asset_stats"] = []
    failures = []
    order = list(rows.values())
    chunk = max(1, min(4, len(order) // (4 * max(workers, 1))))
    try:
        with tqdm(total=len(order), desc="Making assets", mininterval=2.0) as bar:
            for outcome in outcomes([(None, r) for r in order], _Make(options), workers, chunk):
                bar.update()
                if outcome.record is None:
                    failures.append((outcome.sha256, str(outcome.error)))
                    bar.write(f"Error processing object {outcome.sha256}: {outcome.error}")
                    continue
                r, sha = outcome.record, {"sha256": outcome.sha256}
                tables[grids].append({**sha, "dual_grid_converted": True, "dual_grid_size": r["voxels"]})
                tables[voxels].append({**sha, "pbr_voxelized": True, "num_pbr_voxels": r["voxels"]})
                if options.views:
                    tables[views].append({**sha, "cond_rendered": True})
                if options.save_raw:
                    tables[raw].append({**sha, "local_path": r["local_path"]})
                if options.save_dumps:
                    tables[dumps].append({**sha, "mesh_dumped": True})
                tables[root / "asset_stats"].append({**sha, **r["stats"]})
    finally:  # also when stopped early: what is on disk is in the tables
        for folder, records in tables.items():
            if records:
                records.sort(key=lambda r: r["sha256"])
                _merge(folder / "metadata.csv", make_table(records))
        if tables[grids]:
            _merge(root / "metadata.csv", {r["sha256"]: rows[r["sha256"]] for r in tables[grids]})
    made = len(tables[grids])
    text = [f"Assets of this run: {made} made, {len(failures)} failed"]
    text += [f"  {reason}: {n}" for reason, n in Counter(reason.split(" (")[0] for _, reason in failures).most_common()]
    write_bytes(root / "statistics.txt", ("\n".join(text) + "\n").encode())
    return made, failures


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that what is under way is put away."""
    try:
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    except ValueError:  # only the main thread may set handlers
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Generate a training set in one pass.")
    parser.add_argument("--root", type=Path, required=True, help="dataset root")
    parser.add_argument("--start", type=int, default=0, help="first index; evaluation sets start at 1000000")
    parser.add_argument("--count", type=int, required=True, help="number of assets")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 means one a core")
    parser.add_argument("--resolution", type=int, default=128, help="voxels a side")
    parser.add_argument("--views", type=int, default=8, help="condition images an asset; 0 for none")
    parser.add_argument("--image_size", type=int, default=160, help="pixels a side of a condition image")
    parser.add_argument("--ssaa", type=int, default=2, help="samples a pixel side")
    parser.add_argument("--no_geometry", action="store_true", help="do not write <view>_geo.npz")
    parser.add_argument("--save_raw", action="store_true", help="also write the GLB files")
    parser.add_argument("--save_dumps", action="store_true", help="also write mesh dumps (pickle, as published)")
    args = parser.parse_args(argv)
    options = GeneratedOptions(
        root=args.root, resolution=args.resolution, views=args.views, image_size=args.image_size, ssaa=args.ssaa,
        geometry=not args.no_geometry, save_raw=args.save_raw, save_dumps=args.save_dumps,
    )  # fmt: skip
    if args.count < 1:
        parser.error("--count must be positive")
    begin = time.time()
    with _ended_by_sigterm():
        made, failures = make_set(args.start, args.count, options, args.workers)
    print(f"{made} assets in {time.time() - begin:.1f} s, {len(failures)} failed")
    return 1 if made == 0 else 0


if __name__ == "__main__":
    raise SystemExit(main())
