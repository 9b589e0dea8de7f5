"""Flow matching on sparse latents: one noise per token, one time per sample, loss over all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .conditioning import ClassifierFreeGuidanceMixin, ImageConditionedMixin, MultiImageConditionedMixin
from .decoders import load_visual_decoder
from .flow import FlowMatchingCFGTrainer, FlowMatchingTrainer, bin_terms

__all__ = [
    "ImageConditionedSparseFlowMatchingCFGTrainer",
    "MultiImageConditionedSparseFlowMatchingCFGTrainer",
    "SparseFlowMatchingCFGTrainer",
    "SparseFlowMatchingTrainer",
]


class SparseFlowMatchingTrainer(FlowMatchingTrainer):
    """Regresses the velocity of sparse latents `x_0`, SparseTensor of B samples."""

    BALANCED = True
    SNAPSHOT_STEPS = 12

    def training_losses(self, x_0: Any, cond: Any = None, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        batch = x_0.coords[:, 0].long()  # [T]
        feats = x_0.feats.float()
        noise = torch.randn_like(feats)
        t = self.sample_t(x_0.shape[0])
        t_device = t.to(feats.device)
        t_rows = t_device[batch][:, None]  # [T, 1]
        x_t = x_0.replace((1 - t_rows) * feats + self._sigma(t_rows) * noise)
        cond = self.get_cond(cond, **kwargs)
        pred = self.training_models["denoiser"](x_t, t_device * 1000, cond, **kwargs)
        error = (pred.feats.float() - self.get_v(feats, noise)).pow(2)
        mse = error.mean()
        terms: dict[str, Any] = {"mse": mse, "loss": mse}
        rows = error.detach().mean(dim=1)  # [T]
        sums = rows.new_zeros(len(t)).index_add_(0, batch, rows)
        counts = rows.new_zeros(len(t)).index_add_(0, batch, torch.ones_like(rows))
        terms.update(bin_terms(sums / counts.clamp(min=1), t))
        return terms, {"tokens": float(len(feats))}

    def noise_like(self, x_0: Any) -> Any:
        return x_0.replace(torch.randn_like(x_0.feats))

    def draw(self, x_0: Any, concat_cond: Any = None) -> dict[str, Tensor]:
        """Voxel views: decoded voxels where the decoders are found, else the first three latent channels."""
        from ..datasets.projection import draw_voxels

        shape_decoder = load_visual_decoder(
            self.dataset, "slat_dec" if concat_cond is None else "shape_slat_dec", self.device
        )
        if shape_decoder is None or not hasattr(shape_decoder, "head"):
            feats = x_0.feats.float()
            side = int(x_0.coords[:, 1:].max()) + 1
            colours = (feats[:, :3] - feats[:, :3].mean(0)) / (4 * feats[:, :3].std(0).clamp(min=1e-6)) + 0.5
            return {"": draw_voxels(x_0.coords, colours, x_0.shape[0], side)}
        z = _latent(x_0, getattr(self.dataset, "normalization", None))
        if concat_cond is None:
            raw, _ = shape_decoder.decode(z, return_subs=True)
            voxels = shape_decoder.head(raw)[0]  # dual vertices, nominally in [0, 1]
            colours = voxels.feats
        else:
            tex_decoder = load_visual_decoder(self.dataset, "pbr_slat_dec", self.device)
            if tex_decoder is None:
                return {}
            shape = _latent(concat_cond, getattr(self.dataset, "shape_normalization", None))
            voxels = tex_decoder(z, guide_subs=shape_decoder.decode(shape, return_subs=True)[1])
            colours = voxels.feats[:, :3] * 0.5 + 0.5  # base colour
        return {"": draw_voxels(voxels.coords, colours, x_0.shape[0], self.dataset.resolution)}


def _latent(x: Any, normalization: Any) -> Any:
    """A free latent (no cached structure) in the decoder's units."""
    from ..modules.sparse import SparseTensor

    feats = x.feats.float()
    return SparseTensor(feats if normalization is None else normalization.denormalize(feats), x.coords, shape=x.shape)


class SparseFlowMatchingCFGTrainer(ClassifierFreeGuidanceMixin, SparseFlowMatchingTrainer):
    """With condition dropout; snapshots are guided."""

    get_sampler = FlowMatchingCFGTrainer.get_sampler

    def _sampler_args(self) -> dict[str, Any]:
        return {**super()._sampler_args(), "guidance_strength": self.SNAPSHOT_GUIDANCE}


class ImageConditionedSparseFlowMatchingCFGTrainer(ImageConditionedMixin, SparseFlowMatchingCFGTrainer):  # type: ignore[misc]
    """Conditioned on image features."""


class MultiImageConditionedSparseFlowMatchingCFGTrainer(MultiImageConditionedMixin, SparseFlowMatchingCFGTrainer):  # type: ignore[misc]
    """Conditioned on the features of one or several views."""
