"""Samplers against an independent evaluation of the formulas, and against the published call counts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from trellis2.samplers import (
    FlowEulerCfgSampler,
    FlowEulerGuidanceIntervalSampler,
    FlowEulerSampler,
    FlowPath,
    Sampled,
)

SIGMA = 1e-5


class LinearField:
    """v = 0.1 x + c, counting its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.times: list[float] = []

    def __call__(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor, **extra: object) -> torch.Tensor:
        self.calls += 1
        assert t.shape == (x.shape[0],)
        assert t.dtype == torch.float32
        assert cond.shape[0] == x.shape[0]
        self.times.append(float(t[0]))
        return 0.1 * x + cond.reshape(-1, *[1] * (x.ndim - 1))


def numpy_run(
    x: np.ndarray,
    c: float,
    neg: float,
    steps: int,
    rescale_t: float,
    strength: float,
    rescale: float,
    interval: tuple[float, float],
) -> np.ndarray:
    """The loop in float32 NumPy, written from the formulas."""
    grid = np.linspace(1, 0, steps + 1)
    grid = rescale_t * grid / (1 + (rescale_t - 1) * grid)
    axes = tuple(range(1, x.ndim))
    for t, t_prev in itertools.pairwise(grid):
        plus = 0.1 * x + np.float32(c)
        if interval[0] <= t <= interval[1] and strength != 1:
            minus = 0.1 * x + np.float32(neg)
            v = np.float32(strength) * plus + np.float32(1 - strength) * minus
            if rescale > 0:
                noise = np.float32(SIGMA + (1 - SIGMA) * t)
                keep = np.float32(1 - SIGMA)
                x_plus, x_0 = keep * x - noise * plus, keep * x - noise * v
                factor = x_plus.std(axis=axes, ddof=1, keepdims=True) / x_0.std(axis=axes, ddof=1, keepdims=True)
                x_0 = np.float32(rescale) * x_0 * factor + np.float32(1 - rescale) * x_0
                v = (keep * x - x_0) / noise
        else:
            v = plus
        x = x - np.float32(t - t_prev) * v
    return x


#: guidance strength, rescale, interval, rescale_t, network calls
PUBLISHED = {
    "structure": (7.5, 0.7, (0.6, 1.0), 5.0, 22),
    "shape": (7.5, 0.5, (0.6, 1.0), 3.0, 21),
    "texture": (1.0, 0.0, (0.6, 0.9), 3.0, 12),
}


@pytest.mark.parametrize("stage", PUBLISHED)
def test_published_parameters_give_the_published_calls_and_values(stage: str) -> None:
    strength, rescale, interval, rescale_t, calls = PUBLISHED[stage]
    noise = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    cond, neg = torch.tensor([0.7]), torch.tensor([-0.2])
    field = LinearField()
    result = FlowEulerGuidanceIntervalSampler(SIGMA).sample(
        field,
        noise,
        cond,
        neg,
        steps=12,
        rescale_t=rescale_t,
        guidance_strength=strength,
        guidance_rescale=rescale,
        guidance_interval=interval,
        verbose=False,
    )
    expected = numpy_run(noise.numpy(), 0.7, -0.2, 12, rescale_t, strength, rescale, interval)
    assert field.calls == calls
    assert result.samples.numpy() == pytest.approx(expected, rel=2e-5, abs=5e-6)


def test_plain_euler_on_a_hand_worked_step() -> None:
    # t = 1 -> 0 in one step with v = 0.1 x + c: x_0 = x - (0.1 x + c)
    result = FlowEulerSampler(0.0).sample(
        LinearField(), torch.tensor([[2.0]]), torch.tensor([0.5]), steps=1, verbose=False
    )
    assert result.samples.item() == pytest.approx(2.0 - 0.7)
    assert result.pred_x_0[0].item() == pytest.approx(2.0 - 0.7)


def test_network_sees_a_thousand_times_the_time() -> None:
    field = LinearField()
    FlowEulerSampler(SIGMA).sample(field, torch.zeros(1, 2), torch.zeros(1), steps=4, verbose=False)
    assert field.times == [1000.0, 750.0, 500.0, 250.0]


def test_constant_field_reaches_the_data_exactly() -> None:
    # the true velocity of one data point leads back to it for any number of steps
    path, x_0 = FlowPath(SIGMA), torch.full((1, 5), 0.3)
    eps = torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
    v = path.velocity(x_0, eps)
    start = path.x_t(x_0, eps, 1.0)
    result = FlowEulerSampler(SIGMA).sample(lambda *_: v, start, None, steps=7, rescale_t=3.0, verbose=False)
    assert torch.allclose(result.samples, path.x_t(x_0, eps, 0.0), atol=1e-6)
    assert all(torch.allclose(x, x_0, atol=1e-6) for x in result.pred_x_0)


@pytest.mark.parametrize(("strength", "calls"), [(1.0, 5), (0.0, 5), (3.0, 10)])
def test_strength_one_and_zero_call_the_network_once(strength: float, calls: int) -> None:
    field = LinearField()
    FlowEulerCfgSampler(SIGMA).sample(
        field, torch.ones(1, 3), torch.ones(1), torch.zeros(1), steps=5, guidance_strength=strength, verbose=False
    )
    assert field.calls == calls


def test_batched_branches_give_the_same_result_with_half_the_calls() -> None:
    noise = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(3))
    args = (noise, torch.tensor([0.4]), torch.tensor([0.0]))
    params = {"steps": 6, "guidance_strength": 4.0, "guidance_rescale": 0.3, "verbose": False}
    apart, together = LinearField(), LinearField()
    a = FlowEulerCfgSampler(SIGMA).sample(apart, *args, **params)
    b = FlowEulerCfgSampler(SIGMA, batch_guidance=True).sample(together, *args, **params)
    assert (apart.calls, together.calls) == (12, 6)
    assert torch.equal(a.samples, b.samples)


def test_result_offers_the_published_names() -> None:
    result = FlowEulerSampler(SIGMA).sample(LinearField(), torch.ones(1, 2), torch.ones(1), steps=3, verbose=False)
    assert isinstance(result, Sampled)
    assert result["samples"] is result.samples
    assert len(result.pred_x_t) == len(result.pred_x_0) == 3
    assert set(dict(result.items())) == {"samples", "pred_x_t", "pred_x_0"}
    with pytest.raises(AttributeError):
        result.samples = None  # type: ignore[misc]


def test_history_off_keeps_the_last_step_only() -> None:
    kwargs = {"steps": 3, "verbose": False}
    full = FlowEulerSampler(SIGMA).sample(LinearField(), torch.ones(1, 2), torch.ones(1), **kwargs)
    last = FlowEulerSampler(SIGMA).sample(LinearField(), torch.ones(1, 2), torch.ones(1), history=False, **kwargs)
    assert len(last.pred_x_0) == 1
    assert torch.equal(last.pred_x_0[0], full.pred_x_0[-1])


def test_callback_sees_every_step_and_can_stop_the_run() -> None:
    seen = []

    def stop_at_two(i: int, n: int, step: object) -> None:
        seen.append((i, n))
        if i == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FlowEulerSampler(SIGMA).sample(
            LinearField(), torch.ones(1, 2), torch.ones(1), steps=9, verbose=False, callback=stop_at_two
        )
    assert seen == [(0, 9), (1, 9), (2, 9)]


def test_path_conversions_agree_with_each_other() -> None:
    g = torch.Generator().manual_seed(2)
    x_0, eps = torch.randn(4, 3, generator=g, dtype=torch.float64), torch.randn(4, 3, generator=g, dtype=torch.float64)
    path, t = FlowPath(0.02), 0.37
    x_t, v = path.x_t(x_0, eps, t), path.velocity(x_0, eps)
    for value, expected in [
        (path.x_0_from_v(x_t, t, v), x_0),
        (path.eps_from_v(x_t, t, v), eps),
        (path.v_from_x_0(x_t, t, x_0), v),
        (path.x_0_from_eps(x_t, t, eps), x_0),
        (path.eps_from_x_0(x_t, t, x_0), eps),
    ]:
        assert torch.allclose(value, expected, atol=1e-12)


@pytest.mark.parametrize("sigma_min", [-0.1, 1.0])
def test_bad_sigma_min_is_refused(sigma_min: float) -> None:
    with pytest.raises(ValueError, match="sigma_min"):
        FlowEulerSampler(sigma_min)


def test_bad_guidance_is_refused() -> None:
    sampler = FlowEulerGuidanceIntervalSampler(SIGMA)
    args = (LinearField(), torch.ones(1, 2), torch.ones(1), torch.zeros(1))
    with pytest.raises(ValueError, match="guidance_interval"):
        sampler.sample(*args, steps=2, guidance_interval=(0.1,), verbose=False)
    with pytest.raises(ValueError, match="guidance_rescale"):
        sampler.sample(*args, steps=2, guidance_rescale=2.0, verbose=False)
