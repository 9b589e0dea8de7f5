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


def _lzma_filters(level: int, size: int | None = None) -> list[dict[str, int]]:
    settings = {"id": lzma.FILTER_LZMA2, "preset": level}
    if size is not None:
        # A dictionary no larger than the data: any decoder of the preset reads it, and the encoder need not clear
        # hundreds of megabytes of tables for a few kilobytes.
        preset = {1: 20, 2: 21, 3: 22, 4: 22, 5: 23, 6: 23, 7: 24, 8: 25, 9: 26}[level]
        settings["dict_size"] = min(1 << preset, max(1 << 16, 1 << max(0, size - 1).bit_length()))
    return [settings]


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


def _inflate(data: bytes, codec: str, level: int, limit: int) -> bytes:
    if codec == "deflate":
        inflater = zlib.decompressobj(-15)
        out = inflater.decompress(data, limit)
        if not inflater.eof and len(out) < limit:
            raise ValueError("deflate stream ends early")
        return out
    if codec == "lzma":
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_lzma_filters(level))
        out = decoder.decompress(data, limit)
        if not decoder.eof and len(out) < limit:
            raise ValueError("lzma stream ends early")
        return out
    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data) as reader:
        return reader.read(limit)


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
