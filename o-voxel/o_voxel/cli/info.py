"""`info`: what is in voxel and mesh files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from o_voxel.cli.options import VOXEL_SUFFIXES, is_voxel_file
from o_voxel.convert.mesh_input import MESH_SUFFIXES, read_mesh
from o_voxel.io import read, read_vxz_info

__all__ = ["add_parser", "describe"]


def _voxels(path: Path) -> dict[str, Any]:
    coords, attrs = read(path)
    size = path.stat().st_size
    result: dict[str, Any] = {"voxels": len(coords)}
    if len(coords):
        result["lowest"], result["highest"] = coords.amin(0).tolist(), coords.amax(0).tolist()
        result["bits_per_voxel"] = round(size * 8 / len(coords), 2)
    result["attributes"] = {
        name: f"{str(v.dtype).removeprefix('torch.')} {list(v.shape[1:])}" for name, v in attrs.items()
    }
    return result


def _vxz(path: Path, check: bool) -> dict[str, Any]:
    header = read_vxz_info(path)
    result = {
        "voxels": header["num_voxel"],
        "bits_per_voxel": round(path.stat().st_size * 8 / max(header["num_voxel"], 1), 2),
        "attributes": {name: f"uint8 [{channels}]" for name, channels in header["attr"]},
        "codec": f"{header['compression']} {header['compression_level']}",
        "filter": header.get("attr_filter", header["filter"]),
        "chunks": f"{len(header['chunks'])} of {header['chunk_size']}³",
    }
    for key in ("grid_size", "aabb", "placement", "crc32"):
        if key in header:
            result[key] = header[key]
    if check:
        read(path)
        result["checked"] = "every voxel can be read"
    return result


def _mesh(path: Path) -> dict[str, Any]:
    source = read_mesh(path)
    corners = np.asarray(source.triangles, np.float64).reshape(-1, 3)
    result: dict[str, Any] = {"triangles": len(source.triangles)}
    if len(corners):
        result["lowest"] = np.round(corners.min(0), 6).tolist()
        result["highest"] = np.round(corners.max(0), 6).tolist()
    result["vertex_colours"] = len(source.colors) > 0
    result["uv_channels"] = 1 if source.uvs.ndim == 3 else source.uvs.shape[2]
    result["materials"] = [
        {
            "alpha": f"{m.alpha_mode} {m.alpha_cutoff}" if m.alpha_mode == "MASK" else m.alpha_mode,
            "metallic": m.metallic,
            "roughness": round(m.roughness, 4),
            "textures": {k: "x".join(map(str, t.image.shape[1::-1])) for k, t in m.textures.items()},
        }
        for m in source.materials
    ]
    return result


def describe(path: Path, check: bool = False) -> dict[str, Any]:
    """Facts about a voxel or mesh file; with `check` a `.vxz` file is read whole. Raises ValueError or OSError."""
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ValueError("the file does not exist")
    facts: dict[str, Any] = {"file": str(path), "bytes": path.stat().st_size}
    if suffix == ".vxz":
        return facts | _vxz(path, check)
    if suffix in VOXEL_SUFFIXES and is_voxel_file(path):
        return facts | _voxels(path)
    if suffix in MESH_SUFFIXES:
        return facts | _mesh(path)
    raise ValueError(f"must end in one of {', '.join(sorted({*VOXEL_SUFFIXES, *MESH_SUFFIXES}))}")


def add_parser(commands: Any) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser("info", help="what is in files", description="Describe voxel and mesh files.")
    parser.add_argument("files", type=Path, nargs="+", help="voxel files (.vxz .npz .ply) or meshes")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--check", action="store_true", help="also read every voxel of .vxz files")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    failed = 0
    for path in args.files:
        try:
            facts = describe(path, args.check)
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            failed = 1
            sys.stderr.write(f"error: {path}: {str(error).removeprefix(f'{path}: ')}\n")
            continue
        if args.json:
            sys.stdout.write(json.dumps(facts) + "\n")
        else:
            width = max(len(key) for key in facts)
            lines = []
            for key, value in facts.items():
                items = value if isinstance(value, list) and value and isinstance(value[0], dict) else [value]
                lines += [f"{key if i == 0 else '':<{width}}  {item}" for i, item in enumerate(items)]
            sys.stdout.write("\n".join(lines) + "\n")
    return failed
