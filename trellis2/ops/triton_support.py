"""Whether Triton kernels can run here."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["capability_of", "interpreting", "on_device", "repair_interpreter", "triton_unavailable"]

MINIMUM_CAPABILITY = (8, 0)


def interpreting() -> bool:
    """Whether Triton interprets kernels on the CPU (`TRITON_INTERPRET=1`, read when triton is imported)."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


@functools.cache
def _host_reason() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if interpreting():
        return None
    names = [os.environ["CC"]] if os.environ.get("CC") else ["cc", "gcc", "clang", "cl"]
    if not any(shutil.which(name.split()[0]) for name in names):
        return "no C compiler was found, and triton needs one for its launchers"
    return None


@functools.cache
def capability_of(index: int | None) -> tuple[int, int]:
    """Compute capability of a CUDA device; None is the current one."""
    return torch.cuda.get_device_capability(index)


def triton_unavailable(device: torch.device) -> str | None:
    """Why Triton kernels cannot run on `device`, or None if they can."""
    reason = _host_reason()
    if reason is not None:
        return reason
    if interpreting():
        return None if device.type == "cpu" else "triton is interpreting (TRITON_INTERPRET=1), which needs CPU tensors"
    if device.type != "cuda":
        return f"the kernels need a CUDA device, not {device.type}"
    if torch.version.hip is None and capability_of(device.index) < MINIMUM_CAPABILITY:
        return f"compute capability {capability_of(device.index)} is below {MINIMUM_CAPABILITY}"
    return None


def repair_interpreter() -> None:
    """Let Triton's interpreter take loop bounds from tensors under NumPy ≥ 2.4, which refuses int() of [1] arrays."""
    from triton.runtime import interpreter

    original = interpreter._patch_lang_tensor
    if getattr(original, "repaired", False):
        return

    def patched(tensor: Any, scope: Any) -> None:
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    patched.repaired = True  # type: ignore[attr-defined]
    interpreter._patch_lang_tensor = patched


def on_device(x: Tensor) -> AbstractContextManager[Any]:
    """Make the device of x current: Triton launches on the current device and stream."""
    return torch.cuda.device(x.device) if x.device.type == "cuda" else nullcontext()
