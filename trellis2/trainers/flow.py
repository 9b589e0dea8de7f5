"""Flow matching on dense latents.

x_t = (1 − t)·x_0 + (σ + (1 − σ)t)·ε, velocity v = (1 − σ)·ε − x_0, σ = sigma_min; the network sees 1000·t.
Source: Lipman et al., Flow Matching for Generative Modeling, 2023; logit-normal times: Esser et al., 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .base import BasicTrainer
from .conditioning import ClassifierFreeGuidanceMixin, ImageConditionedMixin
from .decoders import load_visual_decoder

__all__ = [
    "FlowMatchingCFGTrainer",
    "FlowMatchingTrainer",
    "ImageConditionedFlowMatchingCFGTrainer",
    "bin_terms",
    "sample_times",
]

_TIME_SCHEDULES = {"uniform": set(), "logitNormal": {"mean", "std"}}


def check_t_schedule(spec: Mapping[str, Any]) -> dict[str, Any]:
    """{name, args} with name uniform or logitNormal; ValueError otherwise."""
    name, args = spec.get("name"), dict(spec.get("args", {}))
    if name not in _TIME_SCHEDULES:
        raise ValueError(f"t_schedule.name must be one of {', '.join(_TIME_SCHEDULES)}, got {name!r}")
    unknown = sorted(set(args) - _TIME_SCHEDULES[name])
    if unknown:
        raise ValueError(f"t_schedule.args: unknown key {unknown[0]!r} for {name}")
    return {"name": name, "args": args}


def sample_times(spec: Mapping[str, Any], count: int) -> Tensor:
    """[B] float32 times in [0, 1] from numpy's generator: U[0, 1) or sigmoid(mean + std·N(0, 1))."""
    if spec["name"] == "uniform":
        return torch.from_numpy(np.random.rand(count).astype(np.float32))
    args = spec["args"]
    z = args.get("mean", 0.0) + args.get("std", 1.0) * np.random.randn(count)
    return torch.from_numpy((1 / (1 + np.exp(-z))).astype(np.float32))


def bin_terms(mse: Tensor, t: Tensor, num_bins: int = 10) -> dict[str, dict[str, Tensor]]:
    """Mean of per-sample losses [B] in each tenth of t (CPU tensor [B]); empty bins are absent."""
    index = (t.double() * num_bins).long()  # [B]
    index = torch.where(index < num_bins, index, torch.full_like(index, num_bins))  # t = 1 is not binned
    where = index.to(mse.device, non_blocking=True)
    sums = mse.new_zeros(num_bins + 1).index_add_(0, where, mse)
    counts = torch.bincount(index, minlength=num_bins + 1).tolist()
    return {f"bin_{i}": {"mse": sums[i] / counts[i]} for i in range(num_bins) if counts[i] > 0}


class FlowMatchingTrainer(BasicTrainer):
    """Regresses the velocity of dense latents `x_0` [B, C, S, S, S]."""

    MODEL_KEYS = ("denoiser",)
    SNAPSHOT_STEPS = 50
    SNAPSHOT_GUIDANCE = 3.0

    def __init__(
        self,
        *args: Any,
        t_schedule: Mapping[str, Any] | None = None,
        sigma_min: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        self.t_schedule = check_t_schedule(t_schedule or {"name": "logitNormal", "args": {"mean": 0.0, "std": 1.0}})
        self.sigma_min = sigma_min
        super().__init__(*args, **kwargs)

    # --- process ----------------------------------------------------------------------------------------------------

    def _sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min + (1 - self.sigma_min) * t

    def diffuse(self, x_0: Tensor, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """x_t for t [B]."""
        noise = torch.randn_like(x_0) if noise is None else noise
        t = t.view(-1, *[1] * (x_0.ndim - 1))
        return (1 - t) * x_0 + self._sigma(t) * noise

    def reverse_diffuse(self, x_t: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_0 from x_t and the noise, for t < 1."""
        t = t.view(-1, *[1] * (x_t.ndim - 1))
        return (x_t - self._sigma(t) * noise) / (1 - t)

    def get_v(self, x_0: Tensor, noise: Tensor, t: Tensor | None = None) -> Tensor:
        """The velocity to be predicted."""
        return (1 - self.sigma_min) * noise - x_0

    def sample_t(self, batch_size: int) -> Tensor:
        """[B] float32 on the CPU."""
        return sample_times(self.t_schedule, batch_size)

    def get_cond(self, cond: Any, **kwargs: Any) -> Any:
        """Condition for training."""
        return cond

    def get_inference_cond(self, cond: Any, **kwargs: Any) -> dict[str, Any]:
        """Keyword arguments of the sampler."""
        return {"cond": cond, **kwargs}

    def vis_cond(self, cond: Any, **_: Any) -> dict[str, Tensor]:
        """Pictures of the condition."""
        return {}

    def training_losses(self, x_0: Tensor, cond: Any = None, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        noise = torch.randn_like(x_0)
        t = self.sample_t(len(x_0))
        t_device = t.to(x_0.device)
        x_t = self.diffuse(x_0, t_device, noise)
        cond = self.get_cond(cond, **kwargs)
        pred = self.training_models["denoiser"](x_t, t_device * 1000, cond, **kwargs)
        error = (pred.float() - self.get_v(x_0, noise, t_device)).pow(2)
        mse = error.mean()
        terms: dict[str, Any] = {"mse": mse, "loss": mse}
        terms.update(bin_terms(error.detach().flatten(1).mean(1), t))
        return terms, {}

    # --- pictures ---------------------------------------------------------------------------------------------------

    def get_sampler(self) -> Any:
        """Euler sampler for snapshots."""
        from ..samplers import FlowEulerSampler

        return FlowEulerSampler(self.sigma_min)

    def _sampler_args(self) -> dict[str, Any]:
        return {"steps": self.SNAPSHOT_STEPS, "verbose": False}

    def draw(self, x_0: Any, concat_cond: Any = None) -> dict[str, Tensor]:
        """Pictures of latents: decoded occupancy if the decoder is found, else the mean over channels."""
        decoder = load_visual_decoder(self.dataset, "ss_dec", self.device)
        normalization = getattr(self.dataset, "normalization", None)
        z = x_0 if normalization is None else normalization.denormalize(x_0, dim=1)
        from ..datasets.projection import draw_voxels

        if decoder is None:
            flat = z.float().mean(dim=(1, 4))  # [B, S, S]
            flat = (flat - flat.amin()) / (flat.amax() - flat.amin()).clamp(min=1e-6)
            return {"": F.interpolate(flat[:, None], scale_factor=8).expand(-1, 3, -1, -1)}
        occupied = torch.nonzero(decoder(z.float())[:, 0] > 0)
        size = int(decoder(z[:1].float()).shape[-1])
        return {"": draw_voxels(occupied, occupied[:, 1:].float() / size, len(z), size)}

    def noise_like(self, x_0: Any) -> Any:
        return torch.randn_like(x_0)

    def run_snapshot(self, num_samples: int, batch_size: int = 4, verbose: bool = False) -> dict[str, Tensor]:
        """`sample_gt`, `sample` and pictures of the condition."""
        images: dict[str, list[Tensor]] = {}

        def keep(prefix: str, drawn: Mapping[str, Tensor]) -> None:
            for key, value in drawn.items():
                images.setdefault(f"{prefix}_{key}" if key and prefix else prefix or key, []).append(value.cpu())

        sampler = self.get_sampler()
        for batch in self.snapshot_batches(num_samples, batch_size):
            x_0 = batch.pop("x_0")
            keep("", self.vis_cond(**batch))
            extra = {k: v for k, v in batch.items() if k != "cond"}
            keep("sample_gt", self.draw(x_0, extra.get("concat_cond")))
            inference = self.get_inference_cond(batch.get("cond"), **extra)
            noise = self.noise_like(x_0)
            samples = sampler.sample(self.models["denoiser"], noise, **inference, **self._sampler_args()).samples
            keep("sample", self.draw(samples, extra.get("concat_cond")))
        return {name: torch.cat(parts) for name, parts in images.items()}


class FlowMatchingCFGTrainer(ClassifierFreeGuidanceMixin, FlowMatchingTrainer):
    """With condition dropout; snapshots are guided."""

    def get_sampler(self) -> Any:
        from ..samplers import FlowEulerCfgSampler

        return FlowEulerCfgSampler(self.sigma_min)

    def _sampler_args(self) -> dict[str, Any]:
        return {**super()._sampler_args(), "guidance_strength": self.SNAPSHOT_GUIDANCE}


class ImageConditionedFlowMatchingCFGTrainer(ImageConditionedMixin, FlowMatchingCFGTrainer):  # type: ignore[misc]
    """Conditioned on image features."""
