"""Layer and group norms computed in float32."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ChannelLayerNorm32", "GroupNorm32", "LayerNorm32", "layer_norm_32"]


def layer_norm_32(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Parameter-free layer norm over the last dim, computed in float32, returned in the type of x."""
    return F.layer_norm(x.float(), x.shape[-1:], eps=eps).to(x.dtype)


class LayerNorm32(nn.LayerNorm):
    """LayerNorm over the last dim in float32; the result has the input's type."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.elementwise_affine:
            return F.layer_norm(x.float(), self.normalized_shape, None, None, self.eps).to(x.dtype)
        bias = None if self.bias is None else self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, self.weight.float(), bias, self.eps).to(x.dtype)


class GroupNorm32(nn.GroupNorm):
    """GroupNorm in float32; the result has the input's type."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.affine:
            return F.group_norm(x.float(), self.num_groups, None, None, self.eps).to(x.dtype)
        return F.group_norm(x.float(), self.num_groups, self.weight.float(), self.bias.float(), self.eps).to(x.dtype)


class ChannelLayerNorm32(LayerNorm32):
    """LayerNorm32 over dim 1 of [N, C, …]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1).contiguous()
