"""Object families: each maps a random source to an `Asset` standing on y = 0 whose front faces +Z."""

from __future__ import annotations

from collections.abc import Callable

from data_toolkit.procedural.asset import Asset
from data_toolkit.procedural.families import buildings, furniture, garden, gear, tools, toys, vehicles, vessels
from data_toolkit.procedural.rng import Rng

__all__ = ["FAMILIES"]

Family = Callable[[Rng], Asset]

FAMILIES: dict[str, Family] = {
    fn.__name__: fn
    for module in (furniture, vessels, vehicles, buildings, tools, garden, toys, gear)
    for fn in module.FAMILIES
}
