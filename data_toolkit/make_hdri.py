"""Write the bundled surroundings `assets/hdri/<name>.exr`: procedural, 512 x 256, half floats with 7 bits of mantissa.

python -m data_toolkit.make_hdri [FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from trellis2.renderers.environments import ENVIRONMENT_NAMES, make_environment
from trellis2.renderers.panorama import save_environment

__all__ = ["MANTISSA_BITS", "main"]

MANTISSA_BITS = 7  # steps of 0.4 %, below what a picture shows; keeps each file under 300 kB


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("assets/hdri"))
    folder = parser.parse_args(argv).folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ENVIRONMENT_NAMES:
        path = folder / f"{name}.exr"
        save_environment(path, make_environment(name), bits=MANTISSA_BITS)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
