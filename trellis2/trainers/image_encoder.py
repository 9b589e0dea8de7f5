"""Training the small image encoder by what its images show; the heads are thrown away afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.loss_utils import dice_loss
from .base import BasicTrainer
from .image_heads import HeadOutputs, ImageEncoderHeads

__all__ = ["ImageEncoderTrainer"]


class ImageEncoderTrainer(BasicTrainer):
    """L = BCE(mask) + λ_pos·|position| + λ_nrm·(1 − cos) + λ_occ·(BCE + dice) + λ_fam·CE, maps on visible cells.

    `heads` are arguments of `ImageEncoderHeads`; its weights are kept in the checkpoints as the model `heads`.
    """

    MODEL_KEYS = ("encoder",)

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        dataset: Any,
        *,
        heads: Mapping[str, Any] | None = None,
        lambda_mask: float = 1.0,
        lambda_position: float = 5.0,
        lambda_normal: float = 1.0,
        lambda_occupancy: float = 1.0,
        lambda_family: float = 0.2,
        **kwargs: Any,
    ) -> None:
        self.weights = {
            "mask": lambda_mask,
            "position": lambda_position,
            "normal": lambda_normal,
            "occupancy": lambda_occupancy,
            "family": lambda_family,
        }
        if "encoder" not in models:
            raise ValueError(f"ImageEncoderTrainer needs a model called 'encoder', got {sorted(models)}")
        encoder = models["encoder"]
        args: dict[str, Any] = {
            "channels": encoder.channels,
            "patch_grid": int(encoder.image_size) // int(encoder.patch_size),  # type: ignore[arg-type]
            "map_size": dataset.map_size,
            "occupancy_resolution": dataset.resolution,
            **(heads or {}),
        }
        device = next(encoder.parameters()).device
        module = ImageEncoderHeads(**args).to(device)
        super().__init__({"encoder": encoder, "heads": module}, dataset, **kwargs)

    def training_losses(self, cond: Tensor, ss: Tensor, **maps: Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        """`cond` [B, 3, S, S], `ss` [B, 1, R, R, R]; `mask`, `position`, `normal` maps; `family` [B]."""
        out: HeadOutputs = self.training_models["heads"](self.training_models["encoder"](cond))
        mask = maps["mask"].float()
        visible = mask.sum().clamp(min=1)
        terms: dict[str, Any] = {}
        terms["mask"] = F.binary_cross_entropy_with_logits(out.mask.float(), mask)
        distance = (out.position.float() - maps["position"]).abs().sum(1, keepdim=True)
        terms["position"] = (distance * mask).sum() / (3 * visible)
        cosine = F.cosine_similarity(out.normal.float(), maps["normal"].float(), dim=1, eps=1e-4)[:, None]
        terms["normal"] = ((1 - cosine) * mask).sum() / visible
        occupancy = out.occupancy.float()
        terms["occupancy"] = F.binary_cross_entropy_with_logits(occupancy, ss) + dice_loss(occupancy.sigmoid(), ss)
        logits = out.family.float()
        known = maps["family"] >= 0
        labels = maps["family"].clamp(min=0, max=logits.shape[1] - 1)
        each = F.cross_entropy(logits, labels, reduction="none", label_smoothing=0.05)
        terms["family"] = (each * known).sum() / known.sum().clamp(min=1)
        terms["loss"] = sum(self.weights[name] * value for name, value in terms.items())
        with torch.no_grad():
            hit, full = occupancy > 0, ss > 0.5
            status = {
                "occupancy_iou": (hit & full).sum() / (hit | full).sum().clamp(min=1),
                "family_accuracy": ((logits.argmax(1) == labels) & known).sum() / known.sum().clamp(min=1),
                "mask_wrong": ((out.mask > 0) != (mask > 0.5)).float().mean(),
            }
        return terms, status

    def run_snapshot(self, num_samples: int, batch_size: int = 4, verbose: bool = False) -> dict[str, Tensor]:
        """`image`, true and predicted positions and normals as colours, true and predicted occupancy."""
        images: dict[str, list[Tensor]] = {}
        for batch in self.snapshot_batches(num_samples, batch_size):
            out = self.models["heads"](self.models["encoder"](batch["cond"]))
            seen, guess = batch["mask"], (out.mask > 0).float()
            drawn = {
                "image": batch["cond"],
                "gt_position": (batch["position"] + 0.5) * seen,
                "pred_position": (out.position.float() + 0.5) * guess,
                "gt_normal": (batch["normal"] * 0.5 + 0.5) * seen,
                "pred_normal": (F.normalize(out.normal.float(), dim=1) * 0.5 + 0.5) * guess,
                "gt_occupancy": self.dataset.visualize_sample(batch["ss"]),
                "pred_occupancy": self.dataset.visualize_sample((out.occupancy > 0).float()),
            }
            for name, value in drawn.items():
                if value.shape[-1] < 64:
                    value = F.interpolate(value, scale_factor=4)
                images.setdefault(name, []).append(value.cpu())
        return {name: torch.cat(parts) for name, parts in images.items()}
