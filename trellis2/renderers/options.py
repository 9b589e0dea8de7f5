"""Rendering options and results as dictionaries with attribute access, the way callers of the renderers use them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

__all__ = ["AttrDict", "make_options"]


class AttrDict(dict[str, Any]):
    """A dictionary whose string keys are also attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no entry {name!r}; there are: {', '.join(self)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def make_options(defaults: Mapping[str, Any], given: Mapping[str, Any] | None) -> AttrDict:
    """Defaults overlaid with `given`; an unknown option is a ValueError that names the nearest one."""
    for key in given or {}:
        if key not in defaults:
            near = difflib.get_close_matches(key, list(defaults), 1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown rendering option {key!r}{hint} (options: {', '.join(defaults)})")
    return AttrDict({**defaults, **(given or {})})
