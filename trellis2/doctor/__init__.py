"""`python -m trellis2.doctor`: what this machine has, what every operation runs on it, and whether that is right."""

from __future__ import annotations

__all__: list[str] = []
