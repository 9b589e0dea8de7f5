"""`.vxz`: sparse voxels in chunks, each an octree plus attribute streams, filtered and compressed."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, Literal, TypeVar

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
from o_voxel.io.codecs import Codec, check_level, compress, decompress
from o_voxel.io.filters import FILTERS, Filter, apply_filter, predict, predict_codes, smallest_filter, undo_filter
from o_voxel.io.svo import build_octree, codes_to_coords, coords_to_codes, decode_octree
from o_voxel.io.vxz_header import (
    INTERLEAVES,
    Chunk,
    Header,
    Interleave,
    attr_streams,
    check_chunk_size,
    pack_header,
    read_header,
)

__all__ = ["iter_vxz", "read_vxz", "read_vxz_info", "write_vxz"]

MAX_VOXELS = 1 << 28
MAX_BYTES = 1 << 34
_WORK_BYTES = 40  # of one voxel while its chunk is decoded: a quarter of what indices and filters take at their peak

Array = np.ndarray[Any, Any]
Item = TypeVar("Item")
Result = TypeVar("Result")


def _parallel_map(function: Callable[[Item], Result], items: Iterable[Item], num_threads: int) -> list[Result]:
    items = list(items)
    workers = min(len(items), num_threads if num_threads > 0 else os.cpu_count() or 1)
    if workers <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, items))


def _sort_into_chunks(coord: Array, chunk_size: int) -> tuple[Array, Array, Array, Array]:
    """One sort by (chunk, code): order [N], cells [K, 3], chunk starts [K + 1], local codes in that order [N]."""
    depth = chunk_size.bit_length() - 1
    cell = coord >> depth
    code = coords_to_codes(coord & (chunk_size - 1))
    if not len(coord):
        return np.zeros(0, np.int64), cell, np.zeros(1, np.int64), code
    low = cell.min(0)
    extent = [int(e) for e in cell.max(0) - low + 1]
    if extent[0] * extent[1] * extent[2] < 1 << 33:
        rank = ((cell[:, 0] - low[0]) * extent[1] + (cell[:, 1] - low[1])) * extent[2] + (cell[:, 2] - low[2])
        order = np.argsort(rank << 30 | code)
    else:
        order = np.lexsort((code, cell[:, 2], cell[:, 1], cell[:, 0]))
    cell, code = cell[order], code[order]
    new_cell = (cell[1:] != cell[:-1]).any(1)
    if bool(((code[1:] == code[:-1]) & ~new_cell).any()):
        raise ValueError("coord must not hold the same voxel twice")
    starts = np.concatenate([[0], np.flatnonzero(new_cell) + 1, [len(code)]])
    return order, cell[starts[:-1]], starts, code


def _choose_filters(ordered: list[Array], starts: Array, codes: Array, depth: int) -> list[str]:
    """The filter of each attribute that suits the largest chunk best."""
    if len(starts) < 2:
        return ["none"] * len(ordered)
    largest = int(np.argmax(np.diff(starts)))
    rows = slice(int(starts[largest]), int(starts[largest + 1]))
    tree = build_octree(codes[rows], depth)
    predictions = {name: predict(name, tree) for name in FILTERS}
    return [smallest_filter(array[rows], predictions) for array in ordered]


def _split_channels(arrays: list[Array], interleave: str) -> list[Array]:
    """Attributes of one chunk [n, C] as the streams of an interleave mode [n, c]."""
    if interleave == "all":
        return [np.concatenate(arrays, 1)] if arrays else []
    if interleave == "as_is":
        return arrays
    return [array[:, i : i + 1] for array in arrays for i in range(array.shape[1])]


def write_vxz(
    file: FileLike,
    coord: ArrayLike,  # [N, 3] integer, unique, any sign
    attr: Mapping[str, ArrayLike],  # name -> uint8 [N, C]
    chunk_size: int = 256,
    filter: Filter | Literal["auto"] = "none",
    compression: Codec = "lzma",
    compression_level: int | None = None,
    attr_interleave: Interleave = "as_is",
    num_threads: int = -1,
    *,
    metadata: Mapping[str, Any] | None = None,
    checksum: bool = False,
) -> None:
    """Write voxels to a `.vxz` file (path: written aside and renamed) or an open binary file.

    Rows come back sorted by (chunk, z-order code). `filter="auto"` chooses one for each attribute; where they differ,
    readers that know only one filter a file refuse it. `compression_level` None or 0 is the codec's default (deflate 9,
    lzma 9, zstd 22). `metadata` adds JSON keys to the header (grid size, aabb ...) and `checksum` a CRC-32 of the
    binary section under `crc32`; other readers ignore both. `num_threads` <= 0 uses every core.
    Raises ValueError or TypeError on bad shapes, attributes that are not uint8, duplicate voxels, reserved names.
    """
    depth = check_chunk_size(chunk_size)
    if filter not in (*FILTERS, "auto"):
        raise ValueError(f"filter must be one of {(*FILTERS, 'auto')}, got {filter!r}")
    if attr_interleave not in INTERLEAVES:
        raise ValueError(f"attr_interleave must be one of {INTERLEAVES}, got {attr_interleave!r}")
    level = check_level(compression, compression_level)
    positions = as_coord(coord)
    if len(positions) > MAX_VOXELS:
        raise ValueError(f"coord must have at most {MAX_VOXELS} rows, got {len(positions)}")
    arrays = as_attrs(attr, len(positions))
    for name, array in arrays.items():
        if array.dtype != np.uint8:
            raise TypeError(f"attr[{name!r}] must be uint8 in a .vxz file, got {array.dtype}")
        if array.ndim != 2:
            raise ValueError(f"attr[{name!r}] must have shape [N, C], got {list(array.shape)}")
    channels = [(name, array.shape[1]) for name, array in arrays.items()]
    keys = ["svo", *(key for key, _ in attr_streams(channels, attr_interleave))]
    order, cells, starts, codes = _sort_into_chunks(positions, chunk_size)
    ordered = [np.ascontiguousarray(array[order]) for array in arrays.values()]
    filters = _choose_filters(ordered, starts, codes, depth) if filter == "auto" else [str(filter)] * len(ordered)

    def encode(number: int) -> list[bytes]:
        rows = slice(int(starts[number]), int(starts[number + 1]))
        tree = build_octree(codes[rows], depth)
        predictions = {name: predict(name, tree) for name in set(filters)}
        deltas = [apply_filter(array[rows], predictions[name]) for array, name in zip(ordered, filters)]
        streams = [tree.nodes.tobytes(), *(part.tobytes() for part in _split_channels(deltas, attr_interleave))]
        return [compress(stream, compression, level) for stream in streams]

    blobs = _parallel_map(encode, range(len(cells)), num_threads)
    chunks, position = [], 0
    for cell, parts in zip(cells.tolist(), blobs):
        ends = np.cumsum([len(part) for part in parts]).tolist()
        spans = {key: (end - len(part), len(part)) for key, end, part in zip(keys, ends, parts)}
        chunks.append(Chunk((cell[0], cell[1], cell[2]), (position, ends[-1]), spans))
        position += ends[-1]
    extra = dict(metadata or {})
    if checksum:
        crc = 0
        for parts in blobs:
            for part in parts:
                crc = zlib.crc32(part, crc)
        extra["crc32"] = crc
    header = Header(len(positions), chunk_size, filters, compression, level, attr_interleave, channels, chunks)
    raw_size = 12 * len(positions) + sum(array.nbytes for array in ordered)
    head = pack_header(header, raw_size, position, extra)
    with open_to_write(file) as stream:
        stream.write(head)
        for parts in blobs:
            stream.write(b"".join(parts))


@names_its_file
def read_vxz_info(file: FileLike) -> dict[str, Any]:
    """The header of a `.vxz` file as stored, without reading the voxels. Raises ValueError on a malformed header."""
    with open_to_read(file) as stream:
        return read_header(stream, MAX_VOXELS).raw


def _read_chunk(blob: bytes, chunk: Chunk, header: Header, budget: int) -> tuple[Array, list[Array]]:
    """Coordinates int32 [n, 3] and attributes uint8 [n, C] of one chunk."""

    def stream(key: str, max_size: int) -> bytes:
        offset, length = chunk.streams[key]
        return decompress(blob[offset : offset + length], header.compression, header.compression_level, max_size)

    try:
        depth = check_chunk_size(header.chunk_size)
        max_leaves = min(budget, header.chunk_size**3)
        max_nodes = min(depth * max_leaves, (8**depth - 1) // 7)
        codes = decode_octree(stream("svo", max_nodes), depth, max_leaves)
        parts = []
        for key, channels in header.streams():
            data = stream(key, len(codes) * channels)
            if len(data) != len(codes) * channels:
                raise ValueError(f"stream {key!r} holds {len(data)} bytes, expected {len(codes)} x {channels}")
            parts.append(np.frombuffer(data, np.uint8).reshape(len(codes), channels))
        if header.interleave == "as_is":
            arrays = parts
        else:
            table = parts[0] if len(parts) == 1 else np.concatenate([np.zeros((len(codes), 0), np.uint8), *parts], 1)
            splits = np.cumsum([channels for _, channels in header.attr])[:-1]
            arrays = np.split(table, splits, axis=1) if header.attr else []
        del parts
        for name in dict.fromkeys(header.filters):
            prediction = predict_codes(name, codes, depth)
            for i, own in enumerate(header.filters):
                if own == name:
                    arrays[i] = undo_filter(arrays[i], prediction)
    except ValueError as error:
        raise ValueError(f"chunk {list(chunk.idx)}: {error}") from error
    coords = codes_to_coords(codes)
    coords += np.array(chunk.idx, dtype=np.int32) * np.int32(header.chunk_size)
    return coords, arrays


def _chunk_blobs(stream: IO[bytes], header: Header, chunks: list[Chunk]) -> list[bytes]:
    """The bytes of chunks; the whole section at once if all are wanted, else ranged reads."""
    if len(chunks) == len(header.chunks):
        end = max((chunk.ptr[0] + chunk.ptr[1] for chunk in chunks), default=0)
        data = memoryview(read_exactly(stream, end, "file ends early: the binary section"))
        crc = header.raw.get("crc32")
        if isinstance(crc, int) and end == header.raw["compressed_size"] and zlib.crc32(data) != crc:
            raise ValueError("the binary section does not match its crc32")
        return [bytes(data[chunk.ptr[0] : chunk.ptr[0] + chunk.ptr[1]]) for chunk in chunks]
    base = stream.tell()
    return [_chunk_blob(stream, base, chunk) for chunk in chunks]


def _chunk_blob(stream: IO[bytes], base: int, chunk: Chunk) -> bytes:
    stream.seek(base + chunk.ptr[0])
    return bytes(read_exactly(stream, chunk.ptr[1], f"file ends early: chunk {list(chunk.idx)}"))


def _named(arrays: list[Array], header: Header, keep: Any) -> dict[str, Tensor]:
    return {name: to_tensor(name, array[keep]) for (name, _), array in zip(header.attr, arrays)}


def _joined(parts: list[Array], empty: Array) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else empty


def _in_region(chunks: list[Chunk], box: Array | None, size: int) -> list[Chunk]:
    """The chunks that meet a box of voxels."""
    if box is None:
        return chunks
    cells = np.array([chunk.idx for chunk in chunks], dtype=np.int64).reshape(-1, 3) * size
    wanted = ((cells < box[1]) & (cells + size > box[0])).all(1)
    return [chunk for chunk, keep in zip(chunks, wanted) if keep]


def _rows_in(coord: Array, box: Array | None) -> Any:
    return slice(None) if box is None else ((coord >= box[0]) & (coord < box[1])).all(1)


def iter_vxz(
    file: FileLike, *, region: Any | None = None, max_voxels: int = MAX_VOXELS, max_bytes: int = MAX_BYTES
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Read a `.vxz` file chunk by chunk: `(coord int32 [n, 3], {name: uint8 [n, C]})` of each, in file order.

    Only one chunk is in memory at a time. `region` and errors as in `read_vxz`; an error may come after some chunks.
    The file must allow seeking.
    """
    box = None if region is None else _region(region)
    with open_to_read(file) as stream:
        header = read_header(stream, max_voxels)
        _check_size(header, max_bytes)
        base = stream.tell()
        count = 0
        wanted = _in_region(header.chunks, box, header.chunk_size)
        for chunk in wanted:
            coord, arrays = _read_chunk(_chunk_blob(stream, base, chunk), chunk, header, header.num_voxels - count)
            count += len(coord)
            keep = _rows_in(coord, box)
            yield to_tensor("coord", coord[keep]), _named(arrays, header, keep)
        if len(wanted) == len(header.chunks) and count != header.num_voxels:
            raise ValueError(f"the chunks hold {count} voxels, the header says {header.num_voxels}")


def _check_size(header: Header, max_bytes: int) -> None:
    size = header.num_voxels * max(12 + sum(channels for _, channels in header.attr), _WORK_BYTES)
    if size > max_bytes:
        raise ValueError(f"the file claims {header.num_voxels} voxels or {size} bytes, at most {max_bytes} are allowed")


def _region(region: Any) -> Array:
    box = np.asarray(region)
    if box.shape != (2, 3) or box.dtype.kind not in "iu":
        raise ValueError(f"region must be integers [[x0, y0, z0], [x1, y1, z1]], got {region!r}")
    return box.astype(np.int64)


@names_its_file
def read_vxz(
    file: FileLike,
    num_threads: int = -1,
    *,
    region: Any | None = None,
    max_voxels: int = MAX_VOXELS,
    max_bytes: int = MAX_BYTES,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Read `(coord int32 [N, 3], {name: uint8 [N, C]})`, chunks in file order, z-order inside a chunk.

    With `region` = `[[x0, y0, z0], [x1, y1, z1]]` (half-open) only voxels inside are returned and only chunks that meet
    the region are read. Raises ValueError on any malformed file, and on one that claims more than `max_voxels` voxels
    or `max_bytes` of data (a voxel counts 12 bytes and its channels, at least 40); never is more than four times that
    in use.
    """
    box = None if region is None else _region(region)
    with open_to_read(file) as stream:
        header = read_header(stream, max_voxels)
        _check_size(header, max_bytes)
        chunks = _in_region(header.chunks, box, header.chunk_size)
        blobs = _chunk_blobs(stream, header, chunks)
    remaining = header.num_voxels

    def decode(item: tuple[bytes, Chunk]) -> tuple[Array, list[Array]]:
        nonlocal remaining
        if remaining < 0:
            raise ValueError(f"the chunks hold more voxels than num_voxel = {header.num_voxels}")
        result = _read_chunk(*item, header, header.num_voxels)
        remaining -= len(result[0])
        return result

    parts = _parallel_map(decode, zip(blobs, chunks), num_threads)
    coord = _joined([part[0] for part in parts], np.zeros((0, 3), np.int32))
    complete = len(chunks) == len(header.chunks)
    if len(coord) > header.num_voxels or (complete and len(coord) != header.num_voxels):
        raise ValueError(f"the chunks hold {len(coord)} voxels, the header says {header.num_voxels}")
    keep = _rows_in(coord, box)
    attrs = {}
    for i, (name, channels) in enumerate(header.attr):
        rows = _joined([part[1][i] for part in parts], np.zeros((0, channels), np.uint8))
        for part in parts:
            part[1][i] = rows[:0]  # what is joined is not needed twice
        attrs[name] = to_tensor(name, rows[keep])
    return to_tensor("coord", coord[keep]), attrs
