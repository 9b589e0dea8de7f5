"""Parameters of a sampler, checked before any work: a stage that fails for its own would do so minutes later."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from trellis2.samplers import FlowEulerGuidanceIntervalSampler

from .errors import PipelineConfigError, unknown_key

__all__ = ["check_sampler_params"]

_MOST_STEPS = 1000


def check_sampler_params(
    name: str, params: Mapping[str, Any] | None, known: Iterable[str] = FlowEulerGuidanceIntervalSampler.PARAMS
) -> None:
    """Raise PipelineConfigError (a ValueError) for a parameter that is not in `known` or whose value cannot be.

    `name` is what the message calls `params`.
    """
    if params is None:
        return
    if not isinstance(params, Mapping):
        raise PipelineConfigError(f"{name} must be an object of parameter to value, got {params!r}")
    known = tuple(known)
    for key, value in params.items():
        if key not in known:
            raise unknown_key(name, key, known)
        rule, holds = _RULES[key]
        if not holds(value):
            raise PipelineConfigError(f"{name}: {key} must be {rule}, got {value!r}")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and 1 <= int(value) <= _MOST_STEPS


def _is_interval(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_number(end) for end in value)


_COUNT = (f"a whole number in 1…{_MOST_STEPS}", _is_count)
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "steps": _COUNT,
    "evaluate_every": _COUNT,
    "guidance_every": _COUNT,
    "rescale_t": ("a positive number", lambda value: _is_number(value) and value > 0),
    "guidance_strength": ("a finite number", _is_number),
    "guidance_rescale": ("a number in 0…1", lambda value: _is_number(value) and 0 <= value <= 1),
    "guidance_interval": ("two times [low, high]", _is_interval),
}
