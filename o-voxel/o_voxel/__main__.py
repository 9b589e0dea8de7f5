"""`python -m o_voxel`: see `o_voxel.cli`."""

from __future__ import annotations

import sys

from o_voxel.cli import main

if __name__ == "__main__":
    sys.exit(main())
