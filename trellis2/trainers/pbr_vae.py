"""Texture VAE: material attributes on a given voxel structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.loss_utils import kl_divergence
from .base import BasicTrainer
from .rasteriser import require_differentiable_rasteriser

__all__ = ["PbrVaeTrainer"]


class PbrVaeTrainer(BasicTrainer):
    """L = |y − x| (or squared) + λ_kl·KL; the decoder follows the encoder's structure.

    The rendering terms need `lambda_render` > 0 and a differentiable rasteriser.
    """

    MODEL_KEYS = ("encoder", "decoder")
    BALANCED = True

    def __init__(
        self,
        *args: Any,
        loss_type: Literal["l1", "l2"] = "l1",
        lambda_kl: float = 1e-6,
        lambda_ssim: float = 0.2,
        lambda_lpips: float = 0.2,
        lambda_render: float = 1.0,
        render_resolution: int = 1024,
        camera_randomization_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if loss_type not in ("l1", "l2"):
            raise ValueError(f"loss_type must be l1 or l2, got {loss_type!r}")
        self.loss_type = loss_type
        self.lambda_kl = lambda_kl
        self.lambda_ssim = lambda_ssim
        self.lambda_lpips = lambda_lpips
        self.lambda_render = lambda_render
        self.render_resolution = render_resolution
        self.camera_randomization_config = dict(camera_randomization_config or {"radius_range": [2, 100]})
        if lambda_render > 0:
            require_differentiable_rasteriser("lambda_render")
        super().__init__(*args, **kwargs)

    def training_losses(self, x: Any, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """`x` SparseTensor [B, C] in [-1, 1]."""
        z, mean, logvar = self.training_models["encoder"](x, sample_posterior=True, return_raw=True)
        y = self.training_models["decoder"](z)
        prediction, target = y.feats.float(), x.feats.float()
        direct = F.l1_loss(prediction, target) if self.loss_type == "l1" else F.mse_loss(prediction, target)
        kl = kl_divergence(mean.float(), logvar.float())
        terms = {self.loss_type: direct, "kl": kl, "loss": direct + self.lambda_kl * kl}
        return terms, {"voxels": float(len(target)), "tokens": float(len(mean))}

    def run_snapshot(self, num_samples: int, batch_size: int = 4, verbose: bool = False) -> dict[str, Tensor]:
        """`gt_<attribute>` and `pred_<attribute>` views."""
        images: dict[str, list[Tensor]] = {}
        for batch in self.snapshot_batches(num_samples, batch_size):
            y = self.models["decoder"](self.models["encoder"](batch["x"], sample_posterior=False))
            for prefix, sample in (("gt", batch["x"]), ("pred", y)):
                for name, drawn in self.dataset.visualize_sample({"x": sample}).items():
                    images.setdefault(f"{prefix}_{name}", []).append(drawn.cpu())
        return {name: torch.cat(parts) for name, parts in images.items()}
