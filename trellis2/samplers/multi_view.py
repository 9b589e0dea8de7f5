"""One sample after several conditions, such as pictures of one object from several sides.

"average": every step follows the mean of the velocities that the conditions ask for (Bar-Tal et al., MultiDiffusion,
2023, Eq. 5 with equal weights and whole samples in place of crops). "alternate": the conditions take turns, one a step,
at the price of a single one. The third way, joining the tokens of all conditions, needs nothing from a sampler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

__all__ = ["FUSIONS", "Fusion", "MultiViewModel", "ViewConditions"]

Fusion = Literal["average", "alternate", "concat"]
FUSIONS: tuple[str, ...] = get_args(Fusion)


class ViewConditions:
    """Several conditions, each [B or 1, L, C] or what a network makes of one."""

    def __init__(self, conditions: Sequence[Any]) -> None:
        if not conditions:
            raise ValueError("conditions must name at least one condition")
        self.conditions = tuple(conditions)

    def __len__(self) -> int:
        return len(self.conditions)

    def map(self, function: Callable[[Any], Any]) -> ViewConditions:
        """The same views with `function` applied to each condition."""
        return ViewConditions([function(c) for c in self.conditions])


class MultiViewModel:
    """A network that also takes `ViewConditions`; other conditions reach it as they are."""

    def __init__(self, model: Any, fusion: Literal["average", "alternate"] = "average") -> None:
        if fusion not in ("average", "alternate"):
            raise ValueError(f"unknown fusion {fusion!r}, choose from: average, alternate")
        self.model = model
        self.fusion = fusion
        self._turn = 0

    def for_sampling(self) -> MultiViewModel:
        """The same with the network's own preparations for many calls."""
        prepare = getattr(self.model, "for_sampling", None)
        return self if prepare is None else MultiViewModel(prepare(), self.fusion)

    def prepare_condition(self, cond: Any) -> Any:
        """What the network keeps of a condition, or of each view."""
        prepare = getattr(self.model, "prepare_condition", None)
        if prepare is None:
            return cond
        return cond.map(prepare) if isinstance(cond, ViewConditions) else prepare(cond)

    def __call__(self, x: Any, t: Any, cond: Any, **extra: Any) -> Any:
        if not isinstance(cond, ViewConditions):
            return self.model(x, t, cond, **extra)
        if self.fusion == "alternate":
            chosen = cond.conditions[self._turn % len(cond)]
            self._turn += 1
            return self.model(x, t, chosen, **extra)
        total = None
        for one in cond.conditions:
            v = self.model(x, t, one, **extra)
            total = v if total is None else total + v
        return total * (1 / len(cond))  # type: ignore[operator]
