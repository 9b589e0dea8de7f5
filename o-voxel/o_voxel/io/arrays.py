"""Checks of voxel arrays, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "ArrayLike",
    "FileLike",
    "as_attrs",
    "as_coord",
    "names_its_file",
    "open_to_read",
    "open_to_write",
    "read_exactly",
    "to_tensor",
]

ArrayLike: TypeAlias = "np.ndarray[Any, Any] | Tensor"
FileLike: TypeAlias = "str | os.PathLike[str] | IO[bytes]"
Result = TypeVar("Result")
_PIECE = 1 << 22


def _as_numpy(name: str, value: ArrayLike) -> np.ndarray[Any, Any]:
    if isinstance(value, Tensor):
        return cast("np.ndarray[Any, Any]", value.detach().cpu().numpy())
    if isinstance(value, np.ndarray):
        return value
    raise TypeError(f"{name} must be a tensor or an array, got {type(value).__name__}")


def as_coord(coord: ArrayLike) -> np.ndarray[Any, Any]:
    """Coordinates as int64 [N, 3]; raises on another shape, a non-integer type or values outside int32."""
    array = _as_numpy("coord", coord)
    if array.ndim != 2 or array.shape[1] != 3:
        raise ValueError(f"coord must have shape [N, 3], got {list(array.shape)}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"coord must hold integers, got {array.dtype}")
    if array.size and not (int(array.min()) >= -(2**31) and int(array.max()) < 2**31):
        raise ValueError("coord must lie in the range of int32")
    return array.astype(np.int64)


def as_attrs(attr: Mapping[str, ArrayLike], num_voxels: int) -> dict[str, np.ndarray[Any, Any]]:
    """Attributes as arrays with `num_voxels` rows each; raises on another row count or a name that is no string."""
    arrays = {}
    for name, value in attr.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"attribute names must be non-empty strings, got {name!r}")
        array = _as_numpy(f"attr[{name!r}]", value)
        if array.ndim < 1 or array.shape[0] != num_voxels:
            raise ValueError(f"attr[{name!r}] must have {num_voxels} rows as coord, got shape {list(array.shape)}")
        arrays[name] = array
    return arrays


def to_tensor(name: str, array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor that owns its memory; ValueError where PyTorch has no such type."""
    array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True)
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        raise ValueError(f"{name!r} has the unsupported type {array.dtype}") from error


def read_exactly(stream: IO[bytes], size: int, what: str) -> bytearray:
    """The next `size` bytes; ValueError beginning with `what` where the file has fewer.

    Reads piecewise, so that a false size allocates nothing.
    """
    data = bytearray()
    while len(data) < size:
        piece = stream.read(min(size - len(data), _PIECE))
        if not piece:
            raise ValueError(f"{what}: {len(data)} of {size} bytes are there")
        data += piece
    return data


@contextlib.contextmanager
def open_to_read(file: FileLike) -> Iterator[IO[bytes]]:
    """A binary file open for reading; a file object given is used as it is and left open."""
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as stream:
            yield stream
    else:
        yield file


def names_its_file(read: Callable[..., Result]) -> Callable[..., Result]:
    """Decorator of a reader whose first argument is a file: its ValueErrors begin with the path, where there is one."""

    @functools.wraps(read)
    def wrapper(file: FileLike, *args: Any, **kwargs: Any) -> Result:
        try:
            return read(file, *args, **kwargs)
        except ValueError as error:
            if isinstance(file, (str, os.PathLike)):
                raise ValueError(f"{os.fspath(file)}: {error}") from error
            raise

    return wrapper


@contextlib.contextmanager
def open_to_write(file: FileLike) -> Iterator[IO[bytes]]:
    """A binary file that takes its name only once all is written; a file object given is written to directly."""
    if not isinstance(file, (str, os.PathLike)):
        yield file
        return
    path = Path(file)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as stream:
            yield stream
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
