"""Writing a set of files so that none is ever seen half done."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

__all__ = ["beside", "write_files"]


def beside(path: Path, ending: str) -> Path:
    """A file beside `path` that it can refer to: its stem in letters that no reader misreads, and `ending`."""
    return path.with_name(re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem) + ending)


def write_files(files: Mapping[Path, bytes | bytearray | memoryview]) -> None:
    """Write all under temporary names beside their places, then rename them in order: the last refers to the others.

    If anything fails while writing, nothing has changed.
    """
    temporary: dict[Path, Path] = {}
    try:
        for path, payload in files.items():
            temporary[path] = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
            with open(temporary[path], "xb") as stream:
                stream.write(payload)
        for path, written in temporary.items():
            os.replace(written, path)
    except BaseException:
        for written in temporary.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(written)
        raise
