"""Writing videos: H.264 MP4 that plays everywhere and animated WebP, streamed frame by frame, renamed when complete."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

__all__ = ["VideoWriter", "open_video", "write_video"]


_PIXEL_FORMATS = {3: "rgb24", 4: "rgba"}
_ENCODERS = {
    ".mp4": ["-an", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-crf"],
    ".webp": ["-an", "-c:v", "libwebp_anim", "-loop", "0", "-quality"],
}


class VideoWriter:
    """Feeds frames uint8, all of one size, to an encoder process. Made by `open_video`.

    MP4 takes `[H, W, 3]`, WebP also `[H, W, 4]` with straight alpha. A frame is handed over by a thread of its own, so
    that the next one can be made meanwhile.
    """

    def __init__(self, path: str, fps: float, quality: int, log: IO[bytes]) -> None:
        self._path, self._fps, self._quality, self._log = path, fps, quality, log
        self._kind = Path(path).suffix
        self._process: subprocess.Popen[bytes] | None = None
        self._shape: tuple[int, ...] | None = None
        self._feeder = ThreadPoolExecutor(max_workers=1)
        self._pending: Future[None] | None = None
        self.num_frames = 0

    def append(self, frame: np.ndarray) -> None:
        """Add a frame; odd sizes lose their last row or column (4:2:0 colour needs even ones)."""
        frame = np.asarray(frame)
        channels = (3, 4) if self._kind == ".webp" else (3,)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in channels or min(frame.shape[:2]) < 2:
            kinds = " or ".join(str(c) for c in channels)
            have = f"{frame.dtype} {list(frame.shape)}"
            raise ValueError(f"frame must be uint8 [H, W, {kinds}] of at least 2 x 2, got {have}")
        if self._shape is None:
            self._shape = frame.shape
        if frame.shape != self._shape:
            raise ValueError(f"frames must all be {list(self._shape)}, got {list(frame.shape)}")
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
        if self._process is None:
            self._process = self._start(height, width, _PIXEL_FORMATS[frame.shape[2]])
        self._settle()
        self._pending = self._feeder.submit(self._feed, np.ascontiguousarray(frame[:height, :width]))
        self.num_frames += 1

    def _feed(self, frame: np.ndarray) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(frame.data)
        except BrokenPipeError:
            raise OSError(f"the video encoder stopped: {self._message()}") from None

    def _settle(self) -> None:
        """Wait until the last frame has been handed over; raises what went wrong there."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def finish(self) -> None:
        """Wait for the encoder. Raises OSError with its message if it failed, ValueError if it got no frame."""
        if self._process is None:
            raise ValueError("a video needs at least one frame")
        self._settle()
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait() != 0:
            raise OSError(f"the video encoder failed: {self._message()}")

    def abort(self) -> None:
        """Stop the encoder, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._feeder.shutdown()

    def _start(self, height: int, width: int, pixel_format: str) -> subprocess.Popen[bytes]:
        from imageio_ffmpeg import get_ffmpeg_exe

        size = f"{width}x{height}"
        source = ["-f", "rawvideo", "-pix_fmt", pixel_format, "-s", size, "-r", str(self._fps), "-i", "-"]
        target = [*_ENCODERS[self._kind], str(self._quality)]
        command = [get_ffmpeg_exe(), "-y", "-loglevel", "error", *source, *target, self._path]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log)

    def _message(self) -> str:
        self._log.seek(0)
        return self._log.read()[-500:].decode(errors="replace").strip() or "no message"


@contextmanager
def open_video(
    path: str | Path, fps: float = 15, crf: int | None = None, *, quality: int | None = None
) -> Iterator[VideoWriter]:
    """Open an `.mp4` or an animated `.webp` for frames; it appears only if the block ends well and wrote a frame.

    `crf` is x264's quality for MP4, 0 (lossless) to 51 (worst), default 18; `quality` that of WebP, 0 to 100 (best),
    default 85. Raises ValueError on another suffix, a number out of range or if no frame came, OSError if encoding
    fails.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in _ENCODERS:
        raise ValueError(f"path must end in .mp4 or .webp, got {path.name!r}")
    if (crf is not None and kind != ".mp4") or (quality is not None and kind != ".webp"):
        raise ValueError(
            f"crf is for .mp4 and quality for .webp, got crf={crf} and quality={quality} for {path.name!r}"
        )
    level = (18 if crf is None else crf) if kind == ".mp4" else (85 if quality is None else quality)
    highest = 51 if kind == ".mp4" else 100
    if not fps > 0 or not 0 <= level <= highest:
        raise ValueError(f"fps must be positive and the quality in 0..{highest}, got {fps} and {level}")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=kind, dir=path.parent)
    os.close(handle)
    with tempfile.TemporaryFile() as log:
        writer = VideoWriter(temporary, fps, level, log)
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
    crf: int | None = None,
    verbose: bool = False,
) -> None:
    """Write frames to a video, see `open_video`; `verbose` shows a progress bar."""
    with open_video(path, fps, crf) as writer:
        for frame in tqdm(frames, desc="Encoding", disable=not verbose):
            writer.append(frame)
