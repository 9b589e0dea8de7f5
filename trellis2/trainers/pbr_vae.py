"""Texture VAE: material attributes on a given voxel structure, supervised on voxels and on rendered pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.loss_utils import kl_divergence
from .attribute_rendering import look_at_surface, read_voxels, textured_attributes
from .base import BasicTrainer
from .rendering import draw_cameras, picture_terms, read_radius_range, require_lpips

__all__ = ["PbrVaeTrainer"]

ATTRIBUTES = ("base_color", "metallic", "roughness", "alpha")  # in the order of `textured_attributes`


class PbrVaeTrainer(BasicTrainer):
    """L = |y − x| (or squared) + λ_kl·KL; the decoder follows the encoder's structure.

    With `lambda_render` > 0 the true mesh (the dataset's `pbr_dump`) is seen from one random camera a sample, once with
    its textures and once with the decoded voxels: + λ_render·Σ (λ_ssim·(1 − SSIM) + λ_lpips·LPIPS) over the pictures of
    base colour and of metallic, roughness and alpha as three channels. LPIPS needs the package `lpips`.
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
        self.radius_range = read_radius_range(camera_randomization_config)
        if lambda_render > 0:
            require_lpips(lambda_lpips)
        super().__init__(*args, **kwargs)
        if lambda_render > 0:
            self.dataset.require_meshes("lambda_render > 0")
            missing = [name for name in ATTRIBUTES if name not in self.dataset.layout]
            if missing:
                raise ValueError(f"lambda_render > 0 needs dataset.attrs with {', '.join(missing)}")

    def training_losses(self, x: Any, mesh: list[Any] | None = None, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """`x` SparseTensor [B, C] in [-1, 1]; `mesh` the textured truth, for rendering."""
        z, mean, logvar = self.training_models["encoder"](x, sample_posterior=True, return_raw=True)
        y = self.training_models["decoder"](z)
        prediction, target = y.feats.float(), x.feats.float()
        direct = F.l1_loss(prediction, target) if self.loss_type == "l1" else F.mse_loss(prediction, target)
        kl = kl_divergence(mean.float(), logvar.float())
        terms = {self.loss_type: direct, "kl": kl}
        total = direct + self.lambda_kl * kl
        if self.lambda_render > 0:
            assert mesh is not None
            rendered = self._render_terms(y, mesh)
            terms |= rendered
            weights = {"ssim": self.lambda_ssim, "lpips": self.lambda_lpips}
            for key, value in rendered.items():
                total = total + self.lambda_render * weights[key.rsplit("/", 1)[1]] * value
        terms["loss"] = total
        return terms, {"voxels": float(len(target)), "tokens": float(len(mean))}

    def _render_terms(self, y: Any, meshes: list[Any]) -> dict[str, Tensor]:
        """Terms of pictures of the true surfaces, with their textures and with the decoded voxels."""
        cameras = draw_cameras(len(meshes), self.radius_range)
        columns = [i for name in ATTRIBUTES for i in range(*self.dataset.layout[name].indices(y.feats.shape[1]))]
        drawn, expected = [], []
        with torch.autocast(y.feats.device.type, enabled=False):
            for mesh, camera, rows in zip(meshes, cameras, y.layout):
                surface = look_at_surface(mesh, camera, self.render_resolution)
                expected.append(textured_attributes(mesh, surface))
                values = y.feats[rows].float()[:, columns] * 0.5 + 0.5
                drawn.append(read_voxels(y.coords[rows, 1:], values, self.dataset.resolution, surface))
            a, b = torch.stack(drawn), torch.stack(expected)
            weights = {"ssim": self.lambda_ssim, "lpips": self.lambda_lpips}
            terms = {}
            for name, part in (("base_color", slice(0, 3)), ("mra", slice(3, 6))):
                for kind, value in picture_terms(a[:, part], b[:, part], weights).items():
                    terms[f"render/{name}/{kind}"] = value
        return terms

    def run_snapshot(self, num_samples: int, batch_size: int = 4, verbose: bool = False) -> dict[str, Tensor]:
        """`gt_<attribute>` and `pred_<attribute>` views."""
        images: dict[str, list[Tensor]] = {}
        for batch in self.snapshot_batches(num_samples, batch_size):
            y = self.models["decoder"](self.models["encoder"](batch["x"], sample_posterior=False))
            for prefix, sample in (("gt", batch["x"]), ("pred", y)):
                for name, drawn in self.dataset.visualize_sample({"x": sample}).items():
                    images.setdefault(f"{prefix}_{name}", []).append(drawn.cpu())
        return {name: torch.cat(parts) for name, parts in images.items()}
