"""Which pictures a preview has, and how they are called."""

from __future__ import annotations

__all__ = ["ENVIRONMENTS", "MAPS", "NUM_VIEWS", "picture_name"]

NUM_VIEWS = 8
ENVIRONMENTS = ("studio", "forest", "city", "courtyard", "interior", "sunrise", "sunset", "night")
MAPS = ("clay", "normal", "base_color", "metallic", "roughness", "alpha")


def picture_name(mode: str, view: int) -> str:
    """File of one picture; a mode is `shaded-<environment>` or one of `MAPS`."""
    return f"preview_{mode}_{view}.jpg"
