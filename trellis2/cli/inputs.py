"""Files and folders on the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from trellis2.utils.files import file_sha256

__all__ = ["IMAGES", "MESHES", "find_inputs", "output_stems", "weights_digest"]

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")
MESHES = (".glb", ".gltf", ".obj", ".ply", ".stl")


def find_inputs(paths: Sequence[Path], suffixes: Iterable[str], what: str) -> list[Path]:
    """The files of a list of files and folders (their own files, sorted by name), each once.

    Raises FileNotFoundError for a path that is not there, ValueError for a folder without such files.
    """
    known, found = tuple(suffixes), []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in known and p.is_file())
            if not inside:
                raise ValueError(f"{path} holds no {what} ({', '.join(known)})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise FileNotFoundError(f"{what} not found: {path}")
    unique = {path.resolve(): path for path in reversed(found)}
    return [path for path in dict.fromkeys(found) if unique[path.resolve()] == path]


def output_stems(paths: Sequence[Path]) -> list[str]:
    """A name for the outputs of each input: its stem, with its suffix where two inputs share one."""
    stems = [path.stem for path in paths]
    names = [path.name.replace(".", "_") if stems.count(path.stem) > 1 else path.stem for path in paths]
    out: list[str] = []
    for name in names:
        taken = out.count(name) or sum(other.startswith(f"{name}-") for other in out)
        out.append(f"{name}-{taken + 1}" if name in out else name)
    return out


def weights_digest(pipeline: str) -> str:
    """What tells one set of weights from another without reading gigabytes.

    For a folder: its pipeline files, and name, size and header of every weight file (the header holds the layout, the
    first megabyte of tensors is hashed with it). For a hub repository: its name.
    """
    folder = Path(pipeline)
    if not folder.is_dir():
        return pipeline
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".json" and path.is_file():
            digest.update(json.dumps([str(path.relative_to(folder)), file_sha256(path)]).encode())
        elif path.suffix == ".safetensors":
            with path.open("rb") as file:
                head = file.read(1 << 20)
            digest.update(json.dumps([str(path.relative_to(folder)), path.stat().st_size]).encode() + head)
    return digest.hexdigest()
