"""The compiled core of o_voxel: whether it is there, and whether its operations agree with their references."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["core_report"]


def _mesh(device: torch.device) -> tuple[Tensor, Tensor]:
    """A wavy torus, vertices [V, 3] and faces [F, 3]."""
    n, m = 60, 30
    u, v = torch.meshgrid(torch.arange(n) * 2 * torch.pi / n, torch.arange(m) * 2 * torch.pi / m, indexing="ij")
    r = 0.12 + 0.02 * torch.sin(5 * u)
    points = torch.stack([(0.3 + r * v.cos()) * u.cos(), (0.3 + r * v.cos()) * u.sin(), r * v.sin()], -1)
    i, j = torch.meshgrid(torch.arange(n), torch.arange(m), indexing="ij")
    a, b = i * m + j, (i + 1) % n * m + j
    c, d = (i + 1) % n * m + (j + 1) % m, i * m + (j + 1) % m
    faces = torch.cat([torch.stack([a, b, c], -1).reshape(-1, 3), torch.stack([a, c, d], -1).reshape(-1, 3)])
    return points.reshape(-1, 3).float().to(device), faces.int().to(device)


def _nearest(device: torch.device, backend: Any) -> list[Tensor]:
    from o_voxel.mesh import BVH

    points = torch.rand(300, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    return [BVH(*_mesh(device), backend=backend).unsigned_distance(points.to(device)).distance]


_CHECKS: dict[str, Callable[[torch.device, str], list[Tensor]]] = {  # what o_voxel.selftest does not cover
    "distance to a mesh": _nearest,
}
_TOLERANCE = 1e-4
"""Bound on absolute differences of lengths in a unit box."""


def _compare(name: str, device: torch.device) -> dict[str, Any]:
    """Native against reference on one device."""
    check = _CHECKS[name]
    row: dict[str, Any] = {"operation": name, "device": str(device), "state": "ok", "message": "as the reference"}
    try:
        expected = check(torch.device("cpu"), "reference")
        check(device, "native")
        start = time.perf_counter()
        actual = check(device, "native")
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        row["milliseconds"] = (time.perf_counter() - start) * 1e3
    except Exception as error:  # the finding
        line = (str(error).strip() or repr(error)).splitlines()[0]
        return row | {"state": "broken", "message": f"{type(error).__name__}: {line}"}
    for a, b in zip(actual, expected, strict=True):
        if a.shape != b.shape or a.device.type != device.type:
            return row | {"state": "broken", "message": f"shape {tuple(a.shape)} instead of {tuple(b.shape)}"}
        if a.numel() == 0:
            continue
        worst = float((a.cpu().double() - b.cpu().double()).abs().max())
        if not worst <= (_TOLERANCE if a.dtype.is_floating_point else 0):
            return row | {"state": "broken", "message": f"differs from the reference by {worst:.2g}"}
    return row


def _self_tested(device: torch.device, refresh: bool) -> list[dict[str, Any]]:
    """What o_voxel's own self-test says: CUDA kernels against the CPU, the CPU against PyTorch."""
    from o_voxel.selftest import run

    try:
        verdicts = run(device, refresh=refresh)
    except torch.OutOfMemoryError:
        return [{"operation": "self-test", "device": str(device), "state": "untested", "message": "no memory for it"}]
    return [
        {
            "operation": verdict.op.replace("_", " "),
            "device": str(device),
            "state": "ok" if verdict.ok else "broken",
            "message": verdict.note,
        }
        for verdict in verdicts
    ]


def core_report(devices: list[torch.device], quick: bool = False) -> dict[str, Any]:
    """State of the core (`ok`, `absent`, `broken`), whether it holds CUDA code, and the verdicts on its operations.

    quick: believe the verdicts that o_voxel kept.
    """
    from o_voxel._native import native_module

    report: dict[str, Any] = {"state": "ok", "message": "", "with_cuda": False, "checks": []}
    try:
        module = native_module()
    except ImportError as error:
        return report | {"state": "broken", "message": str(error)}
    if module is None:
        return report | {"state": "absent", "message": "the reference path is used"}
    report["with_cuda"] = bool(getattr(module, "with_cuda", False))
    for device in devices:
        if device.type == "cpu" or (device.type == "cuda" and report["with_cuda"]):
            report["checks"] += _self_tested(device, not quick)
            report["checks"] += [_compare(name, device) for name in _CHECKS]
    return report
