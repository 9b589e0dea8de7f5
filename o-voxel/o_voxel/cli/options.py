"""Arguments that several commands share, and checks of their values."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from o_voxel.cli.batch import UsageError

__all__ = [
    "VOXEL_SUFFIXES",
    "add_grid_arguments",
    "box_of",
    "check_resolution",
    "integer_in",
    "is_voxel_file",
    "resolve_device",
]

VOXEL_SUFFIXES = (".vxz", ".npz", ".ply")
_PLY_HEADER = 1 << 16


def resolve_device(name: str) -> str:
    """The device for `--device`; UsageError on names that PyTorch does not know or this machine lacks."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"--device must be auto, cpu, cuda or cuda:N, got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: PyTorch sees {torch.cuda.device_count()} CUDA devices here")
    return name


def is_voxel_file(path: Path) -> bool:
    """Whether a file holds voxels rather than a mesh: by its suffix, and for .ply by the absence of faces."""
    suffix = path.suffix.lower()
    if suffix != ".ply":
        return suffix in VOXEL_SUFFIXES
    with path.open("rb") as stream:
        header = stream.read(_PLY_HEADER).partition(b"end_header")[0]
    return b"element face" not in header


def integer_in(low: int, high: int) -> Callable[[str], int]:
    """An argparse type: a whole number in low..high."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, got {text!r}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must lie in {low}..{high}, got {value}")
        return value

    return parse


check_resolution = integer_in(2, 1 << 16)


def add_grid_arguments(parser: argparse.ArgumentParser) -> None:
    """`--resolution` and `--aabb` for voxel files that do not say their grid."""
    group = parser.add_argument_group("grid (for files that do not say it)")
    group.add_argument("--resolution", type=check_resolution, help="cells along each axis")
    group.add_argument(
        "--aabb", type=float, nargs=6, metavar=("X0", "Y0", "Z0", "X1", "Y1", "Z1"),
        help="box of the grid (default: the unit cube around the origin)",
    )  # fmt: skip


def box_of(values: list[float] | None) -> list[list[float]] | None:
    """`--aabb` as [[x0, y0, z0], [x1, y1, z1]]."""
    return None if values is None else [values[:3], values[3:]]
