"""Shape VAE on flexible dual grids, supervised on voxels and on rendered pictures of the decoded meshes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..utils.loss_utils import kl_divergence
from .base import BasicTrainer
from .rendering import draw_cameras, picture_terms, read_radius_range, require_lpips, stack_geometry

__all__ = ["DirectDecoder", "ShapeVaeTrainer", "shape_vae_total"]


class DirectDecoder(nn.Module):
    """A shape decoder without mesh extraction: what the direct losses need."""

    decoder: Any

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Any) -> tuple[Any, Any, list[Any], list[Any]]:
        """(dual vertices, edge logits, true child occupancy, its logits); the last two coarsest first."""
        raw, subs_gt, subs = self.decoder.decode(z)
        vertices, logits, _ = self.decoder.head(raw)
        return vertices, logits, subs_gt, subs


def shape_vae_total(terms: Mapping[str, Any], weights: Mapping[str, float]) -> Any:
    """Weighted sum of the terms of a step.

    `terms` holds `direct/...`, `bce_sub<i>`, `render/...`, `kl` as flat keys; missing ones count as zero.
    """
    total = weights["kl"] * terms["kl"]
    total = total + weights["intersected"] * terms.get("direct/intersected", 0.0)
    total = total + weights["vertice"] * terms.get("direct/vertice", 0.0)
    for key, value in terms.items():
        if key.startswith("bce_sub"):
            total = total + weights["subdiv"] * value
    total = total + weights["mask"] * terms.get("render/mask", 0.0)
    total = total + weights["depth"] * terms.get("render/depth", 0.0)
    normal = terms.get("render/normal/l1", 0.0)
    normal = normal + weights["ssim"] * terms.get("render/normal/ssim", 0.0)
    normal = normal + weights["lpips"] * terms.get("render/normal/lpips", 0.0)
    return total + weights["normal"] * normal


class ShapeVaeTrainer(BasicTrainer):
    """L = λ_int·BCE(flags) + λ_vert·MSE(dual vertices) + λ_sub·Σ BCE(children) + rendering terms + λ_kl·KL.

    Rendering terms, where one of `lambda_mask`, `lambda_depth`, `lambda_normal` is positive: each sample's mesh and the
    true one (the dataset's `mesh_dump`) from one random camera at `render_resolution`; L1 of coverage, depth and
    normals, and of the normals λ_ssim·(1 − SSIM) + λ_lpips·LPIPS (which needs the package `lpips`).
    """

    MODEL_KEYS = ("encoder", "decoder")
    BALANCED = True

    def __init__(
        self,
        *args: Any,
        lambda_subdiv: float = 0.1,
        lambda_intersected: float = 0.1,
        lambda_vertice: float = 0.01,
        lambda_mask: float = 1.0,
        lambda_depth: float = 10.0,
        lambda_normal: float = 1.0,
        lambda_kl: float = 1e-6,
        lambda_ssim: float = 0.2,
        lambda_lpips: float = 0.2,
        render_resolution: int = 1024,
        camera_randomization_config: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.weights = {
            "subdiv": lambda_subdiv,
            "intersected": lambda_intersected,
            "vertice": lambda_vertice,
            "mask": lambda_mask,
            "depth": lambda_depth,
            "normal": lambda_normal,
            "kl": lambda_kl,
            "ssim": lambda_ssim,
            "lpips": lambda_lpips,
        }
        self.render_resolution = render_resolution
        self.radius_range = read_radius_range(camera_randomization_config)
        asked = [f"lambda_{name}" for name in ("mask", "depth", "normal") if self.weights[name] > 0]
        self.renders = bool(asked)
        if self.weights["normal"] > 0:
            require_lpips(lambda_lpips)
        super().__init__(*args, **kwargs)
        if self.renders:
            self.dataset.require_meshes(" or ".join(asked) + " > 0")

    def training_module(self, key: str, model: nn.Module) -> Any:
        return DirectDecoder(model) if key == "decoder" and not self.renders else model

    def training_losses(
        self, vertices: Any, intersected: Any, mesh: list[Any] | None = None, **_: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """`vertices` [R, 3] in [0, 1] and `intersected` [R, 3] bool, row-aligned SparseTensors; `mesh` the truth."""
        z, mean, logvar = self.training_models["encoder"](vertices, intersected, sample_posterior=True, return_raw=True)
        decoder = self.training_models["decoder"]
        if self.renders:
            meshes, pred_vertices, pred_flags, subs_gt, subs = decoder(z, intersected)
        else:
            pred_vertices, pred_flags, subs_gt, subs = decoder(z)
        flags = intersected.feats.float()
        terms: dict[str, Any] = {}
        if self.weights["intersected"] > 0:
            terms["direct/intersected"] = F.binary_cross_entropy_with_logits(pred_flags.feats.float(), flags)
        if self.weights["vertice"] > 0:
            terms["direct/vertice"] = F.mse_loss(pred_vertices.feats.float(), vertices.feats.float())
        for i, (target, logits) in enumerate(zip(subs_gt, subs)):
            terms[f"bce_sub{i}"] = F.binary_cross_entropy_with_logits(logits.feats.float(), target.feats.float())
        if self.renders:
            assert mesh is not None
            terms.update(self._render_terms(meshes, mesh))
        terms["kl"] = kl_divergence(mean.float(), logvar.float())
        terms["loss"] = shape_vae_total(terms, self.weights)
        with torch.no_grad():
            status: dict[str, Any] = {
                "flags_wrong": ((pred_flags.feats > 0) != intersected.feats.bool()).float().mean(),
                "voxels": float(len(flags)),
                "tokens": float(len(mean)),
                "latent_std": mean.float().std(),
            }
            if subs:
                wrong = (subs[-1].feats > 0) != subs_gt[-1].feats.bool()
                status["finest_sub_wrong"] = wrong.float().mean()
        return terms, status

    def _render_terms(self, meshes: list[Any], truth: list[Any]) -> dict[str, Tensor]:
        """Terms of the pictures of decoded and true meshes from one random camera a sample."""
        cameras = draw_cameras(len(meshes), self.radius_range)
        with torch.no_grad():
            expected = stack_geometry(truth, cameras, self.render_resolution)
        with torch.autocast(expected.device.type, enabled=False):
            drawn = stack_geometry(meshes, cameras, self.render_resolution)
            terms = {}
            if self.weights["mask"] > 0:
                terms["render/mask"] = F.l1_loss(drawn[:, 0], expected[:, 0])
            if self.weights["depth"] > 0:
                terms["render/depth"] = F.l1_loss(drawn[:, 1], expected[:, 1])
            if self.weights["normal"] > 0:
                normals, true_normals = drawn[:, 2:], expected[:, 2:]
                terms["render/normal/l1"] = F.l1_loss(normals, true_normals)
                for name, value in picture_terms(normals, true_normals, self.weights).items():
                    terms[f"render/normal/{name}"] = value
        return terms

    def run_snapshot(self, num_samples: int, batch_size: int = 4, verbose: bool = False) -> dict[str, Tensor]:
        """`gt`, `rec` (true structure) and `rec2` (structure as predicted) voxel views."""
        from ..modules.sparse import SparseTensor

        encoder, decoder = self.models["encoder"], self.models["decoder"]
        images: dict[str, list[Tensor]] = {"gt": [], "rec": [], "rec2": []}
        for batch in self.snapshot_batches(num_samples, batch_size):
            vertices = batch["vertices"]
            images["gt"].append(self.dataset.visualize_sample(batch).cpu())
            z = encoder(vertices, batch["intersected"], sample_posterior=False)
            free = SparseTensor(z.feats, z.coords, shape=z.shape)
            for name, latent in (("rec", z), ("rec2", free)):
                decoded = decoder.decode(latent)
                raw = decoded[0] if isinstance(decoded, tuple) else decoded
                offsets = decoder.head(raw)[0]
                images[name].append(self.dataset.visualize_sample({"vertices": offsets}).cpu())
        return {name: torch.cat(parts) for name, parts in images.items()}
