"""The registry that decides which implementation of an operation runs."""

from __future__ import annotations

import pytest
import torch

from trellis2.ops import backends as module
from trellis2.ops.backends import (
    backends,
    disable,
    disabled,
    enable,
    environment_variable,
    op_names,
    register,
    selected,
    set_verifier,
)

CPU = torch.device("cpu")


@pytest.fixture
def op(monkeypatch):
    """An operation with a reference, a fast backend and one that cannot run here; the registry is put back after."""
    op_names()  # what registers itself on import must not end up in the copy
    for name in ("_ops", "_disabled", "_chosen"):
        monkeypatch.setattr(module, name, dict(getattr(module, name)))
    monkeypatch.setattr(module, "_verifier", [])
    register("double", "reference", lambda device: None, lambda x: x + x)
    register("double", "fast", lambda device: None, lambda x: 2 * x, priority=10)
    register("double", "absent", lambda device: "needs hardware that is not here", lambda x: x, priority=20)
    return "double"


def test_the_most_preferred_that_can_run_is_selected(op):
    assert [b.name for b in backends(op)] == ["absent", "fast", "reference"]
    assert selected(op, "cpu").name == "fast"
    assert selected(op, CPU).run(3) == 6
    assert op in op_names()


def test_a_disabled_backend_is_not_used_until_enabled(op):
    disable(op, "fast", "wrong on row 7")
    assert selected(op, CPU).name == "reference"
    assert disabled(op, "fast") == "wrong on row 7"
    enable(op, "fast")
    assert selected(op, CPU).name == "fast"
    with pytest.raises(ValueError, match="cannot be disabled"):
        disable(op, "reference", "no")


def test_the_environment_forces_a_backend(op, monkeypatch):
    monkeypatch.setenv(environment_variable(op), "reference")
    assert selected(op, CPU).name == "reference"
    module._chosen.clear()
    monkeypatch.setenv("TRELLIS2_BACKEND_DOUBLE", "absent")
    with pytest.raises(RuntimeError, match="TRELLIS2_BACKEND_DOUBLE=absent cannot run on cpu: needs hardware"):
        selected(op, CPU)
    monkeypatch.setenv("TRELLIS2_BACKEND_DOUBLE", "fats")
    with pytest.raises(ValueError, match="unknown backend 'fats' of double, choose from: absent, fast, reference"):
        selected(op, CPU)


def test_the_verifier_is_asked_once_and_its_refusal_counts(op):
    asked = []

    def verifier(backend, device):
        asked.append((backend.name, device.type, selected(op, device).name))  # may use operations itself
        return "differs from the reference"

    set_verifier(verifier)
    assert selected(op, CPU).name == "reference"
    assert selected(op, CPU).name == "reference"
    assert asked == [("fast", "cpu", "fast")]
    assert disabled(op, "fast") == "differs from the reference"


def test_names_are_unique_and_unknown_ones_are_named(op):
    with pytest.raises(ValueError, match="registered already"):
        register(op, "fast", lambda device: None, lambda x: x)
    with pytest.raises(ValueError, match="unknown operation 'treble'"):
        backends("treble")
