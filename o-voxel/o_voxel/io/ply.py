"""Voxels as points of a PLY file: integer x, y, z stored as float, attributes as `<name>_<channel>` properties."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from torch import Tensor

from o_voxel.io.arrays import (
    ArrayLike,
    FileLike,
    as_attrs,
    as_coord,
    names_its_file,
    open_to_read,
    open_to_write,
    read_exactly,
    to_tensor,
)

__all__ = ["read_ply", "write_ply"]

Array = np.ndarray[Any, Any]

_TYPE_NAMES = {
    "u1": "uchar",
    "i1": "char",
    "u2": "ushort",
    "i2": "short",
    "u4": "uint",
    "i4": "int",
    "f4": "float",
    "f8": "double",
}
_SIZED_NAMES = {"uint8": "u1", "int8": "i1", "uint16": "u2", "int16": "i2", "uint32": "u4", "int32": "i4"}
_TYPES = {name: code for code, name in _TYPE_NAMES.items()} | _SIZED_NAMES | {"float32": "f4", "float64": "f8"}
_BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": ""}
_MAX_HEADER = 1 << 20
_MAX_BYTES = 1 << 33
_MAX_LINE = 1 << 16
_ASCII_LINES = 4096
_EXACT_FLOAT = 1 << 24


def write_ply(file: FileLike, coord: ArrayLike, attr: Mapping[str, ArrayLike]) -> None:
    """Write a binary little-endian PLY with one `vertex` per voxel.

    Attributes are [N, C] of 8, 16 or 32 bit integers or 32 or 64 bit floats. Raises ValueError or TypeError on other
    types and shapes, on names with white space, and on coordinates that float32 cannot hold exactly.
    """
    positions = as_coord(coord)
    if positions.size and int(np.abs(positions).max()) > _EXACT_FLOAT:
        raise ValueError(f"coord must lie within +-{_EXACT_FLOAT} in a .ply file, where it is stored as float32")
    columns: list[tuple[str, str, Array]] = [(axis, "f4", positions[:, i]) for i, axis in enumerate("xyz")]
    for name, array in as_attrs(attr, len(positions)).items():
        code = f"{array.dtype.kind}{array.dtype.itemsize}"
        if code not in _TYPE_NAMES:
            raise TypeError(f"attr[{name!r}] has the type {array.dtype}, which PLY cannot store")
        if array.ndim != 2:
            raise ValueError(f"attr[{name!r}] must have shape [N, C], got {list(array.shape)}")
        if not re.fullmatch(r"[\x21-\x7e]+", name):
            raise ValueError(f"attribute names of a .ply file must be printable ASCII without spaces, got {name!r}")
        columns += [(f"{name}_{i}", code, array[:, i]) for i in range(array.shape[1])]
    table = np.empty(len(positions), dtype=[(name, f"<{code}") for name, code, _ in columns])
    for name, _, values in columns:
        table[name] = values
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(positions)}"]
    lines += [f"property {_TYPE_NAMES[code]} {name}" for name, code, _ in columns]
    with open_to_write(file) as stream:
        stream.write(("\n".join([*lines, "end_header"]) + "\n").encode("ascii"))
        stream.write(table.tobytes())


def _read_header(stream: IO[bytes]) -> list[str]:
    lines: list[str] = []
    size = 0
    while True:
        line = stream.readline(4096)
        size += len(line)
        if not line.endswith(b"\n") or size > _MAX_HEADER:
            raise ValueError("PLY header ends early or is too long")
        try:
            lines.append(line.decode("ascii").strip())
        except UnicodeDecodeError as error:
            raise ValueError("PLY header is not ASCII") from error
        if lines[0] != "ply":
            raise ValueError("not a PLY file: it does not start with 'ply'")
        if lines[-1] == "end_header":
            return lines


def _parse_header(lines: list[str]) -> tuple[str, int, int, list[tuple[str, str]]]:
    """(format, bytes or lines to skip, number of vertices, vertex properties) from header lines."""
    style = ""
    skip = 0
    elements: list[tuple[str, int, list[tuple[str, str]]]] = []
    for line in lines[1:-1]:
        words = line.split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format" and len(words) == 3 and words[1] in _BYTE_ORDERS:
            style = words[1]
        elif words[0] == "element" and len(words) == 3 and re.fullmatch(r"[0-9]{1,12}", words[2]):
            elements.append((words[1], int(words[2]), []))
        elif words[0] == "property" and elements and len(words) == 3 and words[1] in _TYPES:
            elements[-1][2].append((words[2], _TYPES[words[1]]))
        elif words[0] == "property" and elements and words[1:2] == ["list"]:
            elements[-1][2].append((words[-1], "list"))
        else:
            raise ValueError(f"PLY header has the unreadable line {line[:80]!r}")
    if not style:
        raise ValueError("PLY header has no known format line")
    for name, count, properties in elements:
        if any(code == "list" for _, code in properties):
            raise ValueError(f"PLY element {name!r} has list properties; only plain voxel files are read")
        if name == "vertex":
            return style, skip, count, properties
        skip += count if style == "ascii" else count * sum(int(code[1]) for _, code in properties)
    raise ValueError("PLY file has no element 'vertex'")


def _skip(stream: IO[bytes], size: int) -> None:
    while size > 0:
        piece = stream.read(min(size, 1 << 22))
        if not piece:
            raise ValueError("PLY file ends before its vertices")
        size -= len(piece)


def _read_ascii(stream: IO[bytes], skip: int, count: int, dtype: np.dtype[Any]) -> Array:
    """Vertices of an ASCII file, some thousand lines at a time."""
    names = list(dtype.names or ())
    parts: list[Array] = []
    done = -skip
    while done < count:
        wanted = min(_ASCII_LINES, (count - done) if done >= 0 else -done)
        lines = list(itertools.islice(iter(lambda: stream.readline(_MAX_LINE), b""), wanted))
        if len(lines) < wanted:
            raise ValueError(f"PLY file ends early: {max(done, 0) + len(lines)} of {count} vertices")
        if done >= 0:
            rows = [line.decode("ascii", errors="replace").split() for line in lines]
            if any(len(row) != len(names) for row in rows):
                raise ValueError(f"PLY vertices must have {len(names)} values each")
            part = np.empty(len(rows), dtype)
            for i, name in enumerate(names):
                number = float if dtype[name].kind == "f" else int
                try:
                    part[name] = np.array([number(row[i]) for row in rows], dtype=dtype[name])
                except OverflowError as error:
                    raise ValueError(f"PLY property {name!r} does not fit its type {dtype[name]}") from error
            parts.append(part)
        done += wanted
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _read_table(stream: IO[bytes], max_bytes: int) -> Array:
    style, skip, count, properties = _parse_header(_read_header(stream))
    names = [name for name, _ in properties]
    if len(set(names)) != len(names):
        raise ValueError("PLY vertex properties must have distinct names")
    dtype = np.dtype([(name, _BYTE_ORDERS[style] + code) for name, code in properties])
    if count * dtype.itemsize > max_bytes:
        raise ValueError(f"PLY file claims {count * dtype.itemsize} bytes of vertices, at most {max_bytes} are allowed")
    if style == "ascii":
        return _read_ascii(stream, skip, count, dtype)
    _skip(stream, skip)
    return np.frombuffer(read_exactly(stream, count * dtype.itemsize, "PLY file ends early"), dtype)


def _positions(table: Array) -> Array:
    """Coordinates int32 [N, 3]: x, y, z rounded."""
    coord = np.empty((len(table), 3), np.int32)
    for axis, name in enumerate("xyz"):
        with np.errstate(invalid="ignore"):  # signalling NaNs; refused below
            values = table[name].astype(np.float64)
        if not bool((np.abs(values) < 2**31 - 1).all()):  # false for NaN too
            raise ValueError("PLY coordinates must be finite and fit int32")
        coord[:, axis] = np.rint(values, out=values)
    return coord


@names_its_file
def read_ply(file: FileLike, *, max_bytes: int = _MAX_BYTES) -> tuple[Tensor, dict[str, Tensor]]:
    """Read `(coord int32 [N, 3], {name: values [N, C] as stored})` from a binary or ASCII PLY file.

    Properties `<name>_<channel>` are joined to one attribute, channels in order of their number; a property without a
    number is an attribute of one channel. Raises ValueError on malformed files, more than `max_bytes` of vertices,
    mixed types, and coordinates that are not finite or leave int32.
    """
    with open_to_read(file) as stream:
        table = _read_table(stream, max_bytes)
    names = list(table.dtype.names or ())
    missing = [axis for axis in "xyz" if axis not in names]
    if missing:
        raise ValueError(f"PLY vertices lack the properties {missing}")
    coord = _positions(table)
    groups: dict[str, dict[int, str]] = {}
    for name in names:
        if name in ("x", "y", "z"):
            continue
        match = re.fullmatch(r"(.+)_([0-9]{1,6})", name)
        base, channel = (match[1], int(match[2])) if match else (name, 0)
        if channel in groups.setdefault(base, {}):
            raise ValueError(f"PLY property {name!r} repeats channel {channel} of {base!r}")
        groups[base][channel] = name
    attrs = {}
    for base, channels in groups.items():
        if sorted(channels) != list(range(len(channels))):
            raise ValueError(f"PLY attribute {base!r} lacks channels: it has {sorted(channels)}")
        parts = [table[channels[i]] for i in range(len(channels))]
        if len({part.dtype for part in parts}) != 1:
            raise ValueError(f"PLY attribute {base!r} mixes types")
        attrs[base] = to_tensor(base, np.stack(parts, 1))
    return to_tensor("coord", coord), attrs
