"""Interpolation of vertex attributes in plain PyTorch: what `o_voxel.rasterize.interpolate` computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["interpolate_reference"]


def interpolate_reference(
    attr: Tensor,  # [B or 1, V, C] float
    rast: Tensor,  # [B, H, W, 4]; the last channel is not read
    tri: Tensor,  # [F, 3] integer
    face: Tensor,  # [B, H, W] int64, visible triangle, -1 where empty
    rast_db: Tensor | None = None,  # [B, H, W, 4]
    diff_attrs: Sequence[int] = (),  # K channels
) -> tuple[Tensor, Tensor]:  # [B, H, W, C], [B, H, W, 2 K]
    """`u a_0 + v a_1 + (1 - u - v) a_2` and, per channel of `diff_attrs`, its (d/dX, d/dY); 0 where empty.

    Differentiable in `attr`, `rast` and `rast_db`. Raises ValueError if a visible triangle has a bad index.
    """
    num_vertices, channels = attr.shape[1:]
    b, row, column = at = (face >= 0).nonzero(as_tuple=True)
    if b.numel() and int(face.max()) >= tri.shape[0]:
        raise ValueError(f"tri has {tri.shape[0]} rows but rast shows triangle {int(face.max())}")
    corner = tri.to(face.device, torch.int64)[face[at]]  # [P, 3]
    if corner.numel() and (int(corner.min()) < 0 or int(corner.max()) >= num_vertices):
        raise ValueError(f"tri must hold indices in 0..{num_vertices - 1} for every visible triangle")
    a0, a1, a2 = attr[b[:, None] if attr.shape[0] > 1 else 0, corner].unbind(1)  # [P, C] each
    u, v = rast[at][:, :2].to(attr.dtype).split(1, 1)
    value = u * a0 + v * a1 + (1 - u - v) * a2
    out = attr.new_zeros(*face.shape, channels).index_put(at, value)
    if rast_db is None:
        return out, attr.new_zeros(*face.shape, 0)
    chosen = torch.as_tensor(list(diff_attrs), dtype=torch.int64, device=attr.device)
    db = rast_db[at].to(attr.dtype)  # (du/dX, du/dY, dv/dX, dv/dY)
    to_u, to_v = (a0 - a2)[:, chosen, None], (a1 - a2)[:, chosen, None]  # [P, K, 1]
    slope = db[:, None, :2] * to_u + db[:, None, 2:] * to_v  # [P, K, 2]
    return out, attr.new_zeros(*face.shape, 2 * len(chosen)).index_put(at, slope.reshape(len(b), 2 * len(chosen)))
