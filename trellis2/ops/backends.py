"""Which implementation of an operation runs on which device: one registry, chosen once, reported, and overridable.

Every operation has a plain `reference` backend that runs everywhere and defines the result. A fast backend says why it
cannot run on a device, or nothing; the one with the highest priority that can run is selected, unless
`TRELLIS2_BACKEND_<OP>` names another. A verifier, by default the self-test, judges a fast backend before its first use
on a device; a backend that it refuses, or that `disable` names, is not selected again.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

__all__ = [
    "REFERENCE",
    "Backend",
    "backends",
    "disable",
    "disabled",
    "enable",
    "environment_variable",
    "op_names",
    "register",
    "replaced",
    "selected",
    "set_verifier",
]

_log = logging.getLogger(__name__)
REFERENCE = "reference"
_PROVIDERS = (
    "trellis2.ops.attention",
    "trellis2.ops.child_conv",
    "trellis2.ops.child_coords",
    "trellis2.ops.fused_mlp",
    "trellis2.ops.fused_norm",
    "trellis2.ops.fused_rope",
    "trellis2.ops.low_precision",
    "trellis2.ops.grid_sample",
    "trellis2.ops.neighbor_map",
    "trellis2.ops.row_mlp",
    "trellis2.ops.sparse_conv",
)
"""Modules that register operations when they are imported."""

Verifier = Callable[["Backend", torch.device], "str | None"]


@dataclass(frozen=True)
class Backend:
    """One implementation of one operation."""

    op: str
    name: str
    run: Callable[..., Any]
    """The operation itself, with the signature that all backends of `op` share."""
    available: Callable[[torch.device], str | None]
    """Why the backend cannot run on a device, in words; None if it can. Must be cheap and must not raise."""
    priority: int

    def reason(self, device: torch.device) -> str | None:
        """Why this backend is not usable on `device` (unavailable or disabled), or None."""
        return self.available(device) or disabled(self.op, self.name)


_ops: dict[str, dict[str, Backend]] = {}
_disabled: dict[tuple[str, str], str] = {}
_chosen: dict[tuple[str, str, int | None], Backend] = {}
_verifier: list[Verifier] = []
_lock = threading.RLock()
_local = threading.local()


def register(
    op: str, name: str, available: Callable[[torch.device], str | None], run: Callable[..., Any], priority: int = 0
) -> Backend:
    """Add the implementation `name` of `op`. Raises ValueError if it is there already."""
    with _lock:
        table = _ops.setdefault(op, {})
        if name in table:
            raise ValueError(f"backend {name!r} of {op} is registered already")
        table[name] = Backend(op, name, run, available, priority)
        return table[name]


def op_names() -> list[str]:
    """All operations, in alphabetical order. Imports the modules that register them."""
    for module in _PROVIDERS:
        importlib.import_module(module)
    return sorted(_ops)


def backends(op: str) -> list[Backend]:
    """The implementations of `op`, most preferred first. Raises ValueError for an unknown operation."""
    if op not in _ops and op not in op_names():
        raise ValueError(f"unknown operation {op!r}, choose from: {', '.join(op_names())}")
    return sorted(_ops[op].values(), key=lambda b: -b.priority)


def environment_variable(op: str) -> str:
    """Name of the variable that forces the backend of `op`."""
    return f"TRELLIS2_BACKEND_{op.upper()}"


def _find(op: str, name: str) -> Backend:
    table = {b.name: b for b in backends(op)}
    if name not in table:
        raise ValueError(f"unknown backend {name!r} of {op}, choose from: {', '.join(table)}")
    return table[name]


def _verdict(backend: Backend, device: torch.device) -> str | None:
    """What the verifier says; not asked for the reference, nor while it is judging (it runs the operations itself)."""
    if backend.name == REFERENCE or getattr(_local, "verifying", False):
        return None
    _local.verifying = True
    try:
        return (_verifier[-1] if _verifier else _self_test())(backend, device)
    finally:
        _local.verifying = False


def _self_test() -> Verifier:
    from .selftest import verify

    return verify


def selected(op: str, device: torch.device | str) -> Backend:
    """The backend that `op` uses on `device`; decided at the first call for each device and logged.

    Raises ValueError for an unknown operation, and RuntimeError when the environment forces a backend that cannot run.
    """
    device = torch.device(device)
    key = (op, device.type, device.index)
    found = _chosen.get(key)
    if found is not None:
        return found
    with _lock:
        forced = os.environ.get(environment_variable(op))
        if forced:
            found = _find(op, forced)
            reason = found.reason(device)
            if reason is not None:
                raise RuntimeError(f"{environment_variable(op)}={forced} cannot run on {device}: {reason}")
        else:
            found = _first_usable(op, device)
        if not getattr(_local, "verifying", False):
            _chosen[key] = found
            _log.info("%s on %s: %s", op, device, found.name)
    return found


def _first_usable(op: str, device: torch.device) -> Backend:
    refused: list[str] = []
    for backend in backends(op):
        if backend.reason(device) is not None:
            continue
        verdict = _verdict(backend, device)
        if verdict is None:
            if refused:
                _log.warning("%s on %s: %s is used instead of %s", op, device, backend.name, ", ".join(refused))
            return backend
        disable(op, backend.name, verdict)
        refused.append(backend.name)
    raise RuntimeError(f"no backend of {op} can run on {device}")


def disable(op: str, name: str, reason: str) -> None:
    """Stop using a backend in this process and say why. Raises ValueError for the reference, the last resort."""
    _find(op, name)
    if name == REFERENCE:
        raise ValueError(f"the reference backend of {op} cannot be disabled")
    with _lock:
        _disabled[op, name] = reason
        _forget(op)
    _log.warning("backend %s of %s is not used: %s", name, op, reason)


def enable(op: str, name: str) -> None:
    """Undo `disable`."""
    _find(op, name)
    with _lock:
        _disabled.pop((op, name), None)
        _forget(op)


def disabled(op: str, name: str) -> str | None:
    """The reason given to `disable`, or None."""
    return _disabled.get((op, name))


@contextmanager
def replaced(backend: Backend, run: Callable[..., Any]) -> Iterator[Backend]:
    """Another implementation in the place of a backend's, for tests; choices are forgotten before and afterwards."""
    substitute = replace(backend, run=run)
    table = _ops[backend.op]
    with _lock:
        table[backend.name] = substitute
        _forget(backend.op)
    try:
        yield substitute
    finally:
        with _lock:
            table[backend.name] = backend
            _disabled.pop((backend.op, backend.name), None)
            _forget(backend.op)


def set_verifier(verifier: Verifier | None) -> None:
    """Install the function that judges a fast backend before its first use on a device; None for the self-test.

    It gets the backend and the device and returns None to accept it, else the reason to refuse it. Operations that it
    calls do not ask it again. Choices made before are forgotten, so that they are judged too.
    """
    with _lock:
        _verifier.clear()
        if verifier is not None:
            _verifier.append(verifier)
        _chosen.clear()


def _forget(op: str) -> None:
    for key in [k for k in _chosen if k[0] == op]:
        del _chosen[key]
