"""What the self-test runs: each operation on random input, small and, on a GPU, with more than 2^20 rows.

A case takes a device, a backend and whether to include large input, and returns named tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from o_voxel._native import Backend

__all__ = ["CASES", "Case"]

LARGE = 1 << 20
BOX = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]


@dataclass(frozen=True)
class Case:
    """One operation; `tolerance` bounds the largest absolute difference from the compiled core on the CPU (0: the same
    bits), `reference_tolerance` that of the core on the CPU from PyTorch, whose sums have another order."""

    op: str
    run: Callable[[torch.device, Backend, bool], dict[str, Tensor]]
    tolerance: float = 0.0
    reference_tolerance: float = 1e-3


@cache
def _voxels(count: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """About `count` distinct voxels [N, 3] (in order if they are many), values in [0, 1), flags [N, 3]; on the CPU."""
    generator = torch.Generator().manual_seed(count)
    codes = torch.unique(torch.randint(0, size**3, (count,), generator=generator))
    if count < LARGE:
        codes = codes[torch.randperm(len(codes), generator=generator)]
    coords = torch.stack([codes // size**2, codes // size % size, codes % size], 1).int()
    values = torch.rand(len(codes), 3, generator=generator)
    return coords, values, torch.rand(len(codes), 3, generator=generator) < 0.5


def _sizes(large: bool) -> list[tuple[int, int]]:
    """(voxels, grid size)"""
    return [(1, 4), (3000, 16)] + [(LARGE + 400_000, 140)] * large


def _dual_grid_to_mesh(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.convert import flexible_dual_grid_to_mesh

    results: dict[str, Tensor] = {}
    for count, size in _sizes(large):
        coords, values, flags = (t.to(device) for t in _voxels(count, size))
        weight = values[:, :1] + 0.1
        for form in ("weights", "flatter", "training")[2 * (count > LARGE) :]:
            local, w = values.clone().requires_grad_(), weight.clone().requires_grad_()
            vertices, triangles = flexible_dual_grid_to_mesh(
                coords, local, flags, None if form == "flatter" else w, BOX, grid_size=size, train=form == "training",
                backend=backend,
            )  # fmt: skip
            name = f"{form}, {len(coords)} voxels"
            results |= {f"{name}, vertices": vertices, f"{name}, triangles": triangles}
            inputs = {"local": local, "weight": w} if form == "training" else {"local": local}
            seed = torch.linspace(-1, 1, vertices.numel(), device=device).view_as(vertices)
            for of, gradient in zip(inputs, torch.autograd.grad(vertices, list(inputs.values()), seed), strict=True):
                results[f"{name}, gradient by {of}"] = gradient
    return results


def _sampling(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.sampling import VoxelIndex

    results = {}
    kinds = ((torch.float32, 6), (torch.float16, 16), (torch.bfloat16, 3))
    for count, size in _sizes(large):
        coords, values, _ = (t.to(device) for t in _voxels(count, size))
        index = VoxelIndex(torch.nn.functional.pad(coords, (1, 0)), (size, size, size), backend=backend)
        points = (coords + values * 3 - 1)[None]
        for dtype, channels in kinds[: 1 if count > LARGE else 3]:
            feats = values[:, [0, 1, 2] * 6][:, :channels].to(dtype).requires_grad_()
            for mode in ("trilinear", "nearest"):
                out = index.sample(feats, points, mode)
                name = f"{mode}, {dtype}, {len(coords)} voxels"
                results[name] = out
                results[f"{name}, gradient"] = torch.autograd.grad(out, feats, torch.ones_like(out))[0]
    return results


def _curves(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.serialize import decode_seq, encode_seq

    results: dict[str, Tensor] = {}
    for bits in (10, 21):
        generator = torch.Generator().manual_seed(bits)
        coords = torch.randint(0, 2**bits, (LARGE + 3 if large else 1000, 3), generator=generator).to(device)
        for mode in ("z_order", "hilbert"):
            code = encode_seq(coords, mode=mode, bits=bits, backend=backend)
            results[f"{mode}, {bits} bits"] = code
            results[f"{mode}, {bits} bits, decoded"] = decode_seq(code, mode=mode, bits=bits, backend=backend)
    return results


def _voxel_rendering(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.rasterize import VoxelRenderer

    results: dict[str, Tensor] = {}
    extrinsics = torch.eye(4)
    extrinsics[2, 3] = 1.5
    intrinsics = torch.tensor([[1.0, 0, 0.5], [0, 1.0, 0.5], [0, 0, 1]])
    for (count, size), edge in zip(_sizes(large), (0.2, 0.05, 0.005)):
        values = _voxels(count, size)[1].to(device)
        picture = VoxelRenderer({"resolution": 64 + 128 * large}).render(
            values - 0.5, values, edge, extrinsics, intrinsics, backend=backend
        )
        results |= {f"{name}, {len(values)} voxels": picture[name] for name in ("attr", "depth", "alpha")}
    return results


def _surface(large: bool) -> tuple[Tensor, Tensor]:
    """Vertices and faces of a bumpy torus: 12 288 triangles, or 768."""
    return _torus(96, 64) if large else _torus(24, 16)


def _torus(rings: int, sides: int) -> tuple[Tensor, Tensor]:
    """Vertices and faces of a bumpy torus of 2 rings sides triangles."""
    i, j = torch.meshgrid(torch.arange(rings), torch.arange(sides), indexing="ij")
    u, v = i / rings * 2 * torch.pi, j / sides * 2 * torch.pi
    radius = 0.12 + 0.02 * torch.sin(7 * u) * torch.cos(5 * v)
    ring = 0.28 + radius * torch.cos(v)
    vertices = torch.stack([ring * torch.cos(u), ring * torch.sin(u), radius * torch.sin(v)], -1).reshape(-1, 3)
    corner = [(a % rings) * sides + b % sides for a, b in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))]
    faces = torch.stack([torch.stack([corner[k] for k in t], -1) for t in ((0, 1, 2), (0, 2, 3))])
    return vertices, faces.reshape(-1, 3).int()


def _mesh_to_dual_grid(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.convert import mesh_to_flexible_dual_grid
    from o_voxel.serialize import encode_seq

    vertices, faces = (t.to(device) for t in _surface(large))
    size = 400 if large else 24
    coords, dual, flags = mesh_to_flexible_dual_grid(
        vertices, faces, None, size, BOX, 1.0, 0.2, 1e-2, backend=backend
    )  # fmt: skip
    order = encode_seq(coords, backend=backend).argsort()
    return {"voxels": coords[order], "dual vertices": dual[order] * size, "flags": flags[order]}


def _volumetric_attributes(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.convert import textured_mesh_to_volumetric_attr
    from o_voxel.convert.materials import Material, Texture, TexturedTriangles
    from o_voxel.serialize import encode_seq

    vertices, faces = _surface(large)
    triangles = vertices[faces.long()]  # [T, 3, 3]
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (64, 96, 3), generator=generator, dtype=torch.uint8).numpy()
    source = TexturedTriangles(
        triangles=triangles.numpy(),
        normals=torch.nn.functional.normalize(triangles, dim=-1).numpy(),
        uvs=(triangles[..., :2] * 3).contiguous().numpy(),
        colors=torch.zeros(0, 3, 4).numpy(),
        material_ids=torch.zeros(len(triangles), dtype=torch.int32).numpy(),
        materials=[Material(metallic=0.3, textures={"base_color": Texture(image, srgb=True)})],
    )
    coords, attrs = textured_mesh_to_volumetric_attr(
        source, None, 400 if large else 24, BOX, device=device, backend=backend
    )  # fmt: skip
    order = encode_seq(coords, backend=backend).argsort()
    return {"voxels": coords[order]} | {name: value[order].int() for name, value in attrs.items()}


def _triangle_rasterizing(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.rasterize import interpolate, rasterize, texture

    vertices, faces = (t.to(device) for t in _surface(large))
    depth = vertices[:, 2:] + 1.5  # a camera that looks along z
    clip = torch.cat([vertices[:, :2] * 3, depth - 1, depth], 1)
    size = (300, 400) if large else (30, 40)
    picture = rasterize(clip, faces, size, backend=backend)
    at = interpolate(vertices + 0.5, picture, faces, backend=backend)
    image = torch.rand(32, 48, 3, generator=torch.Generator().manual_seed(0)).to(device)
    return {"picture": picture, "attributes": at, "texture": texture(image, at[..., :2].contiguous(), backend=backend)}


def _mesh_bvh(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.mesh import BVH

    vertices, faces = (t.to(device) for t in _surface(large))
    results: dict[str, Tensor] = {}
    for dtype in (torch.float32, torch.float64):
        mesh = vertices.to(dtype) * (1 if dtype == torch.float32 else 1.1)
        bvh = BVH(mesh, faces, backend=backend)
        generator = torch.Generator().manual_seed(0)
        points = (torch.rand(20_000 if large else 200, 3, generator=generator, dtype=dtype) - 0.5).to(device)
        aims = (torch.rand(points.shape, generator=generator, dtype=dtype) - 0.5).to(device) - points
        distance, face, uvw = bvh.nearest(points, normals=aims, min_cos=-0.5)
        hit = bvh.ray_trace(points, aims)
        found = {"distance": bvh.nearest(points)[0], "filtered": distance, "depth": hit.depth}
        if backend == "native":  # brute force breaks ties at edges by other roundings
            found |= {"face": face, "weights": uvw, "hit": hit.face_id, "hits": bvh.count_hits(points, aims)}
        results |= {f"{name}, {dtype}": value.nan_to_num(posinf=9.0) for name, value in found.items()}
    return results


def _mesh_components(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.mesh.components import connected_components, parity_components

    generator = torch.Generator().manual_seed(0)
    results = {}
    for n in (10, 5000) + (LARGE,) * large:
        pairs = torch.randint(0, n, (n * 2 // 5, 2), generator=generator).to(device)
        near = torch.stack([pairs[:, 0], (pairs[:, 0] + 1) % n], dim=1)
        pairs = torch.cat([pairs, near])
        results[f"{n} nodes"] = connected_components(n, pairs, backend=backend)
        differ = (torch.rand(len(pairs), generator=generator) < 0.5).to(device)
        colours = parity_components(n, pairs, differ, backend=backend)
        results |= {
            f"{n} nodes, {name}": value.long() for name, value in zip(("labels", "colours", "conflicts"), colours)
        }
    return results


def _simplification(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.mesh import face_areas, simplify

    if not large:  # the heap: ties may fall another way, so only what must agree is compared
        r = simplify(*_torus(24, 16), 200, backend=backend)
        return {"faces": torch.tensor(len(r.faces)), "area": face_areas(r.vertices, r.faces).sum()}
    results: dict[str, Tensor] = {}
    for rings, sides in ((24, 16), (600, 400)):
        v, f = (t.to(device) for t in _torus(rings, sides))
        f = torch.cat([f[: len(f) // 2], f[len(f) // 2 + 7 :], f[:3, [0, 1, 0]]])  # a gap, and degenerate faces
        r = simplify(v, f, rings * sides // 4 + 1, method="rounds", backend=backend)
        name = f"{len(f)} faces"
        results |= {f"{name}, vertices": r.vertices, f"{name}, left": r.faces, f"{name}, source": r.vertex_source}
    return results


def _remeshing(device: torch.device, backend: Backend, large: bool) -> dict[str, Tensor]:
    from o_voxel.mesh.remesh_surface import remesh_solid
    from o_voxel.mesh.shells import find_shells

    vertices, faces = (t.to(device) for t in _surface(large))
    voxel = 1 / 200 if large else 1 / 8
    opened = faces[len(faces) // 8 :]  # a torus with a gap, once closed and once as a plate
    results: dict[str, Tensor] = {}
    for name, part, gap in (("closed", faces, 0.0), ("plate", opened, 2.0)):
        remeshed = remesh_solid(vertices.double(), part, voxel, gap=gap, backend=backend)
        view = find_shells(vertices, part, voxel, gap=gap, backend=backend).view
        results |= {f"{name}, vertices": remeshed.vertices / voxel, f"{name}, faces": remeshed.faces}
        results |= {f"{name}, seen": view.seen.int(), f"{name}, votes": view.votes}
    return results


CASES = (
    Case("dual_grid_to_mesh", _dual_grid_to_mesh),
    Case("sampling", _sampling),
    Case("curves", _curves),
    Case("voxel_rendering", _voxel_rendering),
    Case("mesh_to_dual_grid", _mesh_to_dual_grid, tolerance=1e-3, reference_tolerance=5e-2),  # voxels
    Case("volumetric_attributes", _volumetric_attributes, tolerance=1, reference_tolerance=1),  # of 255
    Case("triangle_rasterizing", _triangle_rasterizing, tolerance=1e-4),
    Case("remeshing", _remeshing, tolerance=1e-6),  # voxels
    Case("mesh_bvh", _mesh_bvh),
    Case("mesh_components", _mesh_components),
    Case("simplify", _simplification, reference_tolerance=5e-3),  # of the area
)
