"""One way to write what was rendered: a video, an animation, a still, or a folder of numbered stills."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from .video import open_video

__all__ = ["PictureWriter", "open_pictures", "save_picture"]

_STILLS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


class PictureWriter(Protocol):
    """Takes frames one by one."""

    def append(self, frame: np.ndarray) -> None:
        """Add a frame uint8 [H, W, 3], or [H, W, 4] with straight alpha where the format has it."""


def save_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write one `[H, W, 3]` or `[H, W, 4]` uint8 picture as .png, .jpg or .webp; it appears when complete."""
    path = Path(path)
    kind = {**_STILLS, ".webp": "WEBP"}.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"path must end in .png, .jpg or .webp, got {path.name!r}")
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4):
        raise ValueError(f"picture must be uint8 [H, W, 3 or 4], got {picture.dtype} {list(picture.shape)}")
    if kind == "JPEG" and picture.shape[2] == 4:
        raise ValueError("a JPEG has no transparency; write .png or .webp, or give a background")
    options = {"PNG": {}, "JPEG": {"quality": 92}, "WEBP": {"quality": 90}}[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            Image.fromarray(picture).save(file, kind, **options)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


class _Still:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._frame: np.ndarray | None = None

    def append(self, frame: np.ndarray) -> None:
        if self._frame is not None:
            raise ValueError(f"{self._path.name} holds one picture; write several to a folder, an .mp4 or a .webp")
        self._frame = frame

    def finish(self) -> None:
        if self._frame is None:
            raise ValueError("a picture needs a frame")
        save_picture(self._path, self._frame)


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def append(self, frame: np.ndarray) -> None:
        save_picture(self._path / f"{self._count:04d}.png", frame)
        self._count += 1


@contextmanager
def open_pictures(path: str | Path, fps: float = 15) -> Iterator[PictureWriter]:
    """Open `path` for frames. Its suffix decides: `.mp4` video, `.webp` animation, `.png` or `.jpg` one still, none a
    folder that gets `0000.png`, `0001.png`, ...

    Files appear when complete, those of a folder one by one. Raises ValueError on another suffix or a wrong number of
    frames.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind in (".mp4", ".webp"):
        with open_video(path, fps) as video:
            yield video
    elif kind in _STILLS:
        still = _Still(path)
        yield still
        still.finish()
    elif kind and not path.is_dir():
        raise ValueError(f"output must be .mp4, .webp, .png, .jpg or a folder, got {path.name!r}")
    else:
        path.mkdir(parents=True, exist_ok=True)
        yield _Folder(path)
