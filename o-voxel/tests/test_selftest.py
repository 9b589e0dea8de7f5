"""Self-test: it passes, notices a wrong kernel, keeps its verdicts, and switches off what fails."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor

from o_voxel import selftest
from o_voxel._native import native_module
from o_voxel.selftest import OPS, Verdict, run, trusted
from o_voxel.selftest.cases import CASES, Case

pytestmark = pytest.mark.skipif(native_module() is None, reason="the compiled core is not built")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No verdict is known, and none is kept after the test."""
    monkeypatch.setenv("TRELLIS2_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("TRELLIS2_SELFTEST", raising=False)
    monkeypatch.setattr(selftest, "_verdicts", {})
    return tmp_path


def _case(wrong: bool, calls: list[str]) -> Case:
    """An operation whose compiled core is off by one if `wrong`."""

    def work(device: torch.device, backend: str, large: bool) -> dict[str, Tensor]:
        calls.append(backend)
        return {"value": torch.arange(5.0, device=device) + (backend == "native" and wrong)}

    return Case("curves", work)


def test_the_core_on_the_cpu_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = run("cpu")
    assert [v.op for v in verdicts] == list(OPS)
    assert all(v.ok and v.backend == "native" for v in verdicts), verdicts
    monkeypatch.setattr(selftest, "_examine", None)  # a second look tests nothing
    assert run("cpu") == verdicts


def test_verdicts_are_kept_on_disk(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    calls: list[str] = []
    monkeypatch.setattr(selftest, "CASES", (_case(False, calls),))
    first = run("cpu")
    assert calls == ["native", "reference"] and len(list(fresh.rglob("*.json"))) == 1
    monkeypatch.setattr(selftest, "_verdicts", {})  # as in a new process
    assert run("cpu") == first and len(calls) == 2
    next(fresh.rglob("*.json")).write_text("{")
    monkeypatch.setattr(selftest, "_verdicts", {})
    assert run("cpu")[0].ok and len(calls) == 4
    run("cpu", refresh=True)
    assert len(calls) == 6


def test_a_wrong_kernel_is_found_and_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(selftest, "CASES", (_case(True, []),))
    with caplog.at_level(logging.WARNING):
        assert not trusted("curves", CPU)
    assert "curves failed its self-test" in caplog.text
    verdict = run("cpu")[0]
    assert not verdict.ok and verdict.max_error == 1.0 and "value" in verdict.note
    monkeypatch.setenv("TRELLIS2_SELFTEST", "0")
    assert trusted("curves", CPU)


def test_an_exception_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(device: torch.device, backend: str, large: bool) -> dict[str, Tensor]:
        raise RuntimeError("launch failed")

    monkeypatch.setattr(selftest, "CASES", (Case("curves", work),))
    verdict = run("cpu")[0]
    assert not verdict.ok and "launch failed" in verdict.note and verdict.max_error == float("inf")


def test_settings_of_the_caller_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def work(device: torch.device, backend: str, large: bool) -> dict[str, Tensor]:
        seen.append(torch.are_deterministic_algorithms_enabled())
        assert trusted("curves", device)  # inside a test the kernels are used without asking
        return {"value": torch.zeros(1)}

    monkeypatch.setattr(selftest, "CASES", (Case("curves", work),))
    with torch.no_grad():
        assert run("cpu")[0].ok
        assert not torch.is_grad_enabled()
    assert seen == [True, True] and not torch.are_deterministic_algorithms_enabled()


def test_difference_is_strict() -> None:
    ones = torch.ones(3)
    assert selftest._difference(ones, ones) == 0.0
    assert selftest._difference(ones.double(), ones) == float("inf")
    assert selftest._difference(torch.ones(4), ones) == float("inf")
    assert selftest._difference(torch.full((3,), float("nan")), ones) == float("inf")
    assert selftest._difference(ones + 0.5, ones) == 0.5


def test_a_device_without_core_is_refused() -> None:
    with pytest.raises(RuntimeError, match="does not serve"):
        run("meta")


@pytest.mark.gpu
def test_every_kernel_passes_on_the_gpu() -> None:
    verdicts = run("cuda")
    assert all(v.ok and v.backend == "cuda" for v in verdicts), verdicts


@pytest.mark.gpu
def test_a_failed_operation_takes_another_path(monkeypatch: pytest.MonkeyPatch) -> None:
    from o_voxel.serialize import encode_seq

    key = "curves", str(torch.device("cuda", torch.cuda.current_device()))
    failed = Verdict("curves", "cuda", False, 1.0, 0.0, "made up")
    monkeypatch.setattr(selftest, "_verdicts", {key: failed})
    monkeypatch.setattr(native_module(), "curve_encode_cuda", None)  # would raise if it were used
    coords = torch.randint(0, 1024, (100, 3))
    assert torch.equal(encode_seq(coords.cuda()).cpu(), encode_seq(coords))


def test_cases_name_every_operation_once() -> None:
    assert len(set(OPS)) == len(CASES) == len(OPS)
