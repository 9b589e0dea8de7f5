"""Euler integration of a flow model, with classifier-free guidance and a guidance interval.

`Latent` is a dense tensor [B, ...] or a sparse tensor of B samples. The network is called as
`model(x_t, 1000 t [B] float32, cond, **extra)` and predicts the velocity of `FlowPath`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from tqdm import tqdm

from .base import Sampler
from .batching import expand_batch, two_branches
from .flow_path import FlowPath
from .guidance import combine, rescale_velocity
from .results import Sampled, Step
from .reuse import GuidanceMemory, VelocityMemory
from .schedule import time_schedule

__all__ = ["FlowEulerCfgSampler", "FlowEulerGuidanceIntervalSampler", "FlowEulerSampler", "StepCallback"]

Latent = Any
Model = Callable[..., Latent]
#: Called after each step with (step index from 0, number of steps, the step). Raise from it to stop.
StepCallback = Callable[[int, int, Step], None]


class FlowEulerSampler(Sampler):
    """Euler steps along the velocity field."""

    #: Keywords of `sample` that a configuration file or a caller may set.
    PARAMS: ClassVar[tuple[str, ...]] = ("steps", "rescale_t", "evaluate_every")

    def __init__(self, sigma_min: float = 1e-5, *, cache_condition: bool = True, use_graphs: bool = True) -> None:
        """Both switches are for networks that offer them, and change time and memory, not the result.

        `cache_condition`: let the network keep what it derives from the condition for the length of a run
        (`prepare_condition`). `use_graphs`: let it replay its calls (`for_sampling`); needs the former.
        """
        self.path = FlowPath(float(sigma_min))
        self.cache_condition = bool(cache_condition)
        self.use_graphs = bool(use_graphs)

    @property
    def sigma_min(self) -> float:
        return self.path.sigma_min

    @torch.no_grad()
    def sample_once(self, model: Model, x_t: Latent, t: float, t_prev: float, cond: Any = None, **kwargs: Any) -> Step:
        """One step from time `t` to the smaller `t_prev`."""
        v = self._velocity(model, x_t, t, cond, **kwargs)
        return Step(pred_x_prev=x_t - (t - t_prev) * v, pred_x_0=self.path.x_0_from_v(x_t, t, v))

    @torch.no_grad()
    def sample(
        self,
        model: Model,
        noise: Latent,
        cond: Any = None,
        steps: int = 50,
        rescale_t: float = 1.0,
        verbose: bool = True,
        tqdm_desc: str = "Sampling",
        *,
        history: bool = True,
        callback: StepCallback | None = None,
        evaluate_every: int = 1,
        **kwargs: Any,
    ) -> Sampled:
        """Integrate from noise at t = 1 to a sample at t = 0.

        A condition of batch 1 serves every sample of the noise. `history=False` keeps the last step only.
        `evaluate_every` n > 1 asks the network at the first two steps, the last and every n-th only, and extrapolates
        the velocity elsewhere: faster, and not the same result. Other keywords reach the network. Raises ValueError for
        a bad `steps`, `rescale_t` or `evaluate_every`.
        """
        times = time_schedule(steps, rescale_t)
        memory = VelocityMemory(evaluate_every, steps)
        if self.use_graphs and self.cache_condition and hasattr(model, "for_sampling"):
            model = model.for_sampling()
        cond = self._prepare(model, cond, noise)
        x = noise
        states: list[Latent] = []
        estimates: list[Latent] = []
        pairs = list(itertools.pairwise(times))
        for i, (t, t_prev) in enumerate(tqdm(pairs, desc=tqdm_desc, disable=not verbose)):
            if memory.may_skip(i):
                v = memory.extrapolate(t)
                step = Step(pred_x_prev=x - (t - t_prev) * v, pred_x_0=self.path.x_0_from_v(x, t, v))
            else:
                step = self.sample_once(model, x, t, t_prev, cond, **kwargs)
                if evaluate_every > 1:
                    memory.keep(t, (x - step.pred_x_prev) * (1 / (t - t_prev)))
            x = step.pred_x_prev
            if not history:
                states.clear()
                estimates.clear()
            states.append(step.pred_x_prev)
            estimates.append(step.pred_x_0)
            if callback is not None:
                callback(i, len(pairs), step)
        return Sampled(samples=x, pred_x_t=tuple(states), pred_x_0=tuple(estimates))

    def _prepare(self, model: Model, cond: Any, noise: Latent) -> Any:
        """The condition of a run, prepared by the network if it can."""
        prepare = getattr(model, "prepare_condition", None)
        if not self.cache_condition or prepare is None or cond is None:
            return cond
        return prepare(expand_batch(cond, int(noise.shape[0])))

    def _velocity(self, model: Model, x_t: Latent, t: float, cond: Any, **kwargs: Any) -> Latent:
        return self._call(model, x_t, t, cond, **kwargs)

    @staticmethod
    def _call(model: Model, x_t: Latent, t: float, cond: Any, **kwargs: Any) -> Latent:
        num = int(x_t.shape[0])
        tau = torch.full((num,), 1000 * t, dtype=torch.float32, device=x_t.device)
        return model(x_t, tau, expand_batch(cond, num), **kwargs)


class FlowEulerCfgSampler(FlowEulerSampler):
    """Euler steps with classifier-free guidance and optional rescaling of the guided estimate."""

    PARAMS = (*FlowEulerSampler.PARAMS, "guidance_strength", "guidance_rescale", "guidance_every")

    def __init__(
        self,
        sigma_min: float = 1e-5,
        *,
        batch_guidance: bool = False,
        cache_condition: bool = True,
        use_graphs: bool = True,
    ) -> None:
        """`batch_guidance` evaluates both branches in one call of doubled batch: same result, more memory, no cache."""
        super().__init__(sigma_min, cache_condition=cache_condition and not batch_guidance, use_graphs=use_graphs)
        self.batch_guidance = bool(batch_guidance)

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        model: Model,
        noise: Latent,
        cond: Any,
        neg_cond: Any,
        steps: int = 50,
        rescale_t: float = 1.0,
        guidance_strength: float = 3.0,
        verbose: bool = True,
        *,
        guidance_rescale: float = 0.0,
        guidance_every: int = 1,
        **kwargs: Any,
    ) -> Sampled:
        """As `FlowEulerSampler.sample`, steered away from `neg_cond`.

        Strength 1 evaluates the condition only, 0 the negative condition only. `guidance_every` n > 1 evaluates the
        negative condition at every n-th guided step and keeps the direction between: faster, and not the same result.
        """
        kept = GuidanceMemory(guidance_every)
        memory: dict[str, Any] = {"guidance_memory": kept} if guidance_every > 1 else {}
        if not 0 <= guidance_rescale <= 1:
            raise ValueError(f"guidance_rescale must be in 0…1, got {guidance_rescale!r}")
        return super().sample(
            model,
            noise,
            cond,
            steps,
            rescale_t,
            verbose,
            neg_cond=neg_cond if guidance_strength == 1 else self._prepare(model, neg_cond, noise),
            guidance_strength=guidance_strength,
            guidance_rescale=guidance_rescale,
            **memory,
            **kwargs,
        )

    def _velocity(  # type: ignore[override]
        self,
        model: Model,
        x_t: Latent,
        t: float,
        cond: Any,
        neg_cond: Any,
        guidance_strength: float,
        guidance_rescale: float = 0.0,
        guidance_memory: GuidanceMemory | None = None,
        **kwargs: Any,
    ) -> Latent:
        if guidance_strength == 1:
            return self._call(model, x_t, t, cond, **kwargs)
        if guidance_strength == 0:
            return self._call(model, x_t, t, neg_cond, **kwargs)
        if guidance_memory is not None and not guidance_memory.due():
            v_cond = self._call(model, x_t, t, cond, **kwargs)
            v = guidance_memory.guide(v_cond, guidance_strength)
            return v if guidance_rescale <= 0 else rescale_velocity(self.path, x_t, t, v_cond, v, guidance_rescale)
        if self.batch_guidance and isinstance(cond, Tensor):
            v_cond, v_neg = two_branches(self._call, model, x_t, t, cond, neg_cond, kwargs)
        else:
            v_cond = self._call(model, x_t, t, cond, **kwargs)
            v_neg = self._call(model, x_t, t, neg_cond, **kwargs)
        if guidance_memory is not None:
            guidance_memory.keep(v_cond, v_neg)
        v = combine(v_cond, v_neg, guidance_strength)
        if guidance_rescale > 0:
            v = rescale_velocity(self.path, x_t, t, v_cond, v, guidance_rescale)
        return v


class FlowEulerGuidanceIntervalSampler(FlowEulerCfgSampler):
    """Guidance only at the times inside an interval, both ends included."""

    PARAMS = (*FlowEulerCfgSampler.PARAMS, "guidance_interval")

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self,
        model: Model,
        noise: Latent,
        cond: Any,
        neg_cond: Any,
        steps: int = 50,
        rescale_t: float = 1.0,
        guidance_strength: float = 3.0,
        guidance_interval: Sequence[float] = (0.0, 1.0),
        verbose: bool = True,
        *,
        guidance_rescale: float = 0.0,
        **kwargs: Any,
    ) -> Sampled:
        """As `FlowEulerCfgSampler.sample`; outside `guidance_interval` (of the rescaled time) strength is 1."""
        if len(guidance_interval) != 2:
            raise ValueError(f"guidance_interval must be two times (low, high), got {guidance_interval!r}")
        return super().sample(
            model,
            noise,
            cond,
            neg_cond,
            steps,
            rescale_t,
            guidance_strength,
            verbose,
            guidance_rescale=guidance_rescale,
            guidance_interval=tuple(guidance_interval),
            **kwargs,
        )

    def _velocity(  # type: ignore[override]
        self,
        model: Model,
        x_t: Latent,
        t: float,
        cond: Any,
        neg_cond: Any,
        guidance_strength: float,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        guidance_rescale: float = 0.0,
        **kwargs: Any,
    ) -> Latent:
        lo, hi = guidance_interval
        strength = guidance_strength if lo <= t <= hi else 1
        return super()._velocity(model, x_t, t, cond, neg_cond, strength, guidance_rescale, **kwargs)
