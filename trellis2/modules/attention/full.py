"""Dense attention with packed or separate inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from ...ops.attention import attention
from . import config

__all__ = ["scaled_dot_product_attention"]


def scaled_dot_product_attention(*inputs: Tensor, backend: str | None = None) -> Tensor:
    """Attention of qkv [N, L, 3, H, D]; or q [N, L, H, D] with kv [N, L', 2, H, D]; or q, k, v. -> [N, L, H, D].

    backend: see `trellis2.ops.attention`; without one, the chosen one of `config`.
    """
    if len(inputs) == 1 and inputs[0].ndim == 5 and inputs[0].shape[2] == 3:
        q, k, v = inputs[0].unbind(2)
    elif len(inputs) == 2 and inputs[0].ndim == 4 and inputs[1].ndim == 5 and inputs[1].shape[2] == 2:
        q, (k, v) = inputs[0], inputs[1].unbind(2)
    elif len(inputs) == 3 and all(x.ndim == 4 for x in inputs):
        q, k, v = inputs
    else:
        shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
        raise ValueError(f"expected qkv [N, L, 3, H, D], or q and kv [N, L, 2, H, D], or q, k, v; got {shapes}")
    out = attention(q, k, v, backend=config.attn_backend(backend))
    if config.debug() and not bool(torch.isfinite(out).all()):
        raise ValueError("attention gave values that are not finite")
    return out
