"""Writing videos: H.264 MP4 that plays everywhere, streamed frame by frame and renamed when complete."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

__all__ = ["VideoWriter", "open_video", "write_video"]


class VideoWriter:
    """Takes frames `[H, W, 3]` uint8, all of one size. Made by `open_video`."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._shape: tuple[int, ...] | None = None
        self.num_frames = 0

    def append(self, frame: np.ndarray) -> None:
        """Add a frame; odd sizes lose their last row or column (4:2:0 colour needs even ones)."""
        frame = np.asarray(frame)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape[:2]) < 2:
            raise ValueError(f"frame must be uint8 [H, W, 3] of at least 2 x 2, got {frame.dtype} {list(frame.shape)}")
        if self._shape is None:
            self._shape = frame.shape
        if frame.shape != self._shape:
            raise ValueError(f"frames must all be {list(self._shape)}, got {list(frame.shape)}")
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
        self._writer.append_data(np.ascontiguousarray(frame[:height, :width]))
        self.num_frames += 1


@contextmanager
def open_video(path: str | Path, fps: float = 15, quality: float = 8) -> Iterator[VideoWriter]:
    """Open an MP4 for frames; it appears at `path` only if the block ends without an error and wrote a frame.

    `quality` runs from 0 to 10. Raises ValueError if `path` is not an .mp4, a number is out of range, or nothing came.
    """
    import imageio.v2 as imageio

    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"path must end in .mp4, got {path.name!r}")
    if not fps > 0 or not 0 <= quality <= 10:
        raise ValueError(f"fps must be positive and quality in 0..10, got {fps} and {quality}")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".mp4", dir=path.parent)
    os.close(handle)
    try:
        with imageio.get_writer(
            temporary,
            format="FFMPEG",
            mode="I",
            fps=fps,
            codec="libx264",
            quality=quality,
            pixelformat="yuv420p",
            macro_block_size=2,
            ffmpeg_params=["-movflags", "+faststart"],
        ) as encoder:
            writer = VideoWriter(encoder)
            yield writer
        if writer.num_frames == 0:
            raise ValueError("a video needs at least one frame")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],  # each [H, W, 3] uint8
    fps: float = 15,
    quality: float = 8,
    verbose: bool = False,
) -> None:
    """Write frames to an MP4, see `open_video`; `verbose` shows a progress bar."""
    with open_video(path, fps, quality) as writer:
        for frame in tqdm(frames, desc="Encoding", disable=not verbose):
            writer.append(frame)
