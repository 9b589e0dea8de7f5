"""Train a model: python train.py --config configs/... --output_dir runs/... --data_dir ..."""

from __future__ import annotations

import sys

from trellis2.trainers.launch import main

if __name__ == "__main__":
    sys.exit(main())
