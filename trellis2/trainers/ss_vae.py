"""Sparse-structure VAE: occupancy → dense latent → occupancy."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.loss_utils import dice_loss, kl_divergence
from .base import BasicTrainer

__all__ = ["SparseStructureVaeTrainer"]


class SparseStructureVaeTrainer(BasicTrainer):
    """L = occupancy loss + λ_kl·KL.

    `loss_type`: "bce" on logits, "l1" or "dice" on probabilities, or "bce_dice" (their sum; ours).
    """

    MODEL_KEYS = ("encoder", "decoder")

    def __init__(
        self,
        *args: Any,
        loss_type: Literal["bce", "l1", "dice", "bce_dice"] = "bce",
        lambda_kl: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        if loss_type not in ("bce", "l1", "dice", "bce_dice"):
            raise ValueError(f"loss_type must be bce, l1, dice or bce_dice, got {loss_type!r}")
        self.loss_type = loss_type
        self.lambda_kl = lambda_kl
        super().__init__(*args, **kwargs)

    def training_losses(self, ss: Tensor, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """`ss` [B, 1, S, S, S] of 0 and 1."""
        target = ss.float()
        z, mean, logvar = self.training_models["encoder"](target, sample_posterior=True, return_raw=True)
        logits = self.training_models["decoder"](z).float()
        terms: dict[str, Any] = {}
        total: Tensor = torch.zeros((), device=logits.device)
        if "bce" in self.loss_type:
            terms["bce"] = F.binary_cross_entropy_with_logits(logits, target)
            total = total + terms["bce"]
        if self.loss_type == "l1":
            terms["l1"] = F.l1_loss(logits.sigmoid(), target)
            total = total + terms["l1"]
        if "dice" in self.loss_type:
            terms["dice"] = dice_loss(logits.sigmoid(), target)
            total = total + terms["dice"]
        terms["kl"] = kl_divergence(mean.float(), logvar.float())
        terms["loss"] = total + self.lambda_kl * terms["kl"]
        with torch.no_grad():
            hit, full = logits > 0, target > 0.5
            union = (hit | full).sum()
            status = {"iou": (hit & full).sum() / union.clamp(min=1)}
        return terms, status

    def run_snapshot(self, num_samples: int, batch_size: int = 4, verbose: bool = False) -> dict[str, Tensor]:
        """`gt` and `recon` views."""
        gt, recon = [], []
        for batch in self.snapshot_batches(num_samples, batch_size):
            z = self.models["encoder"](batch["ss"].float(), sample_posterior=False)
            gt.append(self.dataset.visualize_sample(batch["ss"]).cpu())
            recon.append(self.dataset.visualize_sample((self.models["decoder"](z) > 0).float()).cpu())
        return {"gt": torch.cat(gt), "recon": torch.cat(recon)}
