"""Looking at features: colours by principal components, turntables of sparse tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trellis2.representations import Voxel

__all__ = ["pca_color", "vis_sparse_tensor"]


def pca_color(feats: Tensor, channels: Sequence[int] = (0, 1, 2)) -> Tensor:
    """Colours `[N, len(channels)]` in [0, 1] of `feats [N, C]`: left singular vectors, stretched column by column.

    Columns beyond the rank, and constant ones, are 0.5.
    """
    if feats.ndim != 2 or feats.shape[0] == 0:
        raise ValueError(f"feats must be [N, C] with N > 0, got {list(feats.shape)}")
    vectors = torch.linalg.svd(feats.float(), full_matrices=False).U
    columns = []
    for channel in channels:
        if channel >= vectors.shape[1]:
            columns.append(torch.full_like(vectors[:, 0], 0.5))
            continue
        column = vectors[:, channel]
        low, high = column.min(), column.max()
        columns.append((column - low) / (high - low) if high - low > 1e-12 else torch.full_like(column, 0.5))
    return torch.stack(columns, dim=1)


def vis_sparse_tensor(x: Any, num_frames: int = 300, **kwargs: Any) -> list[np.ndarray]:
    """Turntable frames of a sparse tensor of batch size 1 (`x.coords [N, 4]`, `x.feats [N, C]`), coloured by PCA.

    The grid is the next power of two of the largest coordinate. `kwargs` go to `render_video`.
    """
    from .render_utils import render_video

    coords, feats = x.coords, x.feats
    if coords.shape[0] == 0 or int(coords[:, 0].max()) != 0:
        raise ValueError("x must hold exactly one sample with at least one voxel")
    extent = int(coords[:, 1:].max()) + 1
    grid = 1 << max(0, (extent - 1).bit_length())
    colors = pca_color(feats)
    voxel = Voxel([-0.5, -0.5, -0.5], 1 / grid, coords[:, 1:], colors, {"color": slice(0, 3)})
    return render_video(voxel, num_frames=num_frames, colors_overwrite=colors, **kwargs)["color"]
