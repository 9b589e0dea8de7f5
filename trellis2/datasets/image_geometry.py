"""Images with what they show: visible positions and normals, occupancy of the whole object, its family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base import StandardDatasetBase
from .cond_image import crop_box, crop_condition, read_rgba, sample_affine, warp
from .image_conditioned import ImageConditionedMixin, adjust_colours
from .sparse_structure import SparseStructure

__all__ = ["ImageGeometry", "crop_map"]


def crop_map(values: np.ndarray, box: Sequence[int], image_shape: tuple[int, int], size: int) -> np.ndarray:
    """Nearest samples [size, size, ...] of a map [G, G, ...] of the whole image, inside a crop box in pixels.

    Cells whose centre falls outside the image are zero.
    """
    left, top, right, bottom = box
    out = np.zeros((size, size, *values.shape[2:]), dtype=values.dtype)
    columns = left + (np.arange(size) + 0.5) * (right - left) / size  # pixels
    rows = top + (np.arange(size) + 0.5) * (bottom - top) / size
    height, width = image_shape
    inside_r, inside_c = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    r = np.clip((rows * values.shape[0] / height).astype(int), 0, values.shape[0] - 1)
    c = np.clip((columns * values.shape[1] / width).astype(int), 0, values.shape[1] - 1)
    out[...] = values[np.ix_(r, c)]
    out[~inside_r] = 0
    out[:, ~inside_c] = 0
    return out


class ImageGeometry(ImageConditionedMixin, SparseStructure):
    """Batches for training an image encoder.

    `cond` [B, 3, S, S]; maps of G = `map_size` cells a side over the same crop: `mask` [B, 1, G, G] of 0 and 1,
    `position` and `normal` [B, 3, G, G] in the object's frame (zero where nothing is seen); `ss` [B, 1, R, R, R];
    `family` [B] int64, −1 if unknown. Views need `<view>_geo.npz` beside the picture.
    """

    VIEW_ARRAYS = ("image", "position", "normal", "mask")

    def __init__(
        self,
        roots: str | Path | Mapping[str, Any],
        *,
        map_size: int = 32,
        family_column: str = "family",
        **kwargs: Any,
    ) -> None:
        self.map_size = map_size
        self.family_column = family_column
        super().__init__(roots, **kwargs)
        self.families: list[str] = []
        if family_column in self.metadata.columns:
            self.families = sorted(str(v) for v in self.metadata[family_column].dropna().unique())

    @property
    def stored_map_size(self) -> int:
        """Side of the stored maps, margin included."""
        return round(self.map_size * (1 + 2 * self.image_margin))

    def view_identity(self) -> dict[str, Any]:
        return {**super().view_identity(), "map_size": self.map_size}

    def read_view_arrays(self, path: Path) -> dict[str, np.ndarray]:
        rgba = read_rgba(path)
        image = crop_condition(rgba, self.stored_size, self.crop_rule, self.image_margin)
        box = crop_box(rgba[..., 3], self.crop_rule, self.image_margin)
        with np.load(path.with_name(f"{path.stem}_geo.npz"), allow_pickle=False) as data:
            position, normal, mask = data["position"], data["normal"], data["mask"]
        if position.dtype != np.uint16 or normal.dtype != np.uint8 or position.shape != (*mask.shape, 3):
            raise ValueError(f"{path.stem}_geo.npz: expected uint16 position and uint8 normal [G, G, 3], mask [G, G]")
        size, shape = self.stored_map_size, rgba.shape[:2]
        points = (position.astype(np.float32) / 65535 - 0.5).astype(np.float16)
        return {
            "image": image,
            "position": crop_map(points, box, shape, size),
            "normal": crop_map(normal, box, shape, size),
            "mask": crop_map((mask > 127).astype(np.uint8), box, shape, size),
        }

    def _family_ids(self, indices: Sequence[int]) -> Tensor:
        if not self.families:
            return torch.full((len(indices),), -1, dtype=torch.int64)
        values = self.metadata[self.family_column].iloc[list(indices)]
        known = {name: i for i, name in enumerate(self.families)}
        return torch.tensor([known.get(str(v), -1) for v in values], dtype=torch.int64)

    def batch(self, indices: Sequence[int], rng: torch.Generator, device: torch.device | str = "cpu") -> dict[str, Any]:
        out = StandardDatasetBase.batch(self, indices, rng, device)
        picks = torch.rand(len(indices), generator=rng, dtype=torch.float64).tolist()
        arrays = self.pick_view_arrays(indices, picks, device)
        theta = sample_affine(self.augmentation, len(indices), rng)
        cond = warp(arrays["image"].permute(0, 3, 1, 2), theta, self.image_size, self.image_margin) / 255
        out["cond"] = adjust_colours(cond, self.augmentation, rng)
        mask = arrays["mask"][:, None].float()
        position = arrays["position"].permute(0, 3, 1, 2).float()
        normal = (arrays["normal"].permute(0, 3, 1, 2).float() / 255 * 2 - 1) * mask
        maps = warp(torch.cat([mask, position, normal], 1), theta, self.map_size, self.image_margin, mode="nearest")
        out["mask"], out["position"], out["normal"] = maps[:, :1], maps[:, 1:4], maps[:, 4:7]
        out["family"] = self._family_ids(indices).to(device, non_blocking=True)
        return out
