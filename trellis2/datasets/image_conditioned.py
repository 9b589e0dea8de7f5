"""Datasets with a conditioning image: one or several rendered views an item."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from .base import ItemError, StandardDatasetBase, place_store, transfer
from .cond_image import CropRule, ImageAugmentation, crop_condition, read_rgba, sample_affine, warp
from .latents import SLat, SLatPbr, SLatShape, SparseStructureLatent
from .metadata import Filter, not_null
from .packed import Packed, gather_rows, pack
from .reading import read_parallel

__all__ = [
    "ImageConditionedMixin",
    "ImageConditionedSLat",
    "ImageConditionedSLatPbr",
    "ImageConditionedSLatShape",
    "ImageConditionedSparseStructureLatent",
    "MultiImageConditionedMixin",
    "MultiImageConditionedSLatShape",
    "frame_files",
]

log = logging.getLogger(__name__)


def frame_files(folder: Path) -> list[Path]:
    """Image files of `transforms.json`; ValueError for a path that leaves the folder."""
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    files = []
    for frame in frames:
        name = str(frame["file_path"])
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{folder}/transforms.json: file_path {name!r} leaves the folder")
        files.append(path)
    if not files:
        raise ValueError(f"{folder}/transforms.json lists no frame")
    return files


class ImageConditionedMixin(StandardDatasetBase):
    """Adds `cond`, float32 [B, 3, S, S] in [0, 1]: one view of each item, cropped to the object, on black.

    `crop_rule` "training" is the published loader's crop, "inference" the pipeline's (see `crop_box`).
    `image_margin` is stored around the crop so that `image_augmentation` (zoom, shift, brightness, contrast) has
    something to show there. With `cache` up to `max_views` views an item are kept as uint8.
    """

    VIEW_ARRAYS: ClassVar[tuple[str, ...]] = ("image",)

    def __init__(
        self,
        roots: str | Path | Mapping[str, Any],
        *,
        image_size: int = 518,
        crop_rule: CropRule = "training",
        image_margin: float = 0.0,
        image_augmentation: Mapping[str, float] | None = None,
        max_views: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.image_size = image_size
        self.crop_rule: CropRule = crop_rule
        self.image_margin = image_margin
        self.augmentation = ImageAugmentation.from_spec(image_augmentation)
        self.max_views = max_views
        self._views: Packed | None = None
        self._view_offsets: Tensor | None = None
        super().__init__(roots, **kwargs)
        for folders, _ in self.instances[:1]:
            if "render_cond" not in folders:
                raise ValueError(f"dataset {type(self).__name__} needs the role 'render_cond' in data_dir")

    def derive_roots(self, folder: Path) -> dict[str, Path]:
        return {**super().derive_roots(folder), "render_cond": folder / "renders_cond"}

    def filters(self) -> list[Filter]:
        return [*super().filters(), not_null("cond_rendered", "Cond rendered")]

    @property
    def stored_size(self) -> int:
        """Side of the stored crop in pixels, margin included."""
        return round(self.image_size * (1 + 2 * self.image_margin))

    def read_view(self, path: Path) -> np.ndarray:
        """uint8 [S', S', 3]."""
        return crop_condition(read_rgba(path), self.stored_size, self.crop_rule, self.image_margin)

    def view_files(self, index: int) -> list[Path]:
        folders, sha = self.instances[index]
        files = frame_files(folders["render_cond"] / sha)
        return files if self.max_views is None else files[: self.max_views]

    def _read_all_views(self, index: int) -> dict[str, np.ndarray]:
        views = [self.read_view_arrays(path) for path in self.view_files(index)]
        return {key: np.stack([view[key] for view in views]) for key in views[0]}

    def view_identity(self) -> dict[str, Any]:
        """What the stored views depend on, besides their files and the crop."""
        return {"arrays": self.VIEW_ARRAYS}

    def prepare(self, device: torch.device | str = "cpu") -> None:
        """Fill the stores of items and views."""
        if not self.cache or self._views is not None:
            return
        begin = time.monotonic()
        name = f"views-{self.stored_size}-{self.crop_rule}-{self.image_margin}-{self.max_views}"
        views, good = self.build_store(
            name, self._read_all_views, list(range(len(self))), self.VIEW_ARRAYS, roles=("render_cond",),
            identity=self.view_identity(),
        )  # fmt: skip
        if len(good) < len(self):
            self._keep(good)
        before = [sha for _, sha in self.instances]
        super().prepare(device)
        after = {sha for _, sha in self.instances}
        if len(after) < len(before):
            kept = torch.tensor([i for i, sha in enumerate(before) if sha in after])
            views = gather_rows(views, kept)
        self._views = place_store(views, device, self.cache_device)
        self._view_offsets = self._views.offsets
        log.info("views: %d of %d items, %.2f GB on %s, %.1f s", int(views.seqlen.sum()), len(self),
                 views.nbytes / 1e9, self._views.device, time.monotonic() - begin)  # fmt: skip

    def read_view_arrays(self, path: Path) -> dict[str, np.ndarray]:
        """All arrays kept of one view; `image` is uint8 [S', S', 3]."""
        return {"image": self.read_view(path)}

    def pick_view_arrays(
        self, indices: Sequence[int], picks: Sequence[float], device: torch.device | str
    ) -> dict[str, Tensor]:
        """Arrays [B, ...] of one view an item: of item indices[k], view number floor(picks[k] · its views)."""
        if self._views is not None and self._view_offsets is not None:
            index = torch.as_tensor(indices, dtype=torch.int64)
            count = self._views.seqlen[index]
            pick = (torch.as_tensor(picks, dtype=torch.float64) * count).long()
            rows = self._view_offsets[index] + torch.minimum(pick, count - 1)
            rows_there = rows.to(next(iter(self._views.ragged.values())).device)
            arrays = {key: value.index_select(0, rows_there) for key, value in self._views.ragged.items()}
            return transfer(Packed({}, arrays, torch.ones_like(rows)), device).dense

        def read(k: int) -> dict[str, np.ndarray]:
            files = self.view_files(indices[k])
            return self.read_view_arrays(files[min(int(picks[k] * len(files)), len(files) - 1)])

        results, failed = read_parallel(read, range(len(indices)), min(self.num_workers, len(indices)))
        if failed:
            raise ItemError({indices[k]: message for k, message in failed.items()})
        return transfer(pack([results[k] for k in range(len(indices))], ()), device).dense

    def pick_views(self, indices: Sequence[int], picks: Sequence[float], device: torch.device | str) -> Tensor:
        """uint8 [B, S', S', 3], see `pick_view_arrays`."""
        return self.pick_view_arrays(indices, picks, device)["image"]

    def finish_images(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """uint8 [B, S', S', 3] → float32 [B, 3, S, S] in [0, 1], margin cut off, augmented."""
        x = images.permute(0, 3, 1, 2)  # [B, 3, S', S']
        augmentation = self.augmentation
        if augmentation.scale > 0 or augmentation.shift > 0:
            theta = sample_affine(augmentation, len(x), rng)
            x = warp(x, theta, self.image_size, self.image_margin)
        else:
            border = (self.stored_size - self.image_size) // 2
            x = x[..., border : border + self.image_size, border : border + self.image_size].float()
        x = x / 255
        return adjust_colours(x, augmentation, rng)

    def batch(self, indices: Sequence[int], rng: torch.Generator, device: torch.device | str = "cpu") -> dict[str, Any]:
        out = super().batch(indices, rng, device)
        picks = torch.rand(len(indices), generator=rng, dtype=torch.float64).tolist()
        out["cond"] = self.finish_images(self.pick_views(indices, picks, device), rng)
        return out


def adjust_colours(x: Tensor, augmentation: ImageAugmentation, rng: torch.Generator) -> Tensor:
    """Random brightness and contrast of [B, 3, S, S] in [0, 1]; black background stays black."""
    n = len(x)
    if augmentation.contrast > 0:
        factor = (1 + augmentation.contrast * (2 * torch.rand(n, generator=rng) - 1)).to(x.device).view(n, 1, 1, 1)
        visible = (x.amax(dim=1, keepdim=True) > 0).float()
        mean = (x * visible).sum(dim=(1, 2, 3), keepdim=True) / (3 * visible.sum(dim=(1, 2, 3), keepdim=True) + 1)
        x = ((x - mean) * factor + mean) * visible
    if augmentation.brightness > 0:
        factor = (1 + augmentation.brightness * (2 * torch.rand(n, generator=rng) - 1)).to(x.device)
        x = x * factor.view(n, 1, 1, 1)
    return x.clamp(0, 1)


class MultiImageConditionedMixin(ImageConditionedMixin):
    """`cond` is a list of B tensors [V_i, 3, S, S]: 1 … `max_image_cond_view` views each, drawn with equal chance."""

    def __init__(self, roots: str | Path | Mapping[str, Any], *, max_image_cond_view: int = 4, **kwargs: Any) -> None:
        self.max_image_cond_view = max_image_cond_view
        super().__init__(roots, **kwargs)

    def batch(self, indices: Sequence[int], rng: torch.Generator, device: torch.device | str = "cpu") -> dict[str, Any]:
        out = super(ImageConditionedMixin, self).batch(indices, rng, device)
        owners: list[int] = []
        picks: list[float] = []
        for index in indices:
            total = int(self._views.seqlen[index]) if self._views is not None else len(self.view_files(index))
            count = min(int(torch.randint(1, self.max_image_cond_view + 1, (1,), generator=rng)), total)
            chosen = torch.randperm(total, generator=rng)[:count]  # distinct views
            owners.extend([index] * count)
            picks.extend(((chosen.double() + 0.5) / total).tolist())
        images = self.finish_images(self.pick_views(owners, picks, device), rng)
        counts = [owners.count(index) for index in indices]
        out["cond"] = list(images.split(counts))
        return out


class ImageConditionedSparseStructureLatent(ImageConditionedMixin, SparseStructureLatent):
    """`SparseStructureLatent` with `cond`."""


class ImageConditionedSLat(ImageConditionedMixin, SLat):
    """`SLat` with `cond`."""


class ImageConditionedSLatShape(ImageConditionedMixin, SLatShape):
    """`SLatShape` with `cond`."""


class ImageConditionedSLatPbr(ImageConditionedMixin, SLatPbr):
    """`SLatPbr` with `cond`."""


class MultiImageConditionedSLatShape(MultiImageConditionedMixin, SLatShape):
    """`SLatShape` with several views."""
