"""Voxels as a NumPy archive: `coord` uint16 [N, 3] and one array per attribute; no pickled objects either way."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
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
    to_tensor,
)

__all__ = ["read_npz", "write_npz"]

_MAX_BYTES = 1 << 33
_MAX_HEADER = 1 << 14
_HEADER = re.compile(
    r"\{'descr': *'(?P<descr>[<>=|]?[?a-zA-Z][0-9]{0,3})', *'fortran_order': *(?P<order>True|False), *"
    r"'shape': *\((?P<shape>(?:[0-9]{1,19}, *)*(?:[0-9]{1,19})?)\),? *\} *\n?"
)
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    OverflowError,
    SyntaxError,
)


def write_npz(file: FileLike, coord: ArrayLike, attr: Mapping[str, ArrayLike], compress: bool = True) -> None:
    """Write `coord` (0 .. 65535, stored as uint16 [N, 3]) and attributes [N, ...] of any plain type.

    Raises ValueError on coordinates outside uint16, on the attribute name `coord`, and on object arrays.
    """
    positions = as_coord(coord)
    if positions.size and (positions.min() < 0 or positions.max() > 65535):
        raise ValueError(f"coord must lie in 0..65535 in a .npz file, got {positions.min()}..{positions.max()}")
    arrays = as_attrs(attr, len(positions))
    for name, array in arrays.items():
        if name in ("coord", "file") or "/" in name or "\\" in name:
            raise ValueError(f"attribute name {name!r} cannot be used in a .npz file")
        if array.dtype.hasobject:
            raise TypeError(f"attr[{name!r}] must hold plain numbers, got {array.dtype}")
    save = np.savez_compressed if compress else np.savez
    with open_to_write(file) as stream:
        save(stream, coord=positions.astype(np.uint16), **arrays)  # type: ignore[arg-type]


def _read_header(stream: IO[bytes], name: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Type, column-major order and shape from the head of a `.npy` member.

    The header is matched, not evaluated: it comes from an untrusted file.
    """
    start = stream.read(8)
    if start[:6] != b"\x93NUMPY" or len(start) < 8 or start[6] not in (1, 2, 3):
        raise ValueError(f"member {name!r} is no .npy array of version 1 to 3")
    length = int.from_bytes(stream.read(2 if start[6] == 1 else 4), "little")
    if length > _MAX_HEADER:
        raise ValueError(f"member {name!r} has a header of {length} bytes")
    text = stream.read(length).decode("latin-1")
    match = _HEADER.fullmatch(text)
    if match is None:
        raise ValueError(f"member {name!r} has an unreadable header, or one of a type that is not read: {text[:80]!r}")
    try:
        dtype = np.dtype(match["descr"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"member {name!r} has the unknown type {match['descr']!r}") from error
    shape = tuple(int(extent) for extent in match["shape"].split(",") if extent.strip())
    return dtype, match["order"] == "True", shape


def _read_array(stream: IO[bytes], name: str, size: int) -> np.ndarray[Any, Any]:
    """One `.npy` member; its header must account for exactly the bytes that follow."""
    dtype, fortran, shape = _read_header(stream, name)
    if dtype.kind not in "biufc" or dtype.itemsize == 0:
        raise ValueError(f"member {name!r} has the type {dtype}, only plain numbers are read")
    count = math.prod(shape)
    if count * dtype.itemsize > size:
        raise ValueError(f"member {name!r} claims shape {shape}, more than its {size} bytes")
    data = stream.read(count * dtype.itemsize + 1)
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"member {name!r} holds {len(data)} bytes, its shape needs {count * dtype.itemsize}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


@names_its_file
def read_npz(file: FileLike, *, max_bytes: int = _MAX_BYTES) -> tuple[Tensor, dict[str, Tensor]]:
    """Read `(coord int32 [N, 3], {name: values as stored})`.

    Raises ValueError on a malformed archive, on pickled members and on more than `max_bytes` of unpacked data.
    """
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    with open_to_read(file) as raw:
        try:
            with zipfile.ZipFile(raw) as archive:
                members = archive.infolist()
                total = sum(member.file_size for member in members)
                if total > max_bytes:
                    raise ValueError(f"archive unpacks to {total} bytes, at most {max_bytes} are allowed")
                for member in members:
                    name = member.filename.removesuffix(".npy")
                    with archive.open(member) as stream:
                        arrays[name] = _read_array(stream, name, member.file_size)
        except ValueError as error:
            raise ValueError(f"not a readable .npz file: {error}") from error
        except (*_BROKEN, OSError, MemoryError, TypeError) as error:
            raise ValueError(f"not a readable .npz file: {error}") from error
    if "coord" not in arrays:
        raise ValueError(f"the archive has no array 'coord', only {sorted(arrays)[:20]}")
    coord = arrays.pop("coord")
    coord = as_coord(coord).astype(np.int32)
    return to_tensor("coord", coord), {
        name: to_tensor(name, array) for name, array in as_attrs(arrays, len(coord)).items()
    }
