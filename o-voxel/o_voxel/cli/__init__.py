"""The command `python -m o_voxel` (or `o_voxel`): convert, mesh, glb, info, view.

Exit status: 0 all done, 1 some file failed, 2 wrong arguments, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from o_voxel import __version__
from o_voxel.cli import convert, glb, info, mesh, view
from o_voxel.cli.batch import UsageError

__all__ = ["build_parser", "main"]

_COMMANDS = (convert, mesh, glb, info, view)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each command module adds its own."""
    parser = argparse.ArgumentParser(
        prog="o_voxel", description="Textured meshes <-> sparse voxels with surface points and material (O-Voxel)."
    )
    parser.add_argument("--version", action="version", version=f"o_voxel {__version__}")
    parser.add_argument("--verbose", action="store_true", help="log what the library does")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS:
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    args = build_parser().parse_args(argv)
    level = logging.INFO if args.verbose else logging.ERROR
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        return int(args.run(args))
    except UsageError as error:
        sys.stderr.write(f"o_voxel {args.command}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"o_voxel {args.command}: interrupted\n")
        return 130
