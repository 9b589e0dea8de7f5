"""Backends of every operation and what the self-test says about them."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import torch

from ..ops import backends
from ..ops.backends import REFERENCE, Backend
from ..ops.selftest import Verdict, examine, known_verdict
from ..ops.selftest_cases import CASES

__all__ = ["operation_rows"]


def _judge(backend: Backend, device: torch.device, quick: bool) -> Verdict | None:
    """The verdict: the known one if that will do, else found now; None if there is no room to test."""
    if quick:
        verdict = known_verdict(backend, device)
        return verdict if verdict is not None else examine(backend, device, large=False, timed=True)
    try:
        return examine(backend, device, timed=True)
    except torch.OutOfMemoryError:
        return None


def _backend_row(backend: Backend, device: torch.device, quick: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"backend": backend.name, "reason": backend.reason(device), "verdict": None}
    if row["reason"] is not None:
        return row | {"state": "unavailable"}
    if backend.name == REFERENCE:
        return row | {"state": "reference"}
    if not CASES.get(backend.op):
        return row | {"state": "untested"}
    try:
        verdict = _judge(backend, device, quick)
    except Exception as error:  # the reference failed: nothing can be said
        return row | {"state": "broken", "message": f"reference: {type(error).__name__}: {error}"}
    if verdict is None:
        return row | {"state": "untested", "message": "no memory for the test"}
    row["verdict"] = asdict(verdict)
    return row | {"state": "ok" if verdict.ok else "broken", "message": verdict.message}


def operation_rows(device: torch.device, quick: bool) -> list[dict[str, Any]]:
    """One row for each operation: the backend in use on the device, and all of them with their verdicts."""
    rows = []
    for op in backends.op_names():
        row: dict[str, Any] = {"operation": op, "device": str(device), "forced": None, "problem": None}
        row["forced"] = os.environ.get(backends.environment_variable(op)) or None
        row["backends"] = [_backend_row(b, device, quick) for b in backends.backends(op)]
        for entry in row["backends"]:
            if entry["state"] == "broken" and entry["backend"] != REFERENCE:
                row["problem"] = f"{entry['backend']}: {entry['message']}"
        try:
            row["selected"] = _in_use(op, device, row["backends"])
        except (RuntimeError, ValueError) as error:
            row["selected"], row["problem"] = None, str(error)
        rows.append(row)
    return rows


def _in_use(op: str, device: torch.device, found: list[dict[str, Any]]) -> str:
    """What a program started now would use: the registry's choice, but never what was just found broken."""
    for entry in found:
        forced = os.environ.get(backends.environment_variable(op)) == entry["backend"]
        if entry["state"] == "broken" and not forced and backends.disabled(op, entry["backend"]) is None:
            backends.disable(op, entry["backend"], f"it failed its self-test: {entry['message']}")
    return backends.selected(op, device).name
