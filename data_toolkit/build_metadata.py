"""Make the base table of a dataset and fold the records of all stages into their tables.

python data_toolkit/build_metadata.py SUBSET --root ROOT [adaptor flags]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_toolkit.adaptors import parse_with_adaptor
from data_toolkit.files import write_bytes
from data_toolkit.tables import Table, fill, is_true, make_table, read_table, write_table

__all__ = ["main", "merge_stage", "rebuild_stage"]

_STAGE_ROOTS = (
    "download_root", "thumbnail_root", "render_cond_root", "mesh_dump_root", "pbr_dump_root", "dual_grid_root",
    "pbr_voxel_root", "ss_latent_root", "shape_latent_root", "pbr_latent_root",
)  # fmt: skip


def merge_stage(folder: Path, *, from_merged: bool = False, record_start: int | None = None) -> Table | None:
    """Fold `new_records/part_*.csv` into `metadata.csv`; new non-empty values win. None if there is nothing.

    `from_merged` also reads records merged earlier (written at or after unix time `record_start`), which restores a
    lost table.
    """
    if not folder.is_dir():
        return None
    new, merged = folder / "new_records", folder / "merged_records"
    for path in (new, merged):
        path.mkdir(parents=True, exist_ok=True)
    old_parts = []
    if from_merged:
        stamps = [(p.name.split("_")[0], p) for p in sorted(merged.glob("*_part_*.csv"))]
        old_parts = [p for stamp, p in stamps if stamp.isdigit() and int(stamp) >= (record_start or 0)]
    parts = sorted(new.glob("part_*.csv"))
    target = folder / "metadata.csv"
    table: Table | None = read_table(target) if target.is_file() else None
    good = 0
    for path in old_parts + parts:
        try:
            part = read_table(path)
        except (ValueError, OSError, UnicodeDecodeError) as error:
            print(f"Failed to read {path}: {error}")
            continue
        good += 1
        table = part if table is None else fill(part, table)
    if good and table is not None:
        write_table(target, table)
    for path in parts:
        path.rename(merged / f"{int(time.time())}_{path.name}")
    return table


def _count_tokens(path: Path) -> int:
    import numpy as np

    with np.load(path, allow_pickle=False) as store:
        return len(store["coords"])


def rebuild_stage(folder: Path, kind: str) -> None:
    """Record every complete output file of a stage again, as if it had just been made."""
    from data_toolkit.steps.voxels import voxel_count

    makers: dict[str, tuple[str, Callable[[Path], dict[str, Any] | None]]] = {
        "dual_grid": ("*.vxz", lambda p: _counted(voxel_count(p), "dual_grid_converted", "dual_grid_size")),
        "pbr_voxels": ("*.vxz", lambda p: _counted(voxel_count(p), "pbr_voxelized", "num_pbr_voxels")),
        "shape_latents": ("*.npz", lambda p: _counted(_count_tokens(p), "shape_latent_encoded", "shape_latent_tokens")),
        "pbr_latents": ("*.npz", lambda p: _counted(_count_tokens(p), "pbr_latent_encoded", "pbr_latent_tokens")),
        "ss_latents": ("*.npz", lambda p: {"ss_latent_encoded": True}),
        "mesh_dumps": ("*.*", lambda p: {"mesh_dumped": True} if p.suffix in (".npz", ".pickle") else None),
        "pbr_dumps": ("*.*", lambda p: {"pbr_dumped": True} if p.suffix in (".npz", ".pickle") else None),
        "renders_cond": ("*/transforms.json", lambda p: {"cond_rendered": True}),
    }
    if kind not in makers or not folder.is_dir():
        return
    pattern, make = makers[kind]
    records = []
    for path in sorted(folder.glob(pattern)):
        try:
            cells = make(path)
        except (ValueError, OSError, KeyError) as error:
            print(f"{path} is damaged: {error}")
            continue
        if cells is not None:
            records.append({"sha256": path.parent.name if kind == "renders_cond" else path.stem, **cells})
    if records:
        write_table(folder / "new_records" / "part_rebuilt.csv", make_table(records))


def _counted(count: int | None, flag: str, column: str) -> dict[str, Any] | None:
    return None if count is None else {flag: True, column: count}


def _stage_folders(args: argparse.Namespace) -> list[tuple[str, str, Path]]:
    """(kind, name, folder) of every stage, in the published order."""
    out = [
        ("raw", "raw", args.download_root / "raw"),
        ("thumbnails", "thumbnails", args.thumbnail_root / "thumbnails"),
        ("aesthetic_scores", "aesthetic_scores", args.root / "aesthetic_scores"),
        ("renders_cond", "renders_cond", args.render_cond_root / "renders_cond"),
        ("mesh_dumps", "mesh_dumps", args.mesh_dump_root / "mesh_dumps"),
        ("pbr_dumps", "pbr_dumps", args.pbr_dump_root / "pbr_dumps"),
        ("asset_stats", "asset_stats", args.root / "asset_stats"),
    ]
    for kind, base in (("dual_grid", args.dual_grid_root), ("pbr_voxels", args.pbr_voxel_root)):
        out += [(kind, p.name, p) for p in sorted(base.glob(f"{kind}_*")) if p.name.rsplit("_", 1)[1].isdigit()]
    for kind, base in (
        ("ss_latents", args.ss_latent_root),
        ("shape_latents", args.shape_latent_root),
        ("pbr_latents", args.pbr_latent_root),
    ):
        out += [(kind, f"{kind}/{p.name}", p) for p in sorted((base / kind).glob("*")) if p.is_dir()]
    return out


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="build_metadata.py", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="dataset root")
    for name in _STAGE_ROOTS:
        parser.add_argument(f"--{name}", type=Path, help="default: --root")
    parser.add_argument("--field", default="all", help="comma-separated stage folders to merge, e.g. raw,mesh_dumps")
    parser.add_argument("--from_file", action="store_true", help="the same as --rebuild")
    parser.add_argument("--rebuild", action="store_true", help="also record the output files found on disk")
    parser.add_argument("--from_merged_records", action="store_true", help="also read records that were merged before")
    parser.add_argument("--record_start", type=int, help="with --from_merged_records: oldest unix time to read")
    parser.add_argument("--extend", action="store_true", help="ask the adaptor again and add assets that are new")
    adaptor, args = parse_with_adaptor(parser, argv)
    for name in _STAGE_ROOTS:
        if getattr(args, name) is None:
            setattr(args, name, args.root)
    args.root.mkdir(parents=True, exist_ok=True)
    base_path = args.root / "metadata.csv"
    base: Table = {}
    if base_path.is_file():
        print("Loading previous metadata...")
        base = read_table(base_path)
    if not base_path.is_file() or args.extend:
        try:
            fresh = make_table(adaptor.get_metadata(**vars(args)))
        except ValueError as error:
            parser.error(str(error))
        base = {**base, **{sha: row for sha, row in fresh.items() if sha not in base}}
        write_table(base_path, base)

    wanted = None if args.field == "all" else {f.strip() for f in args.field.split(",")}
    lines = [f"Number of assets: {len(base)}"]
    for kind, name, folder in _stage_folders(args):
        if wanted is not None and not {kind, name} & wanted:
            continue
        if args.rebuild or args.from_file:
            rebuild_stage(folder, kind)
        table = merge_stage(folder, from_merged=args.from_merged_records, record_start=args.record_start)
        if table is None:
            continue
        lines.append(f"{name}: {len(table)} records")
        failures = sorted((folder / "failures").glob("part_*.csv"))
        reasons: Counter[str] = Counter()
        for path in failures:
            still = {s: r for s, r in read_table(path).items() if not _finished(table.get(s))}
            reasons.update(row.get("reason", "").split(" (")[0] for row in still.values())
        lines += [f"  failed {count} x {reason}" for reason, count in reasons.most_common()]
    text = "\n".join(lines)
    print(text)
    write_bytes(args.root / "statistics.txt", (text + "\n").encode())
    return 0


def _finished(row: dict[str, str] | None) -> bool:
    return row is not None and any(is_true(v) for k, v in row.items() if k != "sha256")


if __name__ == "__main__":
    raise SystemExit(main())
