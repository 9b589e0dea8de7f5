"""Precision policies: which tensors the optimizer sees, how gradients reach them, when a step is skipped.

| mode       | optimizer sees                              | backward                                            |
| amp        | the parameters; autocast of the loss        | fp16: `GradScaler`; bf16: plain                     |
| inflat_all | one flat fp32 vector of all parameters      | fp16: loss · 2^s, s adapted; otherwise plain        |
| None       | the parameters                              | plain                                               |
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    "PrecisionPolicy",
    "StepResult",
    "make_master_params",
    "master_params_to_model_params",
    "model_grads_to_master_grads",
    "model_params_to_master_params",
    "unflatten_master_params",
    "zero_grad",
]


def make_master_params(model_params: Sequence[Tensor]) -> list[nn.Parameter]:
    """One flat fp32 parameter: the row-major concatenation of the given parameters."""
    flat = torch.cat([p.detach().float().reshape(-1) for p in model_params])
    return [nn.Parameter(flat)]


def unflatten_master_params(model_params: Sequence[Tensor], master_params: Sequence[Tensor]) -> list[Tensor]:
    """Views of the flat vector in the shapes of the model parameters."""
    parts = torch.split(master_params[0].detach(), [p.numel() for p in model_params])
    return [part.view(p.shape) for part, p in zip(parts, model_params)]


@torch.no_grad()
def model_params_to_master_params(model_params: Sequence[Tensor], master_params: Sequence[Tensor]) -> None:
    """Copy model → flat vector."""
    master_params[0].copy_(torch.cat([p.detach().float().reshape(-1) for p in model_params]))


@torch.no_grad()
def master_params_to_model_params(model_params: Sequence[Tensor], master_params: Sequence[Tensor]) -> None:
    """Copy flat vector → model, rounding to the model's dtypes."""
    for param, value in zip(model_params, unflatten_master_params(model_params, master_params)):
        param.copy_(value)


@torch.no_grad()
def model_grads_to_master_grads(model_params: Sequence[Tensor], master_params: Sequence[Tensor]) -> None:
    """Gather gradients into the flat vector's `.grad` (missing ones count as zero)."""
    grads = [(p.grad if p.grad is not None else torch.zeros_like(p)).float().reshape(-1) for p in model_params]
    master_params[0].grad = torch.cat(grads)


def zero_grad(params: Sequence[Tensor]) -> None:
    """Set gradients to None."""
    for param in params:
        param.grad = None


class StepResult(NamedTuple):
    """What one optimizer step did."""

    grad_norm: float  # global 2-norm before clipping, may be inf or nan
    skipped: bool  # the parameters were not touched
    log: dict[str, float]  # `scale` or `log_scale` where the mode has one


def _grad_norm(params: Sequence[Tensor]) -> Tensor:
    grads = [p.grad for p in params if p.grad is not None]
    if not grads:
        raise RuntimeError("no parameter received a gradient")
    return torch.nn.utils.get_total_norm(grads)


class PrecisionPolicy:
    """Holds the master parameters and performs backward and optimizer steps in one of the three modes."""

    def __init__(
        self,
        params: Sequence[nn.Parameter],
        mode: str | None,
        dtype: torch.dtype,
        device: torch.device,
        *,
        scale_growth: float = 1e-3,
        scale_start: float = 20.0,
        scale_max: float = 24.0,
    ) -> None:
        self.model_params = list(params)
        self.mode = mode
        self.dtype = dtype
        self.device = device
        self.flat = mode == "inflat_all"
        self.master_params: list[nn.Parameter] = make_master_params(params) if self.flat else self.model_params
        half = dtype is torch.float16
        self.scaler = torch.amp.GradScaler(device.type) if mode == "amp" and half else None
        self.log_scale: float | None = scale_start if self.flat and half else None
        self.scale_growth = scale_growth
        self.scale_max = scale_max

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context for the loss function."""
        if self.mode == "amp" and self.dtype is not torch.float32:
            return torch.autocast(self.device.type, dtype=self.dtype)
        return contextlib.nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients of the (scaled) loss."""
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        elif self.log_scale is not None:
            loss = loss * 2.0**self.log_scale
        loss.backward()

    def step(
        self, optimizer: torch.optim.Optimizer, clip: Callable[[Sequence[Tensor], Tensor, float], Any] | None
    ) -> StepResult:
        """Unscale, clip, step. A step with a non-finite gradient norm leaves the parameters alone.

        `clip(parameters, norm, value)` gets the global norm as a 0-dim tensor and on the host; it is not called for a
        norm that is not finite.
        """
        if self.flat:
            if self.log_scale is not None:
                with torch.no_grad():
                    for p in self.model_params:
                        if p.grad is not None and not bool(torch.isfinite(p.grad).all()):
                            self.log_scale -= 1.0
                            return StepResult(float("inf"), True, {"log_scale": self.log_scale})
            model_grads_to_master_grads(self.model_params, self.master_params)
            if self.log_scale is not None:
                assert self.master_params[0].grad is not None
                self.master_params[0].grad.mul_(2.0**-self.log_scale)
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)
        before = _grad_norm(self.master_params)  # 0-dim
        norm = float(before)
        finite = norm == norm and norm not in (float("inf"), float("-inf"))
        if finite and clip is not None:
            clip(self.master_params, before, norm)
        log: dict[str, float] = {}
        if self.scaler is not None:
            self.scaler.step(optimizer)
            self.scaler.update()
            log["scale"] = self.scaler.get_scale()
        elif finite:
            optimizer.step()
            if self.flat:
                master_params_to_model_params(self.model_params, self.master_params)
        if self.log_scale is not None:
            self.log_scale = min(self.log_scale + self.scale_growth, self.scale_max) if finite else self.log_scale - 1
            log["log_scale"] = self.log_scale
        return StepResult(norm, not finite, log)

    def unflatten(self, params: Sequence[Tensor]) -> list[Tensor]:
        """Master-shaped tensors (masters or their averages) → one tensor per model parameter."""
        return unflatten_master_params(self.model_params, params) if self.flat else [p.detach() for p in params]

    @torch.no_grad()
    def assign(self, target: Sequence[Tensor], values: Sequence[Tensor]) -> None:
        """Write one value per model parameter into master-shaped tensors."""
        if self.flat:
            target[0].copy_(torch.cat([v.detach().float().reshape(-1).to(target[0].device) for v in values]))
        else:
            for t, v in zip(target, values):
                t.copy_(v)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        if self.log_scale is not None:
            state["log_scale"] = self.log_scale
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.scaler is not None and "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])
        if self.log_scale is not None and "log_scale" in state:
            self.log_scale = float(state["log_scale"])
