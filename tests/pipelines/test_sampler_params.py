"""Sampler parameters are refused before any work, wherever they come from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trellis2.pipelines.job_options import GenerateOptions, TextureOptions
from trellis2.pipelines.sampler_params import check_sampler_params
from trellis2.samplers import FlowEulerGuidanceIntervalSampler, FlowEulerSampler

GOOD = {
    "steps": 12,
    "rescale_t": 3.0,
    "evaluate_every": 2,
    "guidance_strength": 7.5,
    "guidance_rescale": 0.7,
    "guidance_every": np.int64(3),
    "guidance_interval": [0.6, 1.0],
}
BAD: list[tuple[str, Any, str]] = [
    ("steps", 0, "a whole number in 1…1000, got 0"),
    ("steps", 2.5, "whole number"),
    ("steps", True, "whole number"),
    ("steps", 10**9, "whole number"),
    ("evaluate_every", "2", "whole number"),
    ("guidance_every", -1, "whole number"),
    ("rescale_t", 0, "a positive number"),
    ("guidance_strength", "strong", "a finite number, got 'strong'"),
    ("guidance_strength", math.nan, "a finite number"),
    ("guidance_rescale", 7, "a number in 0…1, got 7"),
    ("guidance_interval", [0.5], "two times"),
    ("guidance_interval", "ab", "two times"),
    ("guidance_interval", [0, math.inf], "two times"),
]


def test_every_parameter_of_the_samplers_has_a_rule() -> None:
    assert set(GOOD) == set(FlowEulerGuidanceIntervalSampler.PARAMS)
    check_sampler_params("params", GOOD)
    check_sampler_params("params", None)


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_values_that_cannot_be_are_named(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^tex_slat_sampler_params: {key} must be .*{message}"):
        check_sampler_params("tex_slat_sampler_params", {key: value})
    for options in (GenerateOptions, TextureOptions):
        with pytest.raises(ValueError, match=f"{key} must be"):
            options(tex_slat_sampler_params={key: value})


def test_unknown_names_get_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="unknown key 'step', did you mean 'steps'"):
        check_sampler_params("params", {"step": 3})
    with pytest.raises(ValueError, match="unknown key 'guidance_strength'"):
        check_sampler_params("params", {"guidance_strength": 3.0}, FlowEulerSampler.PARAMS)
    with pytest.raises(ValueError, match="must be an object"):
        GenerateOptions(shape_slat_sampler_params=[1])  # type: ignore[arg-type]


@given(
    st.dictionaries(st.sampled_from([*GOOD, "other"]), st.none() | st.booleans() | st.floats() | st.text(max_size=3))
)
def test_any_json_is_taken_or_refused_in_words(params: dict[str, Any]) -> None:
    try:
        check_sampler_params("params", params)
    except ValueError as error:
        assert str(error).startswith("params: ")
