"""Samplers that leave evaluations out."""

from __future__ import annotations

import pytest
import torch

from trellis2.samplers import FlowEulerCfgSampler, FlowEulerGuidanceIntervalSampler, FlowEulerSampler


class Field:
    """v = (a + b t) + cond, exactly linear in time; counts calls by condition."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        self.calls.append(float(cond.flatten()[0]))
        return torch.full_like(x, 0.3 + 0.5 * float(t[0]) / 1000) + cond.flatten()[0]


COND, NEG = torch.full((1, 1, 1), 1.0), torch.full((1, 1, 1), -1.0)


@pytest.mark.parametrize(("every", "calls"), [(1, 12), (2, 8), (3, 6), (12, 3)])
def test_velocities_linear_in_time_lose_nothing(every: int, calls: int) -> None:
    noise = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    field, exact = Field(), Field()
    run = {"steps": 12, "rescale_t": 3.0, "verbose": False}
    expected = FlowEulerSampler().sample(exact, noise, COND, **run).samples
    got = FlowEulerSampler().sample(field, noise, COND, evaluate_every=every, **run)
    torch.testing.assert_close(got.samples, expected, rtol=1e-4, atol=1e-4)
    assert len(got.pred_x_t) == 12
    assert len(field.calls) == calls  # the first two, every n-th, and the last


@pytest.mark.parametrize(("every", "negatives"), [(1, 10), (2, 5), (3, 4), (99, 1)])
def test_constant_guidance_loses_nothing(every: int, negatives: int) -> None:
    noise = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    run = {"steps": 10, "guidance_strength": 3.0, "guidance_rescale": 0.5, "verbose": False}
    field = Field()
    expected = FlowEulerCfgSampler().sample(Field(), noise, COND, NEG, **run).samples
    got = FlowEulerCfgSampler().sample(field, noise, COND, NEG, guidance_every=every, **run).samples
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert field.calls.count(-1.0) == negatives
    assert field.calls.count(1.0) == 10


def test_interval_counts_guided_steps_only() -> None:
    field = Field()
    sampler = FlowEulerGuidanceIntervalSampler()
    options = {"steps": 12, "rescale_t": 5.0, "guidance_strength": 7.5, "guidance_interval": (0.6, 1.0)}
    sampler.sample(field, torch.zeros(1, 2), COND, NEG, **options, guidance_every=2, verbose=False)
    assert (field.calls.count(1.0), field.calls.count(-1.0)) == (12, 5)  # of 10 guided steps


def test_a_second_run_starts_afresh() -> None:
    sampler, noise = FlowEulerCfgSampler(), torch.ones(1, 2)
    options = {"steps": 6, "guidance_strength": 2.0, "evaluate_every": 2, "guidance_every": 2, "verbose": False}
    first = sampler.sample(Field(), noise, COND, NEG, **options).samples
    assert torch.equal(first, sampler.sample(Field(), noise, COND, NEG, **options).samples)


@pytest.mark.parametrize("name", ["evaluate_every", "guidance_every"])
@pytest.mark.parametrize("value", [0, 1.5, True])
def test_bad_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number"):
        FlowEulerCfgSampler().sample(Field(), torch.ones(1, 2), COND, NEG, verbose=False, **{name: value})
