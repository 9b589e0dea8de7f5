"""OpenEXR pictures without a library: single-part scan-line files, half and float channels.

Reads NONE, RLE, ZIPS, ZIP, PIZ and PXR24 compression; writes NONE and ZIP. Every size and offset of a file is checked
before it is used. Source: "OpenEXR File Layout" and "Technical Introduction to OpenEXR" (Academy Software Foundation).
H rows, W columns, C channels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .exr_piz import unpack_piz

__all__ = ["read_exr", "write_exr"]

_MAGIC = 20000630
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_COMPRESSIONS = ("NONE", "RLE", "ZIPS", "ZIP", "PIZ", "PXR24", "B44", "B44A", "DWAA", "DWAB")
_ROWS_OF_BLOCK = {"NONE": 1, "RLE": 1, "ZIPS": 1, "ZIP": 16, "PIZ": 32, "PXR24": 16}
_MAX_SIZE = 32768
_MAX_VALUES = 1 << 29
_MAX_ATTRIBUTES = 1024
_MAX_RATIO = 1100  # what zlib can reach


@dataclass(frozen=True)
class _Header:
    channels: tuple[tuple[str, np.dtype], ...]  # in the order of the file: by name
    compression: str
    width: int
    height: int
    top: int  # y of the first row
    end: int  # offset of the block table

    @property
    def row_bytes(self) -> int:
        return self.width * sum(dtype.itemsize for _, dtype in self.channels)


def read_exr(path: str | Path) -> dict[str, np.ndarray]:
    """Channels by name (`R`, `G`, `B`, `A`, `layer.X`, ...), each float32 [H, W] (uint32 for integer channels).

    Raises FileNotFoundError if there is no file and ValueError if it is damaged or of a kind that is not read here
    (tiled, deep, several parts, B44, DWA); the message says which.
    """
    data = Path(path).read_bytes()
    try:
        return _decode(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_exr(
    path: str | Path,
    channels: Mapping[str, np.ndarray],  # name -> [H, W] float16 or float32, all of one shape
    compression: Literal["ZIP", "NONE"] = "ZIP",
) -> None:
    """Write channels of one picture; the file appears when complete. Raises ValueError on unequal shapes or dtypes."""
    if compression not in ("ZIP", "NONE"):
        raise ValueError(f"compression must be 'ZIP' or 'NONE', got {compression!r}")
    if not channels:
        raise ValueError("channels must not be empty")
    names = sorted(channels)
    planes = [np.asarray(channels[name]) for name in names]
    shape = planes[0].shape
    if len(shape) != 2 or not 0 < min(shape) <= max(shape) <= _MAX_SIZE or any(p.shape != shape for p in planes):
        raise ValueError(f"channels must all be [H, W] with sizes in 1..{_MAX_SIZE}, got {[p.shape for p in planes]}")
    for name, plane in zip(names, planes):
        if plane.dtype not in (np.float16, np.float32):
            raise ValueError(f"channel {name!r} must be float16 or float32, got {plane.dtype}")
        if not 0 < len(name.encode()) < 32 or "\0" in name:
            raise ValueError(f"channel names must have 1 to 31 bytes, got {name!r}")
    blob = _encode(names, planes, compression)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(blob)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _decode(data: bytes) -> dict[str, np.ndarray]:
    header = _read_header(data)
    rows = _ROWS_OF_BLOCK[header.compression]
    num_blocks = -(-header.height // rows)
    table_end = header.end + 8 * num_blocks
    if table_end > len(data):
        raise ValueError("the file ends inside its table of blocks")
    offsets = struct.unpack_from(f"<{num_blocks}Q", data, header.end)
    pixels = np.zeros((header.height, header.row_bytes), np.uint8)
    seen = np.zeros(num_blocks, bool)
    for offset in offsets:
        if not table_end <= offset <= len(data) - 8:
            raise ValueError(f"a block is said to start at byte {offset} of {len(data)}")
        y, size = struct.unpack_from("<iI", data, offset)
        first = y - header.top
        if first % rows or not 0 <= first < header.height or offset + 8 + size > len(data):
            raise ValueError(f"a block of row {y} and {size} bytes does not fit")
        count = min(rows, header.height - first)
        block = data[offset + 8 : offset + 8 + size]
        pixels[first : first + count] = _unpack(block, header, count)
        seen[first // rows] = True
    if not seen.all():
        raise ValueError(f"{int((~seen).sum())} of {num_blocks} blocks are missing")
    out: dict[str, np.ndarray] = {}
    start = 0
    for name, dtype in header.channels:
        stop = start + header.width * dtype.itemsize
        values = np.ascontiguousarray(pixels[:, start:stop]).view(dtype)
        out[name] = values.astype(np.uint32 if dtype.kind == "u" else np.float32)
        start = stop
    return out


def _read_header(data: bytes) -> _Header:
    if len(data) < 8 or struct.unpack_from("<I", data)[0] != _MAGIC:
        raise ValueError("not an OpenEXR file")
    version = struct.unpack_from("<I", data, 4)[0]
    if version & 0xFF != 2:
        raise ValueError(f"OpenEXR version {version & 0xFF} is not read here, only 2")
    for bit, kind in ((0x200, "tiled"), (0x800, "deep"), (0x1000, "multi-part")):
        if version & bit:
            raise ValueError(f"{kind} OpenEXR files are not read here; save as a single-part scan-line file")
    found: dict[str, bytes] = {}
    at = 8
    for _ in range(_MAX_ATTRIBUTES):
        name, at = _text(data, at)
        if not name:
            break
        _, at = _text(data, at)
        if at + 4 > len(data):
            raise ValueError("the header is cut off")
        size = struct.unpack_from("<I", data, at)[0]
        if at + 4 + size > len(data):
            raise ValueError(f"attribute {name!r} runs past the end of the file")
        found[name] = data[at + 4 : at + 4 + size]
        at += 4 + size
    else:
        raise ValueError(f"the header has more than {_MAX_ATTRIBUTES} attributes")
    for name, size in (("channels", 1), ("compression", 1), ("dataWindow", 16)):
        if len(found.get(name, b"")) < size:
            raise ValueError(f"the header has no valid attribute {name!r}")
    code = found["compression"][0]
    name = _COMPRESSIONS[code] if code < len(_COMPRESSIONS) else str(code)
    if name not in _ROWS_OF_BLOCK:
        raise ValueError(f"compression {name} is not read here; save with one of {', '.join(_ROWS_OF_BLOCK)}")
    x0, y0, x1, y1 = struct.unpack_from("<4i", found["dataWindow"])
    width, height = x1 - x0 + 1, y1 - y0 + 1
    if not (0 < width <= _MAX_SIZE and 0 < height <= _MAX_SIZE):
        raise ValueError(f"a picture of {width} x {height} is not read here, sizes must be 1..{_MAX_SIZE}")
    header = _Header(_read_channels(found["channels"]), name, width, height, y0, at)
    if width * height * len(header.channels) > _MAX_VALUES:
        raise ValueError(f"{width} x {height} x {len(header.channels)} values are more than {_MAX_VALUES}")
    if header.row_bytes * height > _MAX_RATIO * len(data):
        raise ValueError(f"{len(data)} bytes cannot hold {width} x {height} x {len(header.channels)} values")
    return header


def _read_channels(blob: bytes) -> tuple[tuple[str, np.dtype], ...]:
    channels: list[tuple[str, np.dtype]] = []
    at = 0
    while True:
        name, at = _text(blob, at)
        if not name:
            break
        if at + 16 > len(blob):
            raise ValueError("the list of channels is cut off")
        kind, _, x_step, y_step = struct.unpack_from("<iIii", blob, at)
        at += 16
        if kind not in _TYPES or (x_step, y_step) != (1, 1):
            raise ValueError(
                f"channel {name!r} has type {kind} and sampling {x_step} x {y_step}, which is not read here"
            )
        channels.append((name, _TYPES[kind]))
    if not channels:
        raise ValueError("the picture has no channels")
    return tuple(channels)


def _text(data: bytes, at: int) -> tuple[str, int]:
    """Zero-terminated text of at most 255 bytes, and the offset behind it."""
    end = data.find(b"\0", at, at + 256)
    if end < 0:
        raise ValueError("the header is cut off")
    return data[at:end].decode("latin-1"), end + 1


def _unpack(block: bytes, header: _Header, rows: int) -> np.ndarray:
    """Bytes of a block `[rows, row_bytes]`."""
    size = rows * header.row_bytes
    raw: bytes | np.ndarray = block
    if header.compression == "PIZ" and len(block) < size:
        raw = unpack_piz(block, header.width, rows, [dtype.itemsize // 2 for _, dtype in header.channels])
        raw = raw.astype("<u2").view(np.uint8).reshape(-1)
    elif header.compression == "PXR24":
        raw = _from_pxr24(block, header, rows)
    elif header.compression != "NONE" and len(block) < size:  # a block that did not get smaller is stored as it is
        packed = _from_rle(block, size) if header.compression == "RLE" else _inflate(block, size)
        steps = np.frombuffer(packed, np.uint8).astype(np.int64)
        steps[1:] -= 128
        joined = (np.cumsum(steps) & 0xFF).astype(np.uint8)
        half = (size + 1) // 2
        raw = np.empty(size, np.uint8)
        raw[0::2], raw[1::2] = joined[:half], joined[half:]
    if len(raw) != size:
        raise ValueError(f"a block holds {len(raw)} bytes, expected {size}")
    return np.frombuffer(raw, np.uint8).reshape(rows, -1)


def _inflate(block: bytes, size: int) -> bytes:
    """Exactly `size` bytes of a zlib stream."""
    decoder = zlib.decompressobj()
    try:
        out = decoder.decompress(block, size)
    except zlib.error as error:
        raise ValueError(f"a block is damaged ({error})") from None
    if len(out) != size or decoder.unconsumed_tail:
        raise ValueError("a block has the wrong size after decompression")
    return out


def _from_rle(block: bytes, size: int) -> bytes:
    out = bytearray()
    at = 0
    while at < len(block) and len(out) <= size:
        count = block[at] - 256 if block[at] > 127 else block[at]
        if count < 0:
            out += block[at + 1 : at + 1 - count]
            at += 1 - count
        else:
            out += block[at + 1 : at + 2] * (count + 1)
            at += 2
    if len(out) != size:
        raise ValueError("a block has the wrong size after decompression")
    return bytes(out)


def _from_pxr24(block: bytes, header: _Header, rows: int) -> np.ndarray:
    """Differences along each row, by significance of bytes; floats lack their lowest one."""
    kept = [3 if dtype == _TYPES[2] else dtype.itemsize for _, dtype in header.channels]
    packed = np.frombuffer(_inflate(block, rows * header.width * sum(kept)), np.uint8).reshape(rows, -1)
    out = np.empty((rows, header.row_bytes), np.uint8)
    start, target = 0, 0
    for (_, dtype), size in zip(header.channels, kept):
        planes = packed[:, start : start + size * header.width].reshape(rows, size, header.width).astype(np.uint32)
        start += size * header.width
        shifts = [8 * (size - 1 - i) + (8 if dtype == _TYPES[2] else 0) for i in range(size)]
        steps = sum((planes[:, i] << np.uint32(shift) for i, shift in enumerate(shifts)), np.zeros((), np.uint32))
        values = np.cumsum(steps, axis=1, dtype=np.uint32)
        stored = values.astype("<u2" if dtype.itemsize == 2 else "<u4")
        stop = target + header.width * dtype.itemsize
        out[:, target:stop] = stored.view(np.uint8).reshape(rows, -1)
        target = stop
    return out.reshape(-1)


def _encode(names: list[str], planes: list[np.ndarray], compression: str) -> bytes:
    height, width = planes[0].shape
    listed = b"".join(
        name.encode() + b"\0" + struct.pack("<iIii", 1 if plane.dtype == np.float16 else 2, 0, 1, 1)
        for name, plane in zip(names, planes)
    )
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = (
        ("channels", "chlist", listed + b"\0"),
        ("compression", "compression", bytes([_COMPRESSIONS.index(compression)])),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1.0)),
        ("screenWindowCenter", "v2f", struct.pack("<2f", 0.0, 0.0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1.0)),
    )
    head = struct.pack("<II", _MAGIC, 2)
    for name, kind, value in attributes:
        head += name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<I", len(value)) + value
    head += b"\0"
    lines = np.concatenate([p.astype(p.dtype.newbyteorder("<"), order="C").view(np.uint8) for p in planes], axis=1)
    rows = _ROWS_OF_BLOCK[compression]
    blocks = []
    for y in range(0, height, rows):
        raw = lines[y : y + rows].reshape(-1)
        body = raw.tobytes() if compression == "NONE" else _deflate(raw)
        blocks.append(struct.pack("<iI", y, len(body)) + body)
    offset = len(head) + 8 * len(blocks)
    table = b""
    for block in blocks:
        table += struct.pack("<Q", offset)
        offset += len(block)
    return head + table + b"".join(blocks)


def _deflate(raw: np.ndarray) -> bytes:
    split = np.concatenate([raw[0::2], raw[1::2]]).astype(np.int16)
    steps = np.concatenate([split[:1], split[1:] - split[:-1] + 128]).astype(np.uint8)
    body = zlib.compress(steps.tobytes(), 9)
    return body if len(body) < len(raw) else raw.tobytes()
