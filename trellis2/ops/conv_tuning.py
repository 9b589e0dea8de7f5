"""Which tile sizes the convolution kernels use: a table tuned on this device if there is one, else the shipped choice.

Nothing is timed inside ordinary calls. `python -m trellis2.ops.conv_tuning` times a handful of candidates for the usual
shapes and keeps the winners for the user (`TRELLIS2_CACHE_DIR`); `TRELLIS2_AUTOTUNE=1` does so for every new shape when
it first occurs. The table belongs to one device model, triton version and package version. Results do not change:
see `conv_configs`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from .conv_configs import (
    ConvConfig,
    ConvProblem,
    WeightGradConfig,
    conv_candidates,
    conv_recipe,
    weight_grad_candidates,
)

__all__ = ["autotuning", "choose", "choose_conv", "choose_weight_grad", "main", "table_path"]

_log = logging.getLogger(__name__)
_FORMAT = 1
_lock = threading.RLock()
_tables: dict[Path, dict[str, list[Any]]] = {}
_choices: dict[Any, Any] = {}
"""What was chosen in this process; also keeps a shape from being tuned again while it is being tuned."""
C = TypeVar("C", ConvConfig, WeightGradConfig)


def autotuning() -> bool:
    """Whether new shapes are tuned when they first occur."""
    return os.environ.get("TRELLIS2_AUTOTUNE", "0") == "1"


def table_path(device: torch.device) -> Path:
    """Where the tuned choices for this device are kept."""
    import triton

    from .selftest import cache_dir

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    stem = re.sub(r"[^A-Za-z0-9]+", "_", f"{name} triton {triton.__version__}").strip("_").lower()
    return cache_dir() / "tuning" / f"conv_{stem}_{_FORMAT}.json"


def problem_key(problem: ConvProblem) -> str:
    """Key of a shape in the table: sizes of N within a factor of two share an entry."""
    kind, dtype, rows, ck, cn, volume = problem
    return f"{kind} {str(dtype).removeprefix('torch.')} {max(1, rows).bit_length()} {ck} {cn} {volume}"


def _table(path: Path) -> dict[str, list[Any]]:
    """The table in memory; read at first use. A file that cannot be read is reported and ignored."""
    if path not in _tables:
        table: dict[str, list[Any]] = {}
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            table = {str(k): list(v) for k, v in document["entries"].items()}
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("tuning table %s is ignored: %s", path, error)
        _tables[path] = table
    return _tables[path]


def _save(path: Path, key: str, config: Sequence[Any]) -> None:
    """Add one entry; the file is read again first, so that processes that tune side by side lose little."""
    with _lock:
        _tables.pop(path, None)
        table = _table(path)
        table[key] = list(config)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"format": _FORMAT, "entries": table}, file, indent=0)
            os.replace(part, path)
        except OSError as error:
            _log.warning("tuning table %s cannot be written: %s", path, error)


def choose(candidates: list[C], problem: ConvProblem, device: torch.device, run: Callable[[C], object]) -> C:
    """The tuned candidate for the shape, or the first. Tunes by timing `run` on all of them if asked to (`autotuning`).

    Only candidates are ever returned: an entry of the table that is none of them is out of date and ignored.
    """
    if device.type != "cuda":
        return candidates[0]
    path, key = table_path(device), problem_key(problem)
    with _lock:
        entry = _table(path).get(key)
    for candidate in candidates:
        if entry is not None and list(candidate) == entry:
            return candidate
    if not autotuning() or torch.cuda.is_current_stream_capturing():
        return candidates[0]
    times = {}
    for candidate in candidates:
        try:
            times[candidate] = _milliseconds(partial(run, candidate))
        except Exception as error:  # a configuration that does not fit this device
            _log.info("%s: %s does not run: %s", key, candidate, error)
    if not times:
        return candidates[0]
    best = min(times, key=times.__getitem__)
    _log.info("%s: %s, %.3f ms (shipped choice %.3f ms)", key, best, times[best], times.get(candidates[0], 0.0))
    _save(path, key, best)
    return best


def _milliseconds(run: Callable[[], object], warmup: int = 2, repeats: int = 5) -> float:
    for _ in range(warmup):
        run()
    times = []
    for _ in range(repeats):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (9, 0)


def choose_conv(
    problem: ConvProblem, device: torch.device, hopper: bool, run: Callable[[ConvConfig], object]
) -> ConvConfig:
    """Tiles for a convolution. hopper: whether the Hopper kernel takes the shape; run: the call, for tuning."""
    key = (problem._replace(rows=max(1, problem.rows).bit_length()), conv_recipe(problem), device, hopper)
    found = _choices.get(key)
    if found is None:
        candidates = conv_candidates(problem, _capability(device), hopper, conv_recipe(problem))
        found = _choices[key] = choose(candidates, problem, device, run)
    return found


def choose_weight_grad(
    problem: ConvProblem, device: torch.device, hopper: bool, run: Callable[[WeightGradConfig], object]
) -> WeightGradConfig:
    """Tiles for a weight gradient; arguments as for `choose_conv`."""
    key = (problem._replace(rows=max(1, problem.rows).bit_length()), None, device, hopper)
    found = _choices.get(key)
    if found is None:
        candidates = weight_grad_candidates(problem, _capability(device), hopper)
        found = _choices[key] = choose(candidates, problem, device, run)
    return found


_USUAL = ((4000, 1024), (16000, 512), (17000, 1024), (69000, 512), (278000, 256), (1112000, 128), (4452000, 64))
"""(rows, channels) of the decoders' levels."""


def main(argv: Sequence[str] | None = None) -> None:
    """Tune the usual shapes on one device and say where the table lies."""
    parser = argparse.ArgumentParser(prog="python -m trellis2.ops.conv_tuning", description=main.__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=["float16", "bfloat16"], nargs="+", default=["float16", "bfloat16"])
    parser.add_argument("--max-rows", type=int, default=2_000_000)
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    if device.type != "cuda" or not torch.cuda.is_available():
        parser.error(f"tuning needs a CUDA device, got {device}")
    os.environ["TRELLIS2_AUTOTUNE"] = "1"
    from .neighbor_map import find_neighbors
    from .sparse_conv import sparse_conv3d

    for dtype in (getattr(torch, name) for name in options.dtype):
        for rows, channels in _USUAL:
            if rows > options.max_rows:
                continue
            hood = find_neighbors(_sheet(rows, device), (3, 3, 3))
            feats = torch.randn(hood.shape[0], channels, device=device, dtype=dtype).requires_grad_()
            weight = torch.randn(channels, 3, 3, 3, channels, device=device, dtype=dtype).requires_grad_()
            sparse_conv3d(feats, weight, None, hood).sum().backward()
            sys.stdout.write(f"{dtype} {rows} rows, {channels} channels: done\n")
    sys.stdout.write(f"{table_path(device)}\n")


def _sheet(rows: int, device: torch.device) -> torch.Tensor:
    """About `rows` voxels [N, 4] int32 of a wavy sheet two cells thick."""
    side = max(2, int((rows / 2) ** 0.5))
    axis = torch.arange(side, device=device)
    x, y = (g.reshape(-1) for g in torch.meshgrid(axis, axis, indexing="ij"))
    height = (((x * 0.11).sin() + (y * 0.07).cos()) * 20 + 64).long()
    layers = [torch.stack([torch.zeros_like(x), x, y, height + k], 1) for k in range(2)]
    return torch.cat(layers).int()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
