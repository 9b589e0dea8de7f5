"""Small helpers for nested dictionaries of training logs; picture helpers are importable from here too."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from .image_utils import make_grid, notes_on_image, save_image_with_notes, text_image

__all__ = [
    "atol",
    "dict_all",
    "dict_any",
    "dict_flatten",
    "dict_foreach",
    "dict_merge",
    "dict_reduce",
    "indent",
    "make_grid",
    "nested_contexts",
    "notes_on_image",
    "rtol",
    "save_image_with_notes",
    "text_image",
]


def dict_merge(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two nested dictionaries; a leaf present in both is a ValueError."""
    out = dict(a)
    for key, value in b.items():
        if key not in out:
            out[key] = value
        elif isinstance(out[key], Mapping) and isinstance(value, Mapping):
            out[key] = dict_merge(out[key], value)
        else:
            raise ValueError(f"both dictionaries hold the leaf {key!r}")
    return out


def dict_foreach(
    dic: dict[str, Any],
    func: Callable[[Any], Any],
    special_func: Mapping[str, Callable[[Any], Any]] | None = None,
) -> dict[str, Any]:
    """Replace each leaf by `func(leaf)` in place; `special_func` overrides `func` for top-level keys."""
    special_func = special_func or {}
    for key, value in dic.items():
        if isinstance(value, dict):
            dic[key] = dict_foreach(value, func)
        else:
            dic[key] = special_func.get(key, func)(value)
    return dic


def dict_reduce(
    dicts: Sequence[Mapping[str, Any]],
    func: Callable[[list[Any]], Any],
    special_func: Mapping[str, Callable[[list[Any]], Any]] | None = None,
) -> dict[str, Any]:
    """Combine nested dictionaries leaf by leaf, each over the dictionaries that hold it.

    `special_func` maps a key, at any depth, to the function used for it.
    """
    special_func = special_func or {}
    keys: list[str] = []
    for d in dicts:
        keys.extend(key for key in d if key not in keys)
    out: dict[str, Any] = {}
    for key in keys:
        values = [d[key] for d in dicts if key in d]
        if isinstance(values[0], Mapping):
            out[key] = dict_reduce(values, func, special_func)
        else:
            out[key] = special_func.get(key, func)(values)
    return out


def dict_any(dic: Mapping[str, Any], func: Callable[[Any], bool]) -> bool:
    """True if `func` holds for any leaf."""
    return any(dict_any(v, func) if isinstance(v, Mapping) else func(v) for v in dic.values())


def dict_all(dic: Mapping[str, Any], func: Callable[[Any], bool]) -> bool:
    """True if `func` holds for every leaf."""
    return all(dict_all(v, func) if isinstance(v, Mapping) else func(v) for v in dic.values())


def dict_flatten(dic: Mapping[str, Any], sep: str = ".") -> dict[str, Any]:
    """Nested dictionary → one level, keys joined by `sep`."""
    out: dict[str, Any] = {}
    for key, value in dic.items():
        if isinstance(value, Mapping):
            out.update({f"{key}{sep}{k}": v for k, v in dict_flatten(value, sep).items()})
        else:
            out[key] = value
    return out


@contextlib.contextmanager
def nested_contexts(*factories: Callable[[], contextlib.AbstractContextManager[Any]]) -> Iterator[list[Any]]:
    """Enter the context managers that the factories make, in order."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(factory()) for factory in factories]


def indent(s: str, n: int = 4) -> str:
    """Indent every line but the first by `n` spaces."""
    return s.replace("\n", "\n" + " " * n)


def atol(x: Tensor, y: Tensor) -> Tensor:
    """Absolute difference, element by element."""
    return (x - y).abs()


def rtol(x: Tensor, y: Tensor) -> Tensor:
    """Difference relative to the larger magnitude (at least 1e-12), element by element."""
    return (x - y).abs() / x.abs().maximum(y.abs()).clamp_min(1e-12)
