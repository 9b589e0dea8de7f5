"""Dataset adaptors: the modules `data_toolkit.datasets.<SUBSET>` and the contract they fulfil.

An adaptor module has
  add_args(parser)                        its own flags; may do nothing
  get_metadata(**options) -> rows         at least `sha256` and `aesthetic_score`, and what `download` needs
  download(metadata, **options) -> rows   `sha256`, `local_path` (relative to download_root, starts with raw/)
and may have
  foreach_instance(metadata, base_dir, func, max_workers, no_file, desc) -> rows
whose default (`data_toolkit.runner.foreach_instance`) calls func(base_dir / local_path, row) in worker processes.
Rows are lists of dictionaries or pandas data frames.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from types import ModuleType

__all__ = ["load_adaptor", "parse_with_adaptor"]

_FOLDER = Path(__file__).resolve().parent / "datasets"


def load_adaptor(subset: str) -> ModuleType:
    """Import the adaptor of a subset. Raises ValueError for an unknown name or an incomplete adaptor."""
    known = sorted(p.stem for p in _FOLDER.glob("*.py") if p.stem != "__init__")
    if subset not in known:
        raise ValueError(f"unknown subset {subset!r}, choose from: {', '.join(known)}; it is the first argument")
    module = importlib.import_module(f"data_toolkit.datasets.{subset}")
    for name in ("add_args", "get_metadata", "download"):
        if not callable(getattr(module, name, None)):
            raise ValueError(f"adaptor {subset!r} must define {name}()")
    return module


def parse_with_adaptor(
    parser: argparse.ArgumentParser, argv: list[str] | None = None
) -> tuple[ModuleType, argparse.Namespace]:
    """Take the subset from the first argument, let its adaptor add flags, parse the rest."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser.usage = f"{parser.prog} SUBSET [flags]"
    if not argv or argv[0].startswith("-"):
        if argv and argv[0] in ("-h", "--help"):
            parser.print_help()
            raise SystemExit(0)
        parser.error("the first argument must be the name of the subset, e.g. Procedural or Folder")
    try:
        adaptor = load_adaptor(argv[0])
    except ValueError as error:
        parser.error(str(error))
    adaptor.add_args(parser)
    return adaptor, parser.parse_args(argv[1:])
