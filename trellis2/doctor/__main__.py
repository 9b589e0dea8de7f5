"""Report on this machine: `python -m trellis2.doctor [--json] [--quick] [--device cuda]`.

Prints devices, versions, the backend that every operation uses with the verdict of its self-test, the state of the
compiled core of o_voxel, and what to install for more speed. Ends with exit code 1 if something is broken.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from typing import Any

import torch

from .report import as_text, collect


def _finite(value: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, (list, tuple)) else value


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m trellis2.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--quick", action="store_true", help="believe kept verdicts; test the rest on small inputs only"
    )
    parser.add_argument("--device", action="append", help="cpu, cuda, cuda:1, …; default: cpu and all CUDA devices")
    options = parser.parse_args(arguments)
    chosen = [torch.device(d) for d in options.device or ["cpu"]]
    if not options.device and torch.cuda.is_available():
        chosen += [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    if any(d.type == "cuda" for d in chosen) and not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA device")
    logs = [logging.getLogger(name) for name in ("trellis2", "o_voxel")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)  # the report says what the log would
    try:
        found = collect(chosen, quick=options.quick)
    finally:
        for log, level in zip(logs, levels):
            log.setLevel(level)
    print(json.dumps(_finite(found), indent=1) if options.json else as_text(found))
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
