"""Writing videos: H.264 MP4 that plays everywhere, streamed frame by frame and renamed when complete."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

__all__ = ["VideoWriter", "open_video", "write_video"]


class VideoWriter:
    """Feeds frames `[H, W, 3]` uint8, all of one size, to an encoder process. Made by `open_video`."""

    def __init__(self, path: str, fps: float, crf: int, log: IO[bytes]) -> None:
        self._path, self._fps, self._crf, self._log = path, fps, crf, log
        self._process: subprocess.Popen[bytes] | None = None
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
        if self._process is None:
            self._process = self._start(height, width)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(frame[:height, :width]).data)
        except BrokenPipeError:
            raise OSError(f"the video encoder stopped: {self._message()}") from None
        self.num_frames += 1

    def finish(self) -> None:
        """Wait for the encoder. Raises OSError with its message if it failed, ValueError if it got no frame."""
        if self._process is None:
            raise ValueError("a video needs at least one frame")
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait() != 0:
            raise OSError(f"the video encoder failed: {self._message()}")

    def abort(self) -> None:
        """Stop the encoder, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _start(self, height: int, width: int) -> subprocess.Popen[bytes]:
        from imageio_ffmpeg import get_ffmpeg_exe

        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(self._fps), "-i", "-"]
        target = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", str(self._crf), "-movflags", "+faststart"]
        command = [get_ffmpeg_exe(), "-y", "-loglevel", "error", *source, "-an", *target, self._path]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log)

    def _message(self) -> str:
        self._log.seek(0)
        return self._log.read()[-500:].decode(errors="replace").strip() or "no message"


@contextmanager
def open_video(path: str | Path, fps: float = 15, crf: int = 18) -> Iterator[VideoWriter]:
    """Open an MP4 for frames; it appears at `path` only if the block ends without an error and wrote a frame.

    `crf` is x264's quality, 0 (lossless) to 51 (worst). Raises ValueError if `path` is not an .mp4, a number is out of
    range, or no frame came, and OSError if encoding fails.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"path must end in .mp4, got {path.name!r}")
    if not fps > 0 or not 0 <= crf <= 51:
        raise ValueError(f"fps must be positive and crf in 0..51, got {fps} and {crf}")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".mp4", dir=path.parent)
    os.close(handle)
    with tempfile.TemporaryFile() as log:
        writer = VideoWriter(temporary, fps, crf, log)
        try:
            yield writer
            writer.finish()
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        finally:
            writer.abort()
            if os.path.exists(temporary):
                os.unlink(temporary)


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],  # each [H, W, 3] uint8
    fps: float = 15,
    crf: int = 18,
    verbose: bool = False,
) -> None:
    """Write frames to an MP4, see `open_video`; `verbose` shows a progress bar."""
    with open_video(path, fps, crf) as writer:
        for frame in tqdm(frames, desc="Encoding", disable=not verbose):
            writer.append(frame)
