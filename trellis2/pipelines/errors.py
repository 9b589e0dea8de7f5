"""Errors that a user of a pipeline can act on."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["PipelineConfigError", "PipelineLoadError", "StageError", "unknown_key"]


class PipelineConfigError(ValueError):
    """A pipeline file says something that cannot be right."""


class PipelineLoadError(OSError):
    """A file of a pipeline is missing, unreachable or broken."""


class StageError(RuntimeError):
    """A stage of a pipeline gave nothing that the next one can use."""

    def __init__(self, stage: str, problem: str, advice: str) -> None:
        super().__init__(f"{stage}: {problem}; {advice}")
        self.stage = stage


def unknown_key(where: str, key: str, known: Iterable[str]) -> PipelineConfigError:
    """The error for a key that nobody reads, with the nearest known name."""
    names = sorted(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]!r}?" if near else f", known are: {', '.join(names)}"
    return PipelineConfigError(f"{where}: unknown key {key!r}{hint}")
