"""Sampling with a flow model inside a pipeline, and the texture stage that both pipelines share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trellis2.modules.sparse import SparseTensor
from trellis2.samplers import MultiViewModel, ViewConditions

from . import stages
from .base import Pipeline
from .errors import PipelineConfigError
from .noise import NoiseSource
from .progress import Monitor

__all__ = ["TextureStage"]


class TextureStage(Pipeline):
    """A pipeline that samples material latents on a shape latent."""

    tex_slat_sampler: Any = None
    tex_slat_sampler_params: Mapping[str, Any]
    shape_slat_normalization: Mapping[str, Sequence[float]] | None = None
    tex_slat_normalization: Mapping[str, Sequence[float]] | None = None

    @torch.no_grad()
    def sample_tex_slat(
        self,
        cond: Mapping[str, Tensor],
        flow_model: Any,
        shape_slat: SparseTensor,  # feats [T, C], denormalised
        sampler_params: Mapping[str, Any] | None = None,
        *,
        noise: NoiseSource | None = None,
        progress: Any = None,
        verbose: bool = True,
    ) -> SparseTensor:  # feats [T, C'] on the same cells
        """Material latent of a shape, denormalised."""
        noise = NoiseSource.from_global(len(shape_slat)) if noise is None else noise
        shape = shape_slat.replace(stages.normalize(shape_slat.feats, self._stats("shape_slat_normalization")))
        channels = flow_model.in_channels - shape.feats.shape[1]
        if channels < 1:
            raise PipelineConfigError(
                f"the texture flow model takes {flow_model.in_channels} channels, but the shape latent alone has "
                f"{shape.feats.shape[1]}"
            )
        slat = self._sample(
            "texture SLat",
            self.tex_slat_sampler,
            flow_model,
            shape.replace(noise.sparse(shape.coords, channels)),
            cond,
            {**self.tex_slat_sampler_params, **(sampler_params or {})},
            progress,
            verbose,
            concat_cond=shape,
        )
        stages.check_finite("texture SLat", slat.feats)
        return slat.replace(stages.denormalize(slat.feats, self._stats("tex_slat_normalization")))

    def _sample(
        self,
        stage: str,
        sampler: Any,
        flow: Any,
        start: Any,
        cond: Mapping[str, Tensor],
        params: Mapping[str, Any],
        progress: Any,
        verbose: bool,
        **extra: Any,
    ) -> Any:
        """Run a sampler with the network on the device; only the final latent is kept."""

        monitor = Monitor.of(progress)

        def report(i: int, n: int, step: Any) -> None:
            monitor(stage, i, n, step.pred_x_0)

        known = dict(cond)
        if "neg_cond" in known and "guidance_strength" not in sampler.PARAMS:
            del known["neg_cond"]
        steps = int(params.get("steps", 50))
        with monitor.stage(stage, steps), self._use(flow) as model:
            views = known.get("cond")
            if isinstance(views, ViewConditions):
                model = MultiViewModel(model, self.fusion if self.fusion != "concat" else "average")
            return sampler.sample(
                model,
                start,
                **known,
                **params,
                **extra,
                verbose=verbose,
                tqdm_desc=f"Sampling {stage.split(' (')[0]}",
                history=False,
                callback=report,
            ).samples

    def _stats(self, name: str) -> Mapping[str, Sequence[float]]:
        stats = getattr(self, name)
        if stats is None:
            raise PipelineConfigError(f"this pipeline has no {name}")
        return stats
