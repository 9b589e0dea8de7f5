"""Conditions of flow trainers: dropping them for guidance, and image features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.dist_utils import local_master_first
from .base import BasicTrainer

__all__ = [
    "ClassifierFreeGuidanceMixin",
    "ImageConditionedMixin",
    "MultiImageConditionedMixin",
    "drop_condition",
    "encode_images",
]


def drop_condition(cond: Any, neg_cond: Any, mask: np.ndarray) -> Any:
    """Replace the samples where `mask` [B] is True by the negative condition; tensors, lists and dicts of them."""
    if isinstance(cond, Mapping):
        return {key: drop_condition(value, neg_cond[key], mask) for key, value in cond.items()}
    if isinstance(cond, Tensor):
        chosen = torch.from_numpy(mask).to(cond.device).view(-1, *[1] * (cond.ndim - 1))
        return torch.where(chosen, neg_cond, cond)
    if isinstance(cond, list):
        return [neg if drop else pos for pos, neg, drop in zip(cond, neg_cond, mask)]
    raise TypeError(f"cond must be a tensor, a list or a mapping, got {type(cond).__name__}")


def encode_images(model: Any, images: Tensor) -> Tensor:
    """Features [B, L, C] of images [B, 3, S, S] in [0, 1], without gradients; bfloat16 inside on CUDA."""
    with torch.no_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
        return model(images).float()


class ClassifierFreeGuidanceMixin(BasicTrainer):
    """Replaces each sample's condition by the negative one with probability `p_uncond`."""

    def __init__(self, *args: Any, p_uncond: float = 0.1, **kwargs: Any) -> None:
        if not 0 <= p_uncond <= 1:
            raise ValueError(f"p_uncond must be in [0, 1], got {p_uncond}")
        self.p_uncond = p_uncond
        super().__init__(*args, **kwargs)

    def get_cond(self, cond: Any, neg_cond: Any = None, **kwargs: Any) -> Any:
        """Condition for training, with dropout."""
        if neg_cond is None:
            raise ValueError("neg_cond is needed for guidance")
        if self.p_uncond > 0:
            first = next(iter(cond.values())) if isinstance(cond, Mapping) else cond
            mask = np.random.rand(len(first)) < self.p_uncond
            cond = drop_condition(cond, neg_cond, mask)
        return cond

    def get_inference_cond(self, cond: Any, neg_cond: Any = None, **kwargs: Any) -> dict[str, Any]:
        """{`cond`, `neg_cond`, forwarded keys} for a sampler."""
        return {"cond": cond, "neg_cond": neg_cond, **kwargs}


class ImageConditionedMixin(BasicTrainer):
    """Turns `cond` images into features. The negative condition is zeros of the same shape.

    `image_cond_model`: {name, args} for `trellis2.models.build_image_cond_model`; built at first use, frozen.
    """

    def __init__(self, *args: Any, image_cond_model: Mapping[str, Any], **kwargs: Any) -> None:
        self.image_cond_spec = dict(image_cond_model)
        self._image_cond_model: Any = None
        super().__init__(*args, **kwargs)

    @property
    def image_cond_model(self) -> Any:
        """The frozen extractor on the trainer's device."""
        if self._image_cond_model is None:
            from ..models import build_image_cond_model

            # constructing draws random numbers: the training stream must not notice, or resuming would shift it
            devices = [self.device] if self.device.type == "cuda" else []
            with local_master_first(), torch.random.fork_rng(devices):
                torch.manual_seed(self.seed)
                model = build_image_cond_model(self.image_cond_spec)
            if isinstance(model, torch.nn.Module):
                model.eval().requires_grad_(False)
            model.to(self.device)
            self._image_cond_model = model
        return self._image_cond_model

    def encode_condition(self, cond: Any) -> Any:
        return encode_images(self.image_cond_model, cond)

    def negative_condition(self, features: Any) -> Any:
        return torch.zeros_like(features)

    def get_cond(self, cond: Any, **kwargs: Any) -> Any:
        features = self.encode_condition(cond)
        return super().get_cond(features, neg_cond=self.negative_condition(features), **kwargs)  # type: ignore[misc]

    def get_inference_cond(self, cond: Any, **kwargs: Any) -> Any:
        features = self.encode_condition(cond)
        negative = self.negative_condition(features)
        return super().get_inference_cond(features, neg_cond=negative, **kwargs)  # type: ignore[misc]

    def vis_cond(self, cond: Any, **_: Any) -> dict[str, Tensor]:
        """The images themselves."""
        return {"image": cond}


class MultiImageConditionedMixin(ImageConditionedMixin):
    """`cond` is a list of [V_i, 3, S, S]; the views' tokens of a sample are concatenated. Negative: one zero token."""

    def encode_condition(self, cond: list[Tensor]) -> list[Tensor]:
        counts = [len(views) for views in cond]
        features = encode_images(self.image_cond_model, torch.cat(cond)).split(counts)
        return [views.flatten(0, 1) for views in features]  # [V_i, L, C] -> [V_i * L, C]

    def negative_condition(self, features: list[Tensor]) -> list[Tensor]:
        return [f.new_zeros(1, f.shape[-1]) for f in features]

    def vis_cond(self, cond: list[Tensor], **_: Any) -> dict[str, Tensor]:
        """2×2 canvas of the first four views."""
        out = []
        for views in cond:
            padded = torch.cat([views[:4], views.new_zeros(max(0, 4 - len(views)), *views.shape[1:])])
            top, bottom = torch.cat([padded[0], padded[1]], dim=-1), torch.cat([padded[2], padded[3]], dim=-1)
            out.append(F.avg_pool2d(torch.cat([top, bottom], dim=-2)[None], 2)[0])
        return {"image": torch.stack(out)}
