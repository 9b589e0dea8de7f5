"""Light smoothing that keeps edges: the staircase and noise of voxels go, features stay, nothing moves far."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from o_voxel._device import cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh import remesh_reference, smooth_reference
from o_voxel.mesh._arrays import ArrayLike, enter_tensors

__all__ = ["smooth_surface"]


def smooth_surface(
    vertices: ArrayLike,  # [V, 3]
    faces: ArrayLike,  # [F, 3]
    *,
    voxel: float,
    rounds: int = 4,
    limit: float = 0.4,
    contrast: float = 0.8,
    backend: Backend = "auto",
) -> ArrayLike:  # [V, 3]
    """Move vertices so that neighbouring faces agree, but for those that clearly do not; connectivity stays.

    In each of `rounds` the normals are averaged over faces with a common corner; those whose unit normals differ by
    `contrast` or more (0.8: 47 degrees) do not mix. No vertex moves by more than `limit` voxels; vertices on rims
    (edges with an odd number of faces) stay. `voxel` is the edge of a voxel in the unit of the vertices.

    Raises ValueError on bad meshes or arguments out of range, TypeError on other kinds of array.
    Y. Zheng et al., Bilateral Normal Filtering for Mesh Denoising, 2011 (with Tukey's weight); X. Sun et al., Fast and
    Effective Feature-Preserving Mesh Denoising, 2007.
    """
    if not voxel > 0:
        raise ValueError(f"voxel must be > 0, got {voxel}")
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 0 <= rounds <= 1000:
        raise ValueError(f"rounds must be an int in [0, 1000], got {rounds!r}")
    if not limit >= 0:
        raise ValueError(f"limit must be >= 0, got {limit}")
    if not 0 < contrast <= 2:
        raise ValueError(f"contrast must lie in (0, 2], got {contrast}")
    mesh = enter_tensors(vertices, faces)
    if len(mesh.faces) == 0 or rounds == 0:
        return mesh.leave_vertices(mesh.vertices)
    return mesh.leave_vertices(_smooth(mesh.vertices.double(), mesh.faces, rounds, limit * voxel, contrast**2, backend))


def _smooth(v: Tensor, f: Tensor, rounds: int, limit: float, limit2: float, backend: Backend) -> Tensor:
    core, suffix, start = _core(v.device, backend)
    rims = remesh_reference if core is smooth_reference else core
    device = v.device
    if device.type != "cpu" and not suffix:
        v, f = v.cpu(), f.cpu()

    def call(name: str, *arguments: Any) -> None:
        getattr(core, f"smooth_{name}{suffix}")(*arguments, start)

    original, v, f = v.contiguous(), v.contiguous(), f.int().contiguous()
    rim = torch.zeros(len(v), dtype=torch.int64, device=v.device)
    getattr(rims, f"remesh_rim_hashes{suffix}")(f, rim, start)
    fixed = (rim != 0).byte()
    order = f.reshape(-1).sort(stable=True)
    starts = torch.searchsorted(order.values, torch.arange(len(v) + 1, device=v.device, dtype=torch.int32)).int()
    ring = (order.indices // 3).int()
    del order, rim
    normals = torch.empty(len(f), 4, dtype=torch.float64, device=v.device)
    filtered, moved = torch.empty_like(normals), torch.empty_like(v)
    for _ in range(rounds):
        call("face_normals", v, f, starts, ring, normals)
        call("filter_normals", v, f, starts, ring, normals, limit2, filtered)
        call("move_vertices", v, f, starts, ring, filtered, original, fixed, limit, moved)
        v, moved = moved, torch.empty_like(moved) if v is original else v
    return v.to(device)


def _core(device: torch.device, backend: Backend) -> tuple[Any, str, Any]:
    """(module, suffix of its functions, what they take last)"""
    if resolve_backend(backend) != "native":
        return smooth_reference, "", None
    if device.type == "cuda" and cuda_core("remeshing", device) is not None:
        return cuda_core(), "_cuda", launch(device)
    return native_module(), "", None
