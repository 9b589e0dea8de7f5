"""The head of a `.vxz` file: magic, offset of the binary section, JSON header; every field is checked on reading.

0  "VXZ"   3  version 0   4  uint32 big-endian: offset of the binary section   8  JSON   ...  binary section
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Literal, get_args

from o_voxel.io.arrays import read_exactly
from o_voxel.io.codecs import CODECS, check_level
from o_voxel.io.filters import FILTERS, MIXED

__all__ = ["INTERLEAVES", "Chunk", "Header", "Interleave", "check_chunk_size", "pack_header", "read_header"]

Interleave = Literal["none", "as_is", "all"]
INTERLEAVES: tuple[str, ...] = get_args(Interleave)

_MAGIC = b"VXZ\x00"
_RESERVED = ("svo", "ptr", "idx")
_MAX_HEADER = 1 << 28
_MAX_CHANNELS = 1 << 16


@dataclass(frozen=True)
class Chunk:
    """One chunk: its cell, its place in the binary section, and its streams relative to that place."""

    idx: tuple[int, int, int]
    ptr: tuple[int, int]  # (offset, length) in the binary section
    streams: dict[str, tuple[int, int]]  # "svo" and attribute streams: (offset, length) in the chunk


@dataclass(frozen=True)
class Header:
    """A checked header."""

    num_voxels: int
    chunk_size: int
    filters: list[str]  # of each attribute
    compression: str
    compression_level: int
    interleave: str
    attr: list[tuple[str, int]]  # (name, channels)
    chunks: list[Chunk]
    data_offset: int = 0
    raw: dict[str, Any] = field(default_factory=dict)  # the JSON object as stored

    def streams(self) -> list[tuple[str, int]]:
        """(key, channels) of the attribute streams of every chunk, in file order."""
        return attr_streams(self.attr, self.interleave)


def attr_streams(attr: list[tuple[str, int]], interleave: str) -> list[tuple[str, int]]:
    """(key, channels) of attribute streams; raises ValueError on a reserved key."""
    if interleave == "all":
        streams = [("attr", sum(channels for _, channels in attr))] if attr else []
    elif interleave == "as_is":
        streams = list(attr)
    else:
        streams = [(f"{name}_{i}", 1) for name, channels in attr for i in range(channels)]
    for key, _ in streams:
        if key in _RESERVED:
            raise ValueError(f"attribute name {key!r} is reserved; rename the attribute")
    return streams


def check_chunk_size(chunk_size: int) -> int:
    """log2 of a chunk size; raises ValueError unless it is a power of two in 4 .. 1024."""
    if isinstance(chunk_size, bool) or chunk_size not in (4, 8, 16, 32, 64, 128, 256, 512, 1024):
        raise ValueError(f"chunk_size must be a power of two in 4..1024, got {chunk_size!r}")
    return int(chunk_size).bit_length() - 1


def pack_header(header: Header, raw_size: int, compressed_size: int, extra: Mapping[str, Any]) -> bytes:
    """Magic, offset and JSON; `extra` keys follow the standard ones.

    Attributes with different filters give the filter `mixed`, which other readers refuse, and the key `attr_filter`.
    """
    common = list(dict.fromkeys(header.filters))
    fields: dict[str, Any] = {
        "num_voxel": header.num_voxels,
        "chunk_size": header.chunk_size,
        "filter": common[0] if len(common) == 1 else MIXED if common else "none",
        "compression": header.compression,
        "compression_level": header.compression_level,
        "raw_size": raw_size,
        "compressed_size": compressed_size,
        "compress_ratio": raw_size / compressed_size if compressed_size else 0.0,
        "attr_interleave": header.interleave,
        "attr": [list(item) for item in header.attr],
        "chunks": [
            {"idx": list(c.idx), **{key: list(at) for key, at in c.streams.items()}, "ptr": list(c.ptr)}
            for c in header.chunks
        ],
    }
    if len(common) > 1:
        fields["attr_filter"] = list(header.filters)
    for key, value in extra.items():
        if key in fields:
            raise ValueError(f"metadata must not use the header key {key!r}")
        fields[key] = value
    text = json.dumps(fields, allow_nan=False).encode()
    if len(text) > _MAX_HEADER:
        raise ValueError(f"header would take {len(text)} bytes, at most {_MAX_HEADER} are allowed; use larger chunks")
    return _MAGIC + struct.pack(">I", 8 + len(text)) + text


def _integer(value: object, what: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"header: {what} must be an integer in {low}..{high}, got {str(value)[:80]}")
    return value


def _span(value: object, what: str, size: int) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"header: {what} must be [offset, length], got {str(value)[:80]}")
    offset = _integer(value[0], f"{what} offset", 0, size)
    return offset, _integer(value[1], f"{what} length", 0, size - offset)


def _choice(fields: dict[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"header: {key} must be one of {choices}, got {str(value)[:80]}")
    return value


def _attr(value: object) -> list[tuple[str, int]]:
    if not isinstance(value, list):
        raise ValueError(f"header: attr must be a list, got {str(value)[:80]}")
    result = []
    for item in value:
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str):
            raise ValueError(f"header: attr items must be [name, channels], got {str(item)[:80]}")
        result.append((item[0], _integer(item[1], f"channels of {item[0]!r}", 0, _MAX_CHANNELS)))
    if len({name for name, _ in result}) != len(result):
        raise ValueError("header: attr names must be unique")
    if sum(channels for _, channels in result) > _MAX_CHANNELS:
        raise ValueError(f"header: more than {_MAX_CHANNELS} channels")
    return result


def _chunk(value: object, number: int, keys: list[str], size: int, chunk_size: int) -> Chunk:
    what = f"chunk {number}"
    if not isinstance(value, dict):
        raise ValueError(f"header: {what} must be an object")
    idx = value.get("idx")
    if not isinstance(idx, list) or len(idx) != 3:
        raise ValueError(f"header: {what} idx must be [x, y, z], got {str(idx)[:80]}")
    bound = 2**31 // chunk_size
    cell = tuple(_integer(i, f"{what} idx", -bound, bound - 1) for i in idx)
    ptr = _span(value.get("ptr"), f"{what} ptr", size)
    streams = {key: _span(value.get(key), f"{what} stream {key!r}", ptr[1]) for key in ["svo", *keys]}
    return Chunk((cell[0], cell[1], cell[2]), ptr, streams)


def _filters(fields: dict[str, Any], count: int) -> list[str]:
    name = _choice(fields, "filter", (*FILTERS, MIXED))
    if name != MIXED:
        return [name] * count
    names = fields.get("attr_filter")
    if (
        not isinstance(names, list)
        or len(names) != count
        or not all(isinstance(n, str) and n in FILTERS for n in names)
    ):
        raise ValueError(f"header: attr_filter must hold one of {FILTERS} for each attribute, got {str(names)[:80]}")
    return names


def _parse_json(text: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"header is no valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError("header must be a JSON object")
    return fields


def read_header(stream: IO[bytes], max_voxels: int) -> Header:
    """Read and check the header of an open file; leaves the position at the binary section.

    Raises ValueError if the file is no `.vxz` file, or its header is malformed, inconsistent or over the limits.
    """
    head = stream.read(8)
    if len(head) < 8 or head[:3] != _MAGIC[:3]:
        raise ValueError("not a .vxz file: it does not start with 'VXZ'")
    if head[3] != 0:
        raise ValueError(f"unsupported .vxz version {head[3]}, only 0 is known")
    (offset,) = struct.unpack(">I", head[4:])
    if not 8 < offset <= _MAX_HEADER + 8:
        raise ValueError(f"offset of the binary section must lie in 9..{_MAX_HEADER + 8}, got {offset}")
    fields = _parse_json(bytes(read_exactly(stream, offset - 8, "file ends inside its header")))
    num_voxels = _integer(fields.get("num_voxel"), "num_voxel", 0, max_voxels)
    chunk_size = _integer(fields.get("chunk_size"), "chunk_size", 4, 1024)
    check_chunk_size(chunk_size)
    compression = _choice(fields, "compression", CODECS)
    level = check_level(compression, fields.get("compression_level"))
    interleave = _choice(fields, "attr_interleave", INTERLEAVES)
    attr = _attr(fields.get("attr"))
    size = _integer(fields.get("compressed_size"), "compressed_size", 0, 2**63)
    items = fields.get("chunks")
    if not isinstance(items, list) or len(items) > num_voxels or (num_voxels > 0 and not items):
        raise ValueError(f"header: chunks must be a list of at most num_voxel = {num_voxels} items, and not empty")
    keys = [key for key, _ in attr_streams(attr, interleave)]
    chunks = [_chunk(item, i, keys, size, chunk_size) for i, item in enumerate(items)]
    if len({chunk.idx for chunk in chunks}) != len(chunks):
        raise ValueError("header: two chunks have the same idx")
    return Header(
        num_voxels,
        chunk_size,
        _filters(fields, len(attr)),
        compression,
        level,
        interleave,
        attr,
        chunks,
        offset,
        fields,
    )
