"""Per-channel mean and standard deviation of encoded latents, for normalisation.

    python -m trellis2.datasets.latent_stats FOLDER OUT.json [--max_items N]

FOLDER holds `<sha>.npz` with `feats` [T, C] (sparse latents) or `z` [C, S, S, S] (structure latents).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .reading import read_parallel

__all__ = ["latent_stats", "main", "write_latent_stats"]

log = logging.getLogger(__name__)


def latent_stats(folder: str | Path, max_items: int | None = None) -> dict[str, list[float]]:
    """{`mean`, `std`} per channel over all tokens of all files (float64 sums); ValueError if there is no latent."""
    files = sorted(Path(folder).glob("*.npz"))
    if max_items is not None and len(files) > max_items:
        files = [files[i] for i in np.linspace(0, len(files) - 1, max_items).astype(int)]
    if not files:
        raise ValueError(f"{folder} holds no .npz file")

    def sums(i: int) -> tuple[int, np.ndarray, np.ndarray]:
        with np.load(files[i], allow_pickle=False) as data:
            values = data["feats"] if "feats" in data else data["z"].reshape(len(data["z"]), -1).T
        values = values.astype(np.float64)  # [T, C]
        if not np.isfinite(values).all():
            raise ValueError("values that are not finite")
        return len(values), values.sum(0), (values**2).sum(0)

    results, failed = read_parallel(sums, range(len(files)), min(16, (os.cpu_count() or 1) + 2))
    if failed:
        i, message = next(iter(failed.items()))
        raise ValueError(f"{len(failed)} of {len(files)} latents are unreadable, e.g. {files[i].name}: {message}")
    count = sum(r[0] for r in results.values())
    mean = np.sum([r[1] for r in results.values()], axis=0) / count
    variance = np.sum([r[2] for r in results.values()], axis=0) / count - mean**2
    std = np.sqrt(np.maximum(variance, 1e-12))
    return {"mean": [round(float(v), 6) for v in mean], "std": [max(round(float(v), 6), 1e-6) for v in std]}


def write_latent_stats(folder: str | Path, out: str | Path, max_items: int | None = None) -> dict[str, list[float]]:
    """As `latent_stats`, written as JSON (atomically) for the `normalization` arguments."""
    stats = latent_stats(folder, max_items)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    temporary.write_text(json.dumps(stats, indent=2) + "\n")
    temporary.replace(out)
    return stats


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m trellis2.datasets.latent_stats", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--max_items", type=int, default=None)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        stats = write_latent_stats(args.folder, args.out, args.max_items)
    except (ValueError, OSError) as error:
        log.error("%s", error)
        return 1
    log.info("%d channels, std %.3f to %.3f", len(stats["std"]), min(stats["std"]), max(stats["std"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
