"""Dump the geometry of every asset, without Blender.

python data_toolkit/dump_mesh.py SUBSET --root ROOT [--dump_format npz|pickle]
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_toolkit.dump_stage import run_dump

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return run_dump("mesh", __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
