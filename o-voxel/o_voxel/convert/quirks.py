"""The one switch between corrected and published behaviour of the conversions."""

from __future__ import annotations

from typing import Literal

__all__ = ["Quirks", "check_quirks"]

Quirks = Literal["published"] | None


def check_quirks(quirks: str | None) -> bool:
    """True for `published`, False for None; ValueError otherwise."""
    if quirks not in (None, "published"):
        raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
    return quirks == "published"
