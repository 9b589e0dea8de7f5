"""Convolution whose output channels belong to the children of a voxel, computed for the children that exist.

A convolution to 8·C' channels followed by moving the channels of child s into a row of its own; on a surface about half
of the children exist. Letters: M parents, T children, V taps, Ci input channels, C' channels of a child.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import backends
from .neighborhood import MAX_MASK_TAPS, Neighborhood
from .rows import gather_rows
from .sparse_conv import sparse_conv3d
from .triton_support import triton_unavailable

__all__ = [
    "ELEMENTS",
    "add_child_skip_",
    "add_child_skip_reference",
    "child_cells",
    "sparse_conv3d_children",
    "sparse_conv3d_children_reference",
]

OP = "sparse_conv_children"
OP_SKIP = "child_skip"
ELEMENTS = 1 << 23
"""Values [rows, C] of one chunk of the references, whose wide intermediates exist for one chunk at a time."""


def child_cells(idx: Tensor, subidx: Tensor, num_parents: int) -> Tensor:
    """Parent row idx [T] and place in the parent subidx [T], int64 -> [M, 8] int32 row of each child, −1 if none."""
    cells = torch.full((num_parents * 8,), -1, dtype=torch.int32, device=idx.device)
    cells[idx * 8 + subidx] = torch.arange(idx.shape[0], dtype=torch.int32, device=idx.device)
    return cells.view(num_parents, 8)


def sparse_conv3d_children_reference(
    feats: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    hood: Neighborhood,
    cells: Tensor,
    num_children: int,
    backend: str = "auto",
) -> Tensor:
    """The whole convolution of a chunk of parents at a time, then a gather."""
    channels = weight.shape[0] // 8
    out = feats.new_empty(num_children, channels)
    step = max(1, ELEMENTS // max(1, feats.shape[1]))
    for start in range(0, cells.shape[0], step):
        rows = slice(start, start + step)
        children = cells[rows].reshape(-1)
        places = torch.nonzero(children >= 0).squeeze(1)
        wide = sparse_conv3d(feats, weight, bias, hood[rows], backend=backend).view(
            -1, channels
        )  # [m, 8·C'] -> [8·m, C']
        out[children[places].long()] = gather_rows(wide, places)
    return out


def _run_triton(
    feats: Tensor, weight: Tensor, bias: Tensor | None, hood: Neighborhood, cells: Tensor, num_children: int
) -> Tensor:
    if feats.dtype == torch.float64 or hood.shape[1] > MAX_MASK_TAPS:
        return sparse_conv3d_children_reference(feats, weight, bias, hood, cells, num_children)
    from .triton_conv import conv_children

    return conv_children(feats, weight.flatten(1, 3), bias, hood, cells, num_children)


def sparse_conv3d_children(
    feats: Tensor,  # [M, Ci]
    weight: Tensor,  # [8·C', K1, K2, K3, Ci]
    bias: Tensor | None,  # [8·C']
    hood: Neighborhood,  # of the parents, or some rows [M', V] of it
    cells: Tensor,  # [M, 8] int32 from child_cells, or of those rows [M', 8]
    num_children: int,
    *,
    backend: str = "auto",  # of the convolution, as in sparse_conv3d
) -> Tensor:  # [T, C']
    """Row t: channels s·C' … (s+1)·C' of the convolution at the parent of child t, whose place is s.

    Values only, no gradients. Raises ValueError when shapes or dtypes disagree.
    """
    if feats.ndim != 2 or weight.ndim != 5 or weight.shape[4] != feats.shape[1] or weight.shape[0] % 8:
        raise ValueError(
            "feats must be [M, Ci] and weight [8·C', K1, K2, K3, Ci], "
            f"got {tuple(feats.shape)} and {tuple(weight.shape)}"
        )
    if feats.dtype != weight.dtype:
        raise ValueError(f"feats and weight must have one dtype, got {feats.dtype} and {weight.dtype}")
    volume = weight.shape[1] * weight.shape[2] * weight.shape[3]
    rows = hood.shape[0]
    if hood.num_sources != feats.shape[0] or hood.shape != (rows, volume) or cells.shape != (rows, 8):
        raise ValueError(
            f"hood must be [M', {volume}] into {feats.shape[0]} rows and cells [M', 8], "
            f"got {tuple(hood.shape)} into {hood.num_sources} and {tuple(cells.shape)}"
        )
    with torch.no_grad():
        if backend not in ("auto", "triton"):
            return sparse_conv3d_children_reference(feats, weight, bias, hood, cells, num_children, backend)
        out = backends.selected(OP, feats.device).run(feats, weight, bias, hood, cells, num_children)
        hood.confirm()
    return out


def add_child_skip_reference(out: Tensor, feats: Tensor, parents: Tensor, places: Tensor) -> Tensor:
    """A gather, a repetition and an addition, for a chunk of rows at a time."""
    channels = feats.shape[1] // 8
    blocks = feats.reshape(-1, channels)
    step = max(1, ELEMENTS // max(1, out.shape[1]))
    for start in range(0, out.shape[0], step):
        rows = slice(start, start + step)
        skip = gather_rows(blocks, parents[rows] * 8 + places[rows])
        out[rows] += skip.repeat_interleave(out.shape[1] // channels, dim=1)
    return out


def _skip_triton(out: Tensor, feats: Tensor, parents: Tensor, places: Tensor) -> Tensor:
    from .triton_rows import launch_child_skip

    return launch_child_skip(out, feats, parents, places)


def add_child_skip_(
    out: Tensor,  # [T, C']
    feats: Tensor,  # [M, C]
    parents: Tensor,  # [T] int64
    places: Tensor,  # [T] int64 place in the parent
) -> Tensor:  # [T, C']
    """Add to channel c of child t channel s·C/8 + ⌊c / r⌋ of its parent in place; s its place, r = C' / (C/8).

    Values only. Raises ValueError when the widths do not divide.
    """
    if feats.shape[1] % 8 or out.shape[1] % max(1, feats.shape[1] // 8):
        raise ValueError(f"C must be a multiple of 8 and C/8 divide C', got C={feats.shape[1]}, C'={out.shape[1]}")
    if not out.is_contiguous():
        raise ValueError("out must be contiguous")
    with torch.no_grad():
        return backends.selected(OP_SKIP, out.device).run(out, feats, parents, places)


backends.register(OP_SKIP, "triton", triton_unavailable, _skip_triton, priority=10)
backends.register(OP_SKIP, backends.REFERENCE, lambda device: None, add_child_skip_reference)
backends.register(OP, "triton", triton_unavailable, _run_triton, priority=10)
backends.register(OP, backends.REFERENCE, lambda device: None, sparse_conv3d_children_reference)
