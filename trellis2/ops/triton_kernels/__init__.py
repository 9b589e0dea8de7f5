"""Triton kernels. Importing this package needs triton; nothing outside the fast backends imports it."""

from __future__ import annotations

from ..triton_support import interpreting, repair_interpreter

if interpreting():
    repair_interpreter()
