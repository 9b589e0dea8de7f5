"""Typed look-ups in the JSON of a glTF document: a missing, mistyped or out-of-range field is a ValueError."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["array_field", "integer_field", "object_field", "object_list", "vector_field"]


def object_field(owner: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under `key`, empty where absent."""
    value = owner.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"glTF: {key} must be an object, got {str(value)[:60]}")
    return value


def array_field(owner: dict[str, Any], key: str) -> list[Any]:
    """The array under `key`, empty where absent."""
    value = owner.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"glTF: {key} must be an array, got {str(value)[:60]}")
    return value


def object_list(owner: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The array of objects under `key`, empty where absent."""
    items = array_field(owner, key)
    if not all(isinstance(item, dict) for item in items):
        raise ValueError(f"glTF: {key} must hold objects")
    return items


def integer_field(owner: dict[str, Any], key: str, default: int | None, low: int, high: int) -> int:
    """The whole number under `key`, in low..high; `default` None makes the field required."""
    value = owner.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"glTF: {key} must be a whole number in {low}..{high}, got {str(value)[:60]}")
    return value


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def vector_field(owner: dict[str, Any], key: str, default: tuple[float, ...]) -> np.ndarray:
    """Finite numbers under `key`, as many as in `default`; a plain number counts as one."""
    value = owner.get(key, list(default))
    if len(default) == 1 and not isinstance(value, list):
        value = [value]
    if not isinstance(value, list) or len(value) != len(default) or not all(_is_number(v) for v in value):
        raise ValueError(f"glTF: {key} must be {len(default)} finite numbers, got {str(value)[:60]}")
    return np.array(value, np.float64)
