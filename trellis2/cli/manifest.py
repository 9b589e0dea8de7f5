"""What was made from what: one JSON line a finished input, and what is left to do after a stop.

A line holds `key`, a hash of everything that decides the outputs (command, settings, seeds, the input's bytes, the
weights), the outputs with their SHA-256, and timings. Lines are appended whole; a torn last line is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trellis2.utils.files import file_sha256

__all__ = ["Manifest", "job_key"]


def job_key(command: str, settings: Mapping[str, Any], inputs: Mapping[str, str], weights: str) -> str:
    """Hash of everything that decides the outputs of a job; `inputs` are SHA-256 by role."""
    content = {"command": command, "settings": settings, "inputs": inputs, "weights": weights}
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


class Manifest:
    """`manifest.jsonl` of an output folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "manifest.jsonl"
        self.folder = folder
        self._done: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self._done[entry["key"]] = entry
                except (json.JSONDecodeError, KeyError, TypeError):
                    continue  # cut off when a run was killed

    def finished(self, key: str) -> bool:
        """Whether a job was done and all its files are still what it wrote."""
        entry = self._done.get(key)
        if entry is None or entry.get("error"):
            return False
        for name, digest in entry["outputs"].items():
            path = self.folder / name
            if not path.is_file() or file_sha256(path) != digest:
                return False
        return True

    def add(self, key: str, outputs: list[Path], **more: Any) -> dict[str, Any]:
        """Append the line of a finished job."""
        hashes = {os.path.relpath(path, self.folder): file_sha256(path) for path in outputs}
        entry = {"key": key, "outputs": hashes, **more}
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.seek(0, os.SEEK_END)
            if file.tell() and not _ends_with_newline(self.path):
                file.write(b"\n")
            file.write((json.dumps(entry, sort_keys=True, default=str) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        self._done[key] = entry
        return entry


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
