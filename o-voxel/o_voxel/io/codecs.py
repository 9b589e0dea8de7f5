"""Stream codecs of `.vxz`: none, deflate, lzma, zstd; decoding is bounded by the size that is expected."""

from __future__ import annotations

import lzma
import zlib
from typing import Literal, get_args

import zstandard

__all__ = ["CODECS", "Codec", "check_level", "compress", "decompress"]

Codec = Literal["none", "deflate", "lzma", "zstd"]
CODECS: tuple[str, ...] = get_args(Codec)

_DEFAULT_LEVEL = {"none": 0, "deflate": 9, "lzma": 9, "zstd": 22}
_SMALLEST_WINDOW = 1 << 17
_LEVELS = {"none": (0, 0), "deflate": (1, 9), "lzma": (1, 9), "zstd": (-131072, 22)}


def check_level(codec: str, level: int | None) -> int:
    """The level to use: the codec's default for None and 0. Raises ValueError on an unknown codec or level."""
    if codec not in CODECS:
        raise ValueError(f"compression must be one of {CODECS}, got {codec!r}")
    if level is not None and (not isinstance(level, int) or isinstance(level, bool)):
        raise ValueError(f"compression_level must be an integer or None, got {level!r}")
    if not level or codec == "none":
        return _DEFAULT_LEVEL[codec]
    low, high = _LEVELS[codec]
    if not low <= level <= high:
        raise ValueError(f"compression_level of {codec} must lie in {low}..{high}, got {level}")
    return level


def _lzma_filters(level: int, size: int) -> list[dict[str, int]]:
    """The preset with a dictionary no larger than the data needs: any decoder of the preset reads it, neither side has
    to hold tens of megabytes for a few kilobytes, and a dictionary as long as the output reaches everything."""
    preset = {1: 20, 2: 21, 3: 22, 4: 22, 5: 23, 6: 23, 7: 24, 8: 25, 9: 26}[level]
    return [{"id": lzma.FILTER_LZMA2, "preset": level, "dict_size": min(1 << preset, max(1 << 16, size))}]


def compress(data: bytes, codec: str, level: int) -> bytes:
    """Compress one stream; `level` as returned by `check_level`."""
    if codec == "none":
        return data
    if codec == "deflate":
        encoder = zlib.compressobj(level, zlib.DEFLATED, -15)
        return encoder.compress(data) + encoder.flush()
    if codec == "lzma":
        return lzma.compress(data, format=lzma.FORMAT_RAW, filters=_lzma_filters(level, len(data)))
    if codec == "zstd":
        return zstandard.ZstdCompressor(level=level).compress(data)
    raise ValueError(f"compression must be one of {CODECS}, got {codec!r}")


def _inflate_zstd(data: bytes, limit: int) -> bytes:
    frame = zstandard.get_frame_parameters(data)
    if frame.content_size not in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
        if frame.content_size > limit:
            raise ValueError(f"zstd stream holds more than the expected {limit - 1} bytes")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=limit)
    window = 1 << max(limit - 1, _SMALLEST_WINDOW - 1).bit_length()  # what is further back than this cannot be meant
    with zstandard.ZstdDecompressor(max_window_size=min(window, 1 << 31)).stream_reader(data) as reader:
        return reader.read(limit)


def _inflate(data: bytes, codec: str, level: int, limit: int) -> bytes:
    if codec == "zstd":
        return _inflate_zstd(data, limit)
    if codec == "deflate":
        inflater = zlib.decompressobj(-15)
        out = inflater.decompress(data, limit)
        complete = inflater.eof
    else:
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_lzma_filters(level, limit))
        out = decoder.decompress(data, limit)
        complete = decoder.eof
    if not complete and len(out) < limit:
        raise ValueError(f"{codec} stream ends early")
    return out


def decompress(data: bytes, codec: str, level: int, max_size: int) -> bytes:
    """Decompress one stream to at most `max_size` bytes. Raises ValueError on malformed or longer data."""
    if codec == "none":
        out = bytes(data)
    else:
        try:
            out = _inflate(data, codec, level, max_size + 1)
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, MemoryError) as error:
            raise ValueError(f"{codec} stream of {len(data)} bytes is malformed: {error}") from error
    if len(out) > max_size:
        raise ValueError(f"{codec} stream holds more than the expected {max_size} bytes")
    return out
