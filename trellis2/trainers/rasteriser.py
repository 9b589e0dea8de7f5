"""Rendering losses need gradients through a rasteriser; this says so before anything is built."""

from __future__ import annotations

__all__ = ["require_differentiable_rasteriser"]


def require_differentiable_rasteriser(*weights: str) -> None:
    """Raise ValueError: `o_voxel.rasterize` has no gradients with respect to vertex positions."""
    names = ", ".join(weights)
    raise ValueError(
        f"{names} > 0 asks for rendering losses, which need a differentiable rasteriser; none is available. "
        f"Train with the direct losses: set {names} to 0 (for example --set trainer.{weights[0]}=0)"
    )
