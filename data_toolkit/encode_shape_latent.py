"""Encode dual grids to shape latents (posterior means, not normalised).

python data_toolkit/encode_shape_latent.py --root ROOT --resolution 1024 [--enc_pretrained PATH] [--device cuda]
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_toolkit.sparse_latents import run_encode

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return run_encode("shape", __doc__, argv)


if __name__ == "__main__":
    raise SystemExit(main())
