"""Structured mutations of voxel files.

A mutation acts on one layer and keeps the layers around it valid, so that it reaches the code behind them: raw bytes,
header fields, the content of a compressed stream (packed again), the members of an archive, the lines of a header.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from o_voxel.io import write_npz, write_ply, write_vxz
from o_voxel.io.codecs import check_level, compress, decompress

__all__ = ["CORPUS", "MUTATORS", "octree_bytes"]

EDGES = (0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 127, 128, 255, 256, 1023, 1024, 65535, 65536, 2**24, 2**31 - 1, 2**31,
         2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64, 2**70)  # fmt: skip
_RAW = 1 << 16  # no stream of the corpus is longer


def mutate_bytes(data: bytes, rng: random.Random, rounds: int | None = None) -> bytes:
    """Set, flip, cut, drop, repeat, insert, add to and overwrite bytes, one to six times."""
    out = bytearray(data)
    for _ in range(rounds if rounds is not None else rng.randint(1, 6)):
        at = rng.randrange(len(out)) if out else 0
        kind = rng.randrange(9)
        if not out or kind == 0:
            out[at:at] = rng.randbytes(rng.randint(1, 12))
        elif kind == 1:
            out[at] = rng.randrange(256)
        elif kind == 2:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 3 and rng.random() < 0.3:
            del out[at:]
        elif kind == 4:
            del out[at : at + rng.randint(1, 24)]
        elif kind == 5:
            out[at:at] = out[at : at + rng.randint(1, 48)]
        elif kind == 6:
            size = rng.choice((1, 2, 4, 8))
            value = int.from_bytes(out[at : at + size], "little") + rng.randint(-4, 4)
            out[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
        elif kind == 7:
            size = rng.choice((1, 2, 4, 8))
            value = rng.choice(EDGES) % (1 << 8 * size)
            out[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))
        else:
            out[at : at + rng.randint(1, 8)] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))]) * rng.randint(1, 8)
    return bytes(out)


def _value(rng: random.Random) -> Any:
    return rng.choice((
        rng.randint(-3, 300), rng.choice(EDGES), -rng.choice(EDGES), rng.random() * 1e3, 1e308, None, True, "", "none",
        "neighbor", "parent", "zstd", "lzma", "deflate", "all", "as_is", [], {}, [0, 0], [1, 2, 3], [[0]],
        [rng.choice(EDGES), rng.choice(EDGES)], {"idx": [0, 0, 0]}, [["a", 1]], [["svo", 1]], "x" * 50,
    ))  # fmt: skip


def _paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix] * bool(prefix) + [path for key, inner in items for path in _paths(inner, (*prefix, key))]


def mutate_json(doc: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A copy with one to three fields replaced, removed, moved by a little or repeated."""
    out: dict[str, Any] = json.loads(json.dumps(doc))
    for _ in range(rng.randint(1, 3)):
        paths = _paths(out)
        if not paths:
            break
        *parents, last = rng.choice(paths)
        target: Any = out
        for key in parents:
            target = target[key]
        kind = rng.random()
        if kind < 0.15:
            del target[last]
        elif kind < 0.5 and isinstance(target[last], int):
            target[last] += rng.choice((-1, 1, -8, 8, 64))
        elif kind < 0.6 and isinstance(target, list):
            target.append(target[last])
        else:
            target[last] = _value(rng)
    return out


@dataclass
class VxzModel:
    """A `.vxz` file taken apart: its header and the unpacked streams of each chunk."""

    header: dict[str, Any]
    streams: list[dict[str, bytes]]

    @classmethod
    def parse(cls, data: bytes) -> VxzModel:
        """Its own copy of the parts of a valid file."""
        model = _parse_vxz(data)
        return cls(dict(model.header), [dict(streams) for streams in model.streams])

    @classmethod
    def take_apart(cls, data: bytes) -> VxzModel:
        offset = struct.unpack(">I", data[4:8])[0]
        header = json.loads(data[8:offset])
        codec, level = header["compression"], header["compression_level"]
        streams = []
        for chunk in header["chunks"]:
            start = offset + chunk["ptr"][0]
            streams.append({
                key: decompress(data[start + at : start + at + size], codec, level, _RAW)
                for key, (at, size) in ((k, v) for k, v in chunk.items() if k not in ("idx", "ptr"))
            })  # fmt: skip
        return cls(header, streams)

    def pack(self, rng: random.Random) -> bytes:
        """A file whose offsets are right; rarely compressed by another codec than the header says."""
        codec = self.header["compression"] if rng.random() > 0.03 else rng.choice(("none", "deflate", "lzma", "zstd"))
        level = check_level(codec, min(self.header["compression_level"], 3) or None)
        header, blob, chunks = dict(self.header), bytearray(), []
        for chunk, streams in zip(header["chunks"], self.streams):
            entry, start = {"idx": chunk["idx"]}, len(blob)
            for key, raw in streams.items():
                packed = compress(raw, codec, level)
                entry[key] = [len(blob) - start, len(packed)]
                blob += packed
            entry["ptr"] = [start, len(blob) - start]
            chunks.append(entry)
        header["chunks"], header["compressed_size"] = chunks, len(blob)
        return join_vxz(header, bytes(blob))


@cache
def _parse_vxz(data: bytes) -> VxzModel:
    return VxzModel.take_apart(data)


def join_vxz(header: dict[str, Any], blob: bytes) -> bytes:
    text = json.dumps(header).encode()
    return b"VXZ\0" + struct.pack(">I", 8 + len(text)) + text + blob


def octree_bytes(rng: random.Random, depth: int, nodes: int = 60) -> bytes:
    """Pre-order octree bytes, right up to a random place: most nodes have one or two children."""

    def node(level: int) -> bytes:
        bits = 0
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 8))):
            bits |= 1 << rng.randrange(8)
        out = bytes([bits])
        if level + 1 < depth:
            for _ in range(bin(bits).count("1")):
                if len(out) > nodes:
                    break
                out += node(level + 1)
        return out

    return node(0)


def mutate_vxz(data: bytes, rng: random.Random) -> bytes:
    """A damaged `.vxz` file."""
    kind = rng.random()
    if kind < 0.25:
        return mutate_bytes(data, rng)
    if kind < 0.5:
        offset = struct.unpack(">I", data[4:8])[0]
        return join_vxz(mutate_json(json.loads(data[8:offset]), rng), data[offset:])
    model = VxzModel.parse(data)
    for _ in range(rng.randint(1, 3)):
        streams = rng.choice(model.streams)
        key = "svo" if rng.random() < 0.6 else rng.choice(list(streams))
        choice = rng.random()
        if key == "svo" and choice < 0.3:
            depth = int(model.header["chunk_size"]).bit_length() - 1
            streams[key] = octree_bytes(rng, depth)
        elif choice < 0.4:
            streams[key] = bytes([rng.choice((0, 1, 0x80, 0xFF))]) * rng.choice((0, 1, 73, 585, 4681, 40000))
        else:
            streams[key] = mutate_bytes(streams[key], rng, rng.randint(1, 3))
    if rng.random() < 0.3:
        model.header["num_voxel"] = rng.choice((*EDGES[:17], model.header["num_voxel"] + rng.randint(-2, 2)))
    packed = model.pack(rng)
    return mutate_bytes(packed, rng, 1) if rng.random() < 0.1 else packed


_NPY_SWAPS = (
    (b"<u2", b"|O "), (b"<u2", b"<i8"), (b"<u2", b"<f8"), (b"|u1", b"|V9"), (b"|u1", b"<U4"), (b"False", b"True "),
    (b"(", b"(9"), (b", 3)", b", 0)"), (b", 3)", b",-3)"),
)  # fmt: skip


def mutate_npz(data: bytes, rng: random.Random) -> bytes:
    """A damaged archive: its bytes, or its members under right lengths and checksums."""
    if rng.random() < 0.35:
        return mutate_bytes(data, rng)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(members))
        name, body = members[at]
        kind = rng.random()
        if kind < 0.4:  # the header of the array
            cut = 10 + int.from_bytes(body[8:10], "little")
            body = mutate_bytes(body[:cut], rng, rng.randint(1, 3)) + body[cut:]
        elif kind < 0.7:
            body = body.replace(*rng.choice(_NPY_SWAPS), 1)
        elif kind < 0.9:
            body = mutate_bytes(body, rng, rng.randint(1, 3))
        else:
            name = rng.choice((name, "coord.npy", "x", "../x.npy", "", "coord"))
        members[at] = (name, body)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, body in members:
            archive.writestr(zipfile.ZipInfo(name or "e"), body)
    out = stream.getvalue()
    return mutate_bytes(out, rng, 1) if rng.random() < 0.1 else out


_PLY_WORDS = (
    "vertex", "face", "list", "uchar", "double", "float", "int", "x", "y", "z", "color_0", "color_1", "-1", "0", "1",
    "7", "99999999", "999999999999", "nan", "inf", "1e400", "ascii", "binary_big_endian", "end_header", "comment", "",
)  # fmt: skip


def mutate_ply(data: bytes, rng: random.Random) -> bytes:
    """A damaged PLY file: its bytes, or words and lines of its header."""
    head, mark, body = data.partition(b"end_header\n")
    if rng.random() < 0.3 or not mark:
        return mutate_bytes(data, rng)
    lines = [line.split(" ") for line in head.decode().splitlines()]
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        kind = rng.random()
        if kind < 0.6:
            words = lines[at]
            words[rng.randrange(len(words))] = rng.choice(_PLY_WORDS)
        elif kind < 0.75:
            lines.insert(rng.randrange(len(lines) + 1), list(lines[at]))
        elif kind < 0.9 and len(lines) > 1:
            del lines[at]
        else:
            lines.insert(at, ["element", "other", str(rng.choice(EDGES))])
    if rng.random() < 0.4:
        body = mutate_bytes(body, rng, rng.randint(1, 3))
    return "\n".join(" ".join(words) for words in lines).encode("latin-1") + b"\n" + mark + body


def _voxels(count: int, extent: int) -> tuple[Any, dict[str, Any]]:
    generator = np.random.default_rng(count)
    coord = np.unique(generator.integers(0, extent, (count, 3)), axis=0)
    color = generator.integers(0, 256, (len(coord), 3)).astype(np.uint8)
    return coord, {"color": color, "one": color[:, :1]}


def _file(writer: Callable[..., None], count: int, extent: int, **options: Any) -> bytes:
    stream = io.BytesIO()
    writer(stream, *_voxels(count, extent), **options)
    return stream.getvalue()


def _ascii_ply() -> bytes:
    rows = "\n".join(f"{i} {i + 1} 0 {i % 256} 0.5" for i in range(12))
    head = "ply\nformat ascii 1.0\nelement vertex 12\nproperty float x\nproperty float y\nproperty float z\n"
    return f"{head}property uchar a_0\nproperty double b\nend_header\n{rows}\n".encode()


def _vxz_corpus() -> list[bytes]:
    files = []
    for filter_ in ("none", "parent", "neighbor"):
        for codec, level in (("none", 0), ("deflate", 6), ("lzma", 1), ("zstd", 3)):
            for interleave, size, extent in (("as_is", 8, 12), ("all", 4, 7), ("none", 64, 12)):
                files.append(_file(write_vxz, 40, extent, chunk_size=size, filter=filter_, compression=codec,
                                   compression_level=level, attr_interleave=interleave, num_threads=1))  # fmt: skip
    generator = np.random.default_rng(5)
    line = np.stack([np.arange(64), np.arange(64) // 2, np.arange(64) // 3], 1)
    mixed = io.BytesIO()
    noise = generator.integers(0, 256, (64, 2)).astype(np.uint8)
    write_vxz(mixed, line, {"smooth": line.astype(np.uint8), "noise": noise},
              chunk_size=32, filter="auto", compression="zstd", compression_level=3, num_threads=1)  # fmt: skip
    assert b'"mixed"' in mixed.getvalue()
    files.append(mixed.getvalue())
    files.append(_file(write_vxz, 30, 1000, chunk_size=1024, compression="zstd", checksum=True, num_threads=1))
    cube = np.stack(np.meshgrid(*[np.arange(16)] * 3), -1).reshape(-1, 3)
    stream = io.BytesIO()
    write_vxz(stream, cube, {"a": np.zeros((len(cube), 2), np.uint8)}, chunk_size=16, filter="neighbor",
              compression="zstd", num_threads=1)  # fmt: skip
    return [*files, stream.getvalue()]


CORPUS: dict[str, Callable[[], Sequence[bytes]]] = {
    "vxz": _vxz_corpus,
    "npz": lambda: [_file(write_npz, 30, 9), _file(write_npz, 30, 9, compress=False)],
    "ply": lambda: [_file(write_ply, 30, 9), _ascii_ply()],
}
MUTATORS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "vxz": mutate_vxz,
    "npz": mutate_npz,
    "ply": mutate_ply,
}
