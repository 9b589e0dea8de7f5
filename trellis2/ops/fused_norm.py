"""Residual, layer norm and modulation of transformer rows, in one pass over memory where nothing needs gradients.

Letters: T rows, B samples of L rows each, N samples, C channels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor

from . import backends
from .inference import inference_only
from .ragged import expand_rows
from .triton_support import triton_unavailable

__all__ = ["RowSamples", "norm_rows", "residual_norm", "residual_norm_reference", "residual_norm_triton"]

OP = "residual_norm"


class RowSamples(NamedTuple):
    """Which sample a row of a ragged batch belongs to."""

    sample: Tensor  # [T] int64, sample of each row, ascending
    lengths: Tensor  # [N] int64, rows per sample


def _per_row(value: Tensor, x: Tensor, rows: RowSamples | None) -> Tensor:
    """[N, C] so that it broadcasts against x [N, L, C] or [T, C]."""
    if x.ndim == 3:
        return value.unsqueeze(1)
    if value.shape[0] == 1 or rows is None:
        return value
    return expand_rows(value, rows.sample, rows.lengths)


def residual_norm_reference(
    x: Tensor,  # [N, L, C], or [T, C] with `rows`
    branch: Tensor | None,  # as x, or [N, 1, C]
    gate: Tensor | None,  # [N, C]
    weight: Tensor | None,  # [C]
    bias: Tensor | None,  # [C]
    shift: Tensor | None,  # [N, C]
    scale: Tensor | None,  # [N, C]
    rows: RowSamples | None,
    eps: float,
    norm: bool,
) -> tuple[Tensor, Tensor | None]:
    """s = x + gate·branch and layer_norm(s)·weight + bias, ·(1 + scale) + shift; the norm in float32, the rest as x."""
    if branch is not None:
        x = x + (branch if gate is None else _per_row(gate, x, rows) * branch)
    if not norm:
        return x, None
    wide = (None if weight is None else weight.float(), None if bias is None else bias.float())
    h = F.layer_norm(x.float(), x.shape[-1:], *wide, eps).to(x.dtype)
    if scale is not None and shift is not None:
        h = h * _per_row(1 + scale, x, rows) + _per_row(shift, x, rows)
    return x, h


def _branch_rows(x: Tensor, branch: Tensor | None) -> tuple[Tensor | None, bool]:
    """Rows of the branch, [T, C]; or one row a sample, [N, C], if all its rows are the same, and whether that is so."""
    if branch is None:
        return None, False
    if branch.ndim == 3 and x.ndim == 3 and branch.stride(2) == 1 and (branch.shape[1] == 1 or branch.stride(1) == 0):
        return branch[:, 0], True
    if branch.ndim == 2 and branch.stride(0) == 0 and branch.stride(1) == 1:
        return branch[:1], True  # of one sample
    return branch.expand(x.shape).contiguous().view(-1, x.shape[-1]), False


def residual_norm_triton(
    x: Tensor,
    branch: Tensor | None,
    gate: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    shift: Tensor | None,
    scale: Tensor | None,
    rows: RowSamples | None,
    eps: float,
    norm: bool,
) -> tuple[Tensor, Tensor | None]:
    """As the reference; everything in float32, rounded once to the type of x (and the sum before the norm)."""
    from .triton_kernels.residual_norm import launch_residual_norm

    flat = x.contiguous().view(-1, x.shape[-1])
    other, shared = _branch_rows(x, branch)
    per_sample = x.shape[1] if x.ndim == 3 else x.shape[0]
    ragged = rows.sample if rows is not None and x.ndim == 2 and rows.lengths.shape[0] > 1 else None
    vectors = (gate, weight, bias, shift, scale)
    total, out, _ = launch_residual_norm(
        flat, other, *vectors, ragged, per_sample, eps, norm=norm, shared_branch=shared
    )
    return total.view(x.shape), None if out is None else out.view(x.shape)


def residual_norm(
    x: Tensor,  # [N, L, C] dense, or [T, C] ragged
    branch: Tensor | None = None,  # as x, or one row for all: [N, 1, C], [1, C]
    *,
    gate: Tensor | None = None,  # [N, C]
    weight: Tensor | None = None,  # [C]
    bias: Tensor | None = None,  # [C]
    shift: Tensor | None = None,  # [N, C]
    scale: Tensor | None = None,  # [N, C]
    rows: RowSamples | None = None,
    eps: float = 1e-6,
    norm: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Add a gated branch to the residual stream and norm the sum for the next branch.

    Returns s = x + gate·branch (x itself without a branch) and, if `norm`, the layer norm of s over C in float32,
    times weight plus bias, times (1 + scale) plus shift. `rows` is needed for [T, C] with more than one sample.
    Differentiable; the fused backends serve calls that record no gradient.
    """
    tensors = (x, branch, gate, weight, bias, shift, scale)
    run = residual_norm_reference
    if inference_only(*tensors):
        run = backends.selected(OP, x.device).run
    return run(x, branch, gate, weight, bias, shift, scale, rows, eps, norm)


def norm_rows(x: Tensor, branch: Tensor | None = None, **options: Any) -> tuple[Tensor, Tensor]:
    """`residual_norm` with the norm; both results."""
    total, out = residual_norm(x, branch, **options)
    assert out is not None
    return total, out


def _register() -> None:
    backends.register(OP, backends.REFERENCE, lambda device: None, residual_norm_reference)
    backends.register(OP, "triton", triton_unavailable, residual_norm_triton, priority=10)


_register()
