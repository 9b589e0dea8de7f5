"""The self-test: right backends pass, wrong ones are found, reported and not used, verdicts are kept."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trellis2.ops import backends as registry
from trellis2.ops import selftest
from trellis2.ops.neighbor_map import find_neighbors
from trellis2.ops.selftest import broken, cache_dir, examine, known_verdict, machine_key, verify
from trellis2.ops.selftest_cases import CASES, Case
from trellis2.ops.sparse_conv import sparse_conv3d

CPU = torch.device("cpu")
REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch, tmp_path):
    """Choices, verdicts and verifier of this test alone."""
    registry.op_names()
    monkeypatch.setattr(registry, "_ops", {op: dict(table) for op, table in registry._ops.items()})
    monkeypatch.setattr(registry, "_disabled", {})
    monkeypatch.setattr(registry, "_chosen", {})
    monkeypatch.setattr(registry, "_verifier", [])
    monkeypatch.setenv("TRELLIS2_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TRELLIS2_SELFTEST", "1")
    for op in registry.op_names():
        monkeypatch.delenv(registry.environment_variable(op), raising=False)


def _fake(run, monkeypatch, large_rows=0):
    """An operation `double` with a reference and one fast backend."""
    registry.register("double", "reference", lambda device: None, lambda x: x * 2)
    backend = registry.register("double", "fast", lambda device: None, run, priority=10)

    def prepare(rows):
        def make(device):
            x = torch.randn(rows, 4, generator=torch.Generator().manual_seed(0)).to(device)
            return lambda run: {"output": run(x)}

        return make

    cases = [Case("small", False, 1e-6, prepare(7)), Case("large", True, 1e-6, prepare((1 << 20) + 5))]
    monkeypatch.setitem(CASES, "double", cases)
    return backend


def test_every_fast_backend_has_cases_small_and_large():
    for op in registry.op_names():
        if len(registry.backends(op)) > 1:
            assert {case.large for case in CASES[op]} == {True, False}, op
    assert set(CASES) <= set(registry.op_names())


@pytest.mark.parametrize("op", sorted(CASES))
def test_backends_that_run_here_pass(op):
    for backend in registry.backends(op):
        if backend.reason(CPU) is None:
            verdict = examine(backend, CPU)
            assert verdict.ok, verdict
            assert all(r.error <= r.tolerance for r in verdict.cases)
            assert len(verdict.cases) == sum(not c.large for c in CASES[op])


def _late_error(x):
    """Right for small inputs only, as an index that overflows would be."""
    y = x * 2
    if x.shape[0] > 1 << 20:
        y[1 << 20 :] = 0
    return y


def _one_value(x):
    y = x * 2
    y[-1, -1] += 1
    return y


def _raises(x):
    raise RuntimeError("misaligned address\nmore")


@pytest.mark.parametrize(
    ("run", "large", "message"),
    [
        (_late_error, True, "case 'large' has a relative error"),
        (_one_value, False, "has a relative error"),
        (lambda x: x * float("nan"), False, "fails"),
        (lambda x: (x * 2)[:-1], False, "fails"),
        (lambda x: (x * 2).double(), False, "fails"),
        (lambda x: None, False, "fails"),
        (_raises, False, "RuntimeError: misaligned address"),
    ],
)
def test_wrong_backends_are_found(monkeypatch, run, large, message):
    backend = _fake(run, monkeypatch)
    verdict = examine(backend, CPU, large=large)
    assert not verdict.ok and message in verdict.message
    assert examine(registry.backends("double")[-1], CPU, large=large).ok


def test_a_wrong_backend_is_reported_and_not_used(monkeypatch, caplog):
    _fake(_one_value, monkeypatch)
    with caplog.at_level(logging.WARNING):
        chosen = registry.selected("double", CPU)
    assert chosen.name == "reference"
    text = caplog.text
    assert "fast of double" in text and "relative error" in text and "reference is used instead of fast" in text
    assert "self-test" in str(registry.disabled("double", "fast"))
    assert torch.equal(chosen.run(torch.ones(2)), torch.full((2,), 2.0))


@pytest.mark.parametrize(("op", "name"), [("sparse_conv", "torch"), ("attention", "sdpa")])
def test_a_deliberately_broken_kernel_is_detected_reported_and_not_used(op, name, caplog):
    assert registry.selected(op, CPU).name == name
    with broken(op, name), caplog.at_level(logging.WARNING):
        assert registry.selected(op, CPU).name == "reference"
        assert f"{name} of {op}" in caplog.text
        assert f"reference is used instead of {name}" in caplog.text
    assert registry.selected(op, CPU).name == name, "the hook must leave no trace"
    with pytest.raises(ValueError, match="not a fast backend"), broken(op, "reference"):
        pass


def test_verdicts_are_kept_and_read_again(monkeypatch):
    calls = []

    def run(x):
        calls.append(len(x))
        return x * 2

    backend = _fake(run, monkeypatch)
    assert known_verdict(backend, CPU) is None
    assert verify(backend, CPU) is None and calls == [7]
    kept = known_verdict(backend, CPU)
    assert kept is not None and kept.ok and kept.cases[0].case == "small"
    assert verify(backend, CPU) is None and calls == [7]
    monkeypatch.setattr(selftest, "_source_digest", lambda: "changed")
    assert known_verdict(backend, CPU) is None, "changed operations are tested again"
    assert verify(backend, CPU) is None and calls == [7, 7]


def test_damaged_verdicts_are_ignored(monkeypatch):
    backend = _fake(lambda x: x * 2, monkeypatch)
    verify(backend, CPU)
    (path,) = (cache_dir() / "selftest").iterdir()
    document = json.loads(path.read_text())
    for damage in ("", "{", "[]", json.dumps({**document, "cases": [{}]}), json.dumps({**document, "key": {}})):
        path.write_text(damage)
        assert known_verdict(backend, CPU) is None
        assert verify(backend, CPU) is None


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRELLIS2_CACHE_DIR", str(tmp_path / "file"))
    backend = _fake(lambda x: x * 2, monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert verify(backend, CPU) is None
    assert "could not be kept" in caplog.text


def test_it_can_be_switched_off(monkeypatch):
    backend = _fake(_raises, monkeypatch)
    monkeypatch.setenv("TRELLIS2_SELFTEST", "0")
    assert verify(backend, CPU) is None
    assert registry.selected("double", CPU).name == "fast"


def test_a_test_that_cannot_run_says_nothing_about_the_backend(monkeypatch, caplog):
    backend = _fake(lambda x: x * 2, monkeypatch)
    out_of_memory = torch.OutOfMemoryError("no room")

    for problem, message in ((out_of_memory, "no memory to test"), (RuntimeError("reference"), "could not run")):

        def fails(*args, problem=problem, **kwargs):
            raise problem

        monkeypatch.setattr(selftest, "examine", fails)
        with caplog.at_level(logging.WARNING):
            assert verify(backend, CPU) is None
        assert message in caplog.text
        assert known_verdict(backend, CPU) is None


def test_the_key_names_what_a_verdict_depends_on():
    key = machine_key(CPU)
    assert {"device", "driver", "torch", "triton", "package", "operations"} <= set(key)
    json.dumps(key)


def test_settings_of_the_caller_are_put_back(monkeypatch):
    seen = []

    def run(x):
        seen.append((torch.backends.cuda.matmul.allow_tf32, torch.is_autocast_enabled("cpu")))
        return x * 2

    backend = _fake(run, monkeypatch)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert examine(backend, CPU).ok
        assert seen == [(False, False)]
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


_INTERPRETED = """
import logging, sys
import torch
from trellis2.ops import backends, selftest
from trellis2.ops.selftest_cases import CASES, Case, _conv
torch.set_num_threads(1)
CASES["sparse_conv"] = [Case("tiny", False, 2e-5, _conv(6, 1, (3, 5), torch.float32))]
backend = {b.name: b for b in backends.backends("sparse_conv")}["triton"]
assert backend.reason(torch.device("cpu")) is None
assert selftest.examine(backend, "cpu", large=False).ok
with selftest.broken("sparse_conv", "triton"):
    assert backends.selected("sparse_conv", "cpu").name == "torch"
    print(backends.disabled("sparse_conv", "triton"))
"""


@pytest.mark.slow
def test_interpreted_triton_kernels_pass_and_a_broken_one_does_not(tmp_path):
    pytest.importorskip("triton")
    env = {**os.environ, "TRITON_INTERPRET": "1", "TRELLIS2_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _INTERPRETED], cwd=REPO, env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "relative error" in done.stdout and "triton of sparse_conv is not used" in done.stderr


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_results_stay_right_beside_a_broken_kernel(device):
    g = torch.Generator().manual_seed(0)
    hood = find_neighbors((torch.rand(1, 6, 6, 6, generator=g) < 0.4).nonzero().int().to(device), (3, 3, 3))
    feats = torch.randn(hood.shape[0], 16, generator=g).to(device)
    weight = torch.randn(8, 3, 3, 3, 16, generator=g).to(device)
    want = sparse_conv3d(feats, weight, None, hood, backend="reference")
    fast = registry.selected("sparse_conv", torch.device(device)).name
    assert fast == {"cpu": "torch", "cuda": "triton"}[device]
    with broken("sparse_conv", fast) as substitute:
        spoilt = substitute.run(feats, weight, None, hood)
        got = sparse_conv3d(feats, weight, None, hood)
    assert (spoilt - want).abs().max() > 50
    assert (got - want).norm() <= 1e-5 * want.norm()


@pytest.mark.gpu
def test_cuda_backends_pass_and_broken_ones_are_not_used(caplog):
    device = torch.device("cuda")
    for op in registry.op_names():
        usable = [b for b in registry.backends(op) if b.reason(device) is None]
        for backend in usable:
            verdict = examine(backend, device)
            assert verdict.ok, verdict
            assert len(verdict.cases) == len(CASES[op])
        chosen = registry.selected(op, device)
        assert chosen.name == usable[0].name
        if chosen.name != "reference":
            with broken(op, chosen.name), caplog.at_level(logging.WARNING):
                assert registry.selected(op, device).name == usable[1].name
            assert f"{chosen.name} of {op}" in caplog.text
