"""Time grids against the hand-worked table of the published parameters."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis2.samplers import guided_mask, time_schedule

STRUCTURE = [1, 0.98214, 0.96154, 0.9375, 0.90909, 0.875, 0.83333, 0.78125, 0.71429, 0.625, 0.5, 0.3125, 0]
SHAPE = [1, 0.97059, 0.9375, 0.9, 0.85714, 0.80769, 0.75, 0.68182, 0.6, 0.5, 0.375, 0.21429, 0]


@pytest.mark.parametrize(("rescale_t", "expected"), [(5.0, STRUCTURE), (3.0, SHAPE)])
def test_published_grids(rescale_t: float, expected: list[float]) -> None:
    assert time_schedule(12, rescale_t) == pytest.approx(expected, abs=5e-6)


def test_interval_ends_fall_exactly_on_grid_points() -> None:
    times = time_schedule(12, 3.0)
    assert times[8] == 0.6
    assert times[3] == 0.9


@pytest.mark.parametrize(
    ("rescale_t", "interval", "guided"),
    [
        (5.0, (0.6, 1.0), range(0, 10)),
        (3.0, (0.6, 1.0), range(0, 9)),
        (3.0, (0.6, 0.9), range(3, 9)),
    ],
)
def test_published_guided_steps(rescale_t: float, interval: tuple[float, float], guided: range) -> None:
    mask = guided_mask(time_schedule(12, rescale_t), interval)
    assert [i for i, on in enumerate(mask) if on] == list(guided)


@given(steps=st.integers(1, 200), rescale_t=st.floats(0.05, 50))
def test_grid_falls_from_one_to_zero(steps: int, rescale_t: float) -> None:
    times = time_schedule(steps, rescale_t)
    assert len(times) == steps + 1
    assert times[0] == pytest.approx(1)
    assert times[-1] == 0
    assert all(a > b for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_bad_steps_are_refused(steps: object) -> None:
    with pytest.raises(ValueError, match="steps must be"):
        time_schedule(steps)  # type: ignore[arg-type]


@pytest.mark.parametrize("rescale_t", [0, -1, float("nan"), float("inf")])
def test_bad_rescale_t_is_refused(rescale_t: float) -> None:
    with pytest.raises(ValueError, match="rescale_t must be"):
        time_schedule(4, rescale_t)
