"""Attention inside each sample of a ragged batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ....ops.attention import RaggedIndex, attention
from .. import config
from ..varlen import VarLenTensor

__all__ = ["sparse_scaled_dot_product_attention"]


def _rows(x: VarLenTensor | Tensor) -> tuple[Tensor, RaggedIndex]:
    """Flat rows [T, …] and the ragged index; a dense [N, L, …] tensor is a ragged one of equal lengths."""
    if isinstance(x, VarLenTensor):
        return x.feats, x.ragged_index
    return x.flatten(0, 1), RaggedIndex.build([x.shape[1]] * x.shape[0], x.device)


def sparse_scaled_dot_product_attention(*inputs: VarLenTensor | Tensor, backend: str | None = None) -> Any:
    """Attention of qkv [T, 3, H, D]; or q [T, H, D] with kv [T', 2, H, D]; or q, k, v.

    Each of q and kv is a ragged container or a dense tensor [N, L, …], not both dense. The result is like q.
    backend: see `trellis2.ops.attention`; without one, the chosen one of `sparse.config`.
    """
    backend = config.attn_backend(backend)
    if len(inputs) == 1:
        (qkv,) = inputs
        if not isinstance(qkv, VarLenTensor) or qkv.feats.ndim != 4 or qkv.feats.shape[1] != 3:
            raise ValueError("qkv must be a ragged container with feats [T, 3, H, D]")
        q, k, v = qkv.feats.unbind(1)
        return qkv.replace(attention(q, k, v, qkv.ragged_index, qkv.ragged_index, backend=backend))
    if len(inputs) not in (2, 3):
        raise ValueError(f"expected qkv, or q and kv, or q, k and v; got {len(inputs)} inputs")
    if not any(isinstance(x, VarLenTensor) for x in inputs):
        raise ValueError("at least one of q and kv must be a ragged container; use dense attention otherwise")
    q_in = inputs[0]
    q, q_index = _rows(q_in)
    k, kv_index = _rows(inputs[1])
    if len(inputs) == 2:
        if k.ndim != 4 or k.shape[1] != 2:
            raise ValueError(f"kv must have rows [2, H, D], got {tuple(k.shape[1:])}")
        k, v = k.unbind(1)
    else:
        v = _rows(inputs[2])[0]
    out = attention(q, k, v, q_index, kv_index, backend=backend)
    return q_in.replace(out) if isinstance(q_in, VarLenTensor) else out.view(q_in.shape)
