"""Rasteriser, interpolation, textures and antialiasing: time of a call, and the least the memory would allow.

    python o-voxel/benchmarks/bench_raster.py --device cuda
    python o-voxel/benchmarks/bench_raster.py --device cpu --threads 1 2

The mesh is a unit sphere of equal quads seen from three radii away (it fills half of the picture, and half of its
faces are behind), in the order of the grid or shuffled; "soup" is random triangles that overlap. Times are medians and
include the Python call. Floor: every input read once and every output written once, plus for a raster 8 bytes a pixel
written, updated and read (the depth and index that compete), at the copy rate `--ceiling` of the device; it counts no
arithmetic, no vertex fetched twice, and no launch (about 3 us each). Prints a table; writes JSON with `--output`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from o_voxel.rasterize import (
    DepthPeeler,
    VoxelRenderer,
    antialias,
    antialias_construct_topology_hash,
    build_mips,
    interpolate,
    rasterize,
    texture,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from measure import machine, milliseconds, peak_gigabytes, write_results

Size = tuple[int, int]


class Case(NamedTuple):
    name: str
    run: Callable[[], object]
    floor_bytes: int


def grid_mesh(faces: int) -> tuple[Tensor, Tensor]:
    """A square of about `faces` triangles: parameters [V, 2] in [0, 1] and indices."""
    n = int((faces / 2) ** 0.5)
    u = torch.linspace(0, 1, n + 1)
    a, b = torch.meshgrid(u, u, indexing="ij")
    i = (torch.arange(n)[:, None] * (n + 1) + torch.arange(n)).reshape(-1)
    tri = torch.cat([torch.stack([i, i + 1, i + n + 1], 1), torch.stack([i + 1, i + n + 2, i + n + 1], 1)])
    return torch.stack([a, b], -1).reshape(-1, 2), tri.int()


def sphere_clip(faces: int) -> tuple[Tensor, Tensor]:
    """Clip-space unit sphere, three units in front of the camera."""
    uv, tri = grid_mesh(faces)
    phi, theta = uv[:, 0] * 2 * torch.pi, uv[:, 1] * torch.pi
    x, y, z = phi.cos() * theta.sin(), phi.sin() * theta.sin(), theta.cos() + 3
    near, far = 1.0, 10.0
    depth = (far + near) / (far - near) * z - 2 * far * near / (far - near)
    return torch.stack([2 * x, 2 * y, depth, z], 1), tri


def soup_clip(count: int, size: float) -> tuple[Tensor, Tensor]:
    """Random triangles of about `size` in NDC around the middle of the picture."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.randn(count, 1, 3, generator=generator) * 0.4
    corner = centre + size * torch.randn(count, 3, 3, generator=generator)
    pos = torch.cat([corner, torch.ones(count, 3, 1)], 2).reshape(-1, 4)
    return pos, torch.arange(3 * count, dtype=torch.int32).reshape(-1, 3)


def _bytes(*tensors: Tensor) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _raster_bytes(pos: Tensor, tri: Tensor, size: Size, outputs: int = 1) -> int:
    """Mesh read for drawing and for resolving, keys written, updated and read, 16 bytes a pixel and output."""
    return 2 * _bytes(pos, tri) + size[0] * size[1] * (24 + 16 * outputs)


def drawing(device: torch.device, faces: list[int], sizes: list[Size]) -> Iterator[Case]:
    for count in faces:
        pos, tri = (t.to(device) for t in sphere_clip(count))
        mixed = tri[torch.randperm(len(tri), generator=torch.Generator().manual_seed(0)).to(device)].contiguous()
        for size in sizes:
            name, floor = f"{count:,} faces, {size[1]} x {size[0]}", _raster_bytes(pos, tri, size)
            yield Case(f"rasterize {name}", lambda p=pos, t=tri, s=size: rasterize(p, t, s), floor)
            yield Case(f"rasterize {name}, shuffled", lambda p=pos, t=mixed, s=size: rasterize(p, t, s), floor)
    for count, spread in ((1000, 0.5), (20_000, 0.1), (200_000, 0.02)) if device.type == "cuda" else ((1000, 0.1),):
        pos, tri = (t.to(device) for t in soup_clip(count, spread))
        for size in sizes:
            name = f"rasterize soup of {count:,}, size {spread}, {size[1]} x {size[0]}"
            yield Case(name, lambda p=pos, t=tri, s=size: rasterize(p, t, s), _raster_bytes(pos, tri, size))


def shading(device: torch.device, faces: int, size: Size, texels: int) -> Iterator[Case]:
    pos, tri = (t.to(device) for t in sphere_clip(faces))
    uv, attr = grid_mesh(faces)[0].to(device), torch.rand(len(pos), 4, device=device)
    name, pixels = f"{faces:,} faces, {size[1]} x {size[0]}", size[0] * size[1]
    rast, db = rasterize(pos, tri, size, grad_db=True)
    out, da = interpolate(uv, rast, tri, db)
    tex = torch.rand(texels, texels, 6, device=device)
    mip = build_mips(tex)
    color = torch.rand(1, *size, 3, device=device)
    topology = antialias_construct_topology_hash(tri)

    def picture() -> Tensor:
        return interpolate(attr, rasterize(pos, tri, size), tri)

    def layers() -> None:
        with DepthPeeler(pos, tri, size) as peeler:
            for _ in range(4):
                peeler.rasterize_next_layer()

    def step() -> None:
        p, a = pos.detach().requires_grad_(), attr.detach().requires_grad_()
        drawn = rasterize(p, tri, size)
        antialias(interpolate(a, drawn, tri), drawn, p, tri, topology).sum().backward()

    def texture_step() -> None:
        leaf = tex.detach().requires_grad_()
        texture(leaf, out, da).sum().backward()

    whole = _raster_bytes(pos, tri, size) + _bytes(attr, tri) + pixels * (16 + 16)
    yield Case(f"rasterize + interpolate 4 attributes, {name}", picture, whole)
    yield Case(f"peel 4 layers, {name}", layers, 4 * _raster_bytes(pos, tri, size) + 4 * 16 * pixels)
    yield Case(
        f"rasterize with derivatives, {name}",
        lambda: rasterize(pos, tri, size, grad_db=True),
        _raster_bytes(pos, tri, size, 2),
    )
    yield Case(
        f"interpolate uv with derivatives, {name}",
        lambda: interpolate(uv, rast, tri, db),
        _bytes(uv, tri, rast, db, out, da),
    )
    yield Case(f"mip chain of {texels}^2 x 6", lambda: build_mips(tex), _bytes(tex) + _bytes(*mip.levels))
    for mode in ("nearest", "linear", "linear-mipmap-linear"):
        # Of the texels only those of the level that is read once: a pixel's worth.
        used = _bytes(out) + 2 * pixels * 24 + (_bytes(da) if "mipmap" in mode else 0)
        yield Case(
            f"texture {texels}^2 x 6, {mode}, {size[1]} x {size[0]}",
            lambda m=mode: texture(tex, out, da, mip=mip, filter_mode=m),
            used,
        )
    yield Case(f"edge neighbours, {faces:,} faces", lambda: antialias_construct_topology_hash(tri), 2 * _bytes(tri))
    yield Case(
        f"antialias 3 channels, {name}",
        lambda: antialias(color, rast, pos, tri, topology),
        2 * _bytes(color) + _bytes(rast, pos, tri, topology),
    )
    yield Case(
        f"forward + backward of rasterize, interpolate 4, antialias, {name}",
        step,
        whole + 2 * _bytes(pos, tri, attr, topology) + pixels * (3 * 16 + 6 * 16),
    )
    yield Case(
        f"forward + backward of texture {texels}^2 x 6 with its mip chain",
        texture_step,
        3 * (_bytes(tex) + _bytes(*mip.levels)) + 2 * _bytes(out, da) + 5 * pixels * 24,
    )


def voxels(device: torch.device) -> Iterator[Case]:
    direction = torch.randn(1_500_000, 3, generator=torch.Generator().manual_seed(0))
    coords = ((direction / direction.norm(dim=1, keepdim=True) * 0.45 + 0.5) * 256).int().unique(dim=0)
    centres, feats = ((coords + 0.5) / 256 - 0.5).to(device), torch.rand(len(coords), 6, device=device)
    extrinsics = torch.eye(4)
    extrinsics[2, 3] = 1.6
    intrinsics = torch.tensor([[1.2, 0, 0.5], [0, 1.2, 0.5], [0, 0, 1]])
    cameras = extrinsics.to(device), intrinsics.to(device)
    renderer = VoxelRenderer({"resolution": 512})
    floor = _bytes(centres) + 512 * 512 * (24 + 8 + 2 * 24)
    yield Case(
        f"VoxelRenderer, {len(coords):,} voxels, 512 x 512",
        lambda: renderer.render(centres, feats, 1 / 256, *cameras),
        floor,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1], help="CPU threads, one run of all cases for each"
    )
    parser.add_argument("--repeats", type=int, default=None, help="timed runs of a case, default 30 on CUDA, 5 on CPU")
    parser.add_argument("--ceiling", type=float, default=None, help="copy rate, TB/s, read + write; 4.3, on CPU 0.01")
    parser.add_argument("--output", type=Path, help="JSON file")
    args = parser.parse_args()
    device = torch.device(args.device)
    cuda = device.type == "cuda"
    ceiling = args.ceiling or (4.3 if cuda else 0.01)
    faces = [100_000, 1_000_000, 4_000_000, 16_000_000] if cuda else [100_000]
    sizes = [(1024, 1024), (2160, 3840)] if cuda else [(512, 512)]
    rows: list[dict[str, Any]] = []
    for threads in [None] if cuda else args.threads:
        if threads:
            os.environ["OVOXEL_NUM_THREADS"] = str(threads)
            print(f"{threads} threads")
        cases = [drawing(device, faces, sizes)]
        if cuda:
            cases += [shading(device, count, (1024, 1024), 2048) for count in (1_000_000, 100_000)]
        else:
            cases.append(shading(device, 100_000, (512, 512), 1024))
        cases.append(voxels(device))
        print(f"{'':<95}{'ms':>10}{'floor ms':>10}{'peak GB':>10}")
        for case in (case for group in cases for case in group):
            time = milliseconds(case.run, device, args.repeats or (30 if cuda else 5), 3 if cuda else 1)
            row = {"case": case.name, "ms": round(time, 4)}
            if threads:
                row["threads"] = threads
            row["floor_ms"] = round(case.floor_bytes / ceiling / 1e9, 4)
            if cuda:
                row["peak_gb"] = round(peak_gigabytes(case.run, device), 3)
            rows.append(row)
            print(
                f"{case.name:<95}{time:>10.3f}{row['floor_ms']:>10.4f}{row.get('peak_gb', float('nan')):>10.2f}",
                flush=True,
            )
    if args.output:
        write_results(args.output, {"machine": machine(device), "ceiling_tb_per_s": ceiling, "rows": rows})


if __name__ == "__main__":
    main()
