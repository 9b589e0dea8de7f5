"""The doctor's report: complete, readable, and honest about what is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trellis2.doctor import __main__ as command
from trellis2.doctor import report, voxel_core
from trellis2.doctor.machine import accelerators, advice, versions
from trellis2.ops import backends as registry
from trellis2.ops import selftest
from trellis2.utils.memory import memory_tier

CPU = torch.device("cpu")
REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def own_registry(monkeypatch, tmp_path):
    """Two operations only, which is enough to tell and faster; the fixture `healthy` has all."""
    registry.op_names()
    monkeypatch.setattr(registry, "_ops", {op: dict(registry._ops[op]) for op in ("attention", "sparse_conv")})
    monkeypatch.setattr(registry, "_disabled", {})
    monkeypatch.setattr(registry, "_chosen", {})
    monkeypatch.setattr(registry, "_verifier", [])
    monkeypatch.setenv("TRELLIS2_CACHE_DIR", str(tmp_path / "cache"))
    for op in registry.op_names():
        monkeypatch.delenv(registry.environment_variable(op), raising=False)


@pytest.fixture(scope="module")
def all_operations():
    return set(registry.op_names())


@pytest.fixture(scope="module")
def healthy(all_operations):
    return report.collect([CPU], quick=True)


@pytest.fixture
def no_core(monkeypatch):
    monkeypatch.setattr(report, "core_report", lambda devices, quick: {"state": "ok", "with_cuda": False, "checks": []})


def test_every_operation_has_a_backend_in_use(healthy, all_operations):
    rows = {row["operation"]: row for row in healthy["operations"]}
    assert set(rows) == all_operations
    for op, row in rows.items():
        assert row["problem"] is None
        states = {entry["backend"]: entry["state"] for entry in row["backends"]}
        assert states["reference"] == "reference"
        assert states[row["selected"]] in ("ok", "reference"), op
        for entry in row["backends"]:
            assert (entry["state"] == "unavailable") == bool(entry["reason"])
    assert healthy["problems"] == []


def test_the_report_is_json_and_text(healthy):
    assert json.loads(json.dumps(command._finite(healthy)))["versions"]["torch"] == torch.__version__
    text = report.as_text(healthy)
    for word in (
        "Versions",
        "Devices",
        "sparse_conv",
        "* torch",
        "o_voxel native core",
        "flash_attn",
        "No problems found",
    ):
        assert word in text
    assert max(len(line) for line in text.splitlines()) < 240


@pytest.mark.parametrize(
    ("device", "kernel", "instead"),
    [("cpu", "torch", "reference"), pytest.param("cuda", "triton", "torch", marks=pytest.mark.gpu)],
)
def test_a_broken_kernel_is_reported_and_not_used(no_core, monkeypatch, device, kernel, instead):
    monkeypatch.setenv("TRELLIS2_SELFTEST", "1")
    with selftest.broken("sparse_conv", kernel):
        found = report.collect([torch.device(device)], quick=True)
        row = next(r for r in found["operations"] if r["operation"] == "sparse_conv")
        assert row["selected"] == instead
        assert "relative error" in row["problem"]
        assert any(f"sparse_conv on {device}: {kernel}" in line for line in found["problems"])
        assert "broken" in report.as_text(found) and "No problems found" not in report.as_text(found)


def test_exit_code_says_whether_something_is_broken(capsys, no_core):
    assert command.main(["--quick", "--device", "cpu"]) == 0
    assert "Operations" in capsys.readouterr().out
    with selftest.broken("attention", "sdpa"):
        assert command.main(["--quick", "--json", "--device", "cpu"]) == 1
    assert json.loads(capsys.readouterr().out)["problems"]


def test_a_forced_backend_that_cannot_run_is_a_problem(monkeypatch, no_core):
    monkeypatch.setenv(registry.environment_variable("attention"), "cudnn")
    found = report.collect([CPU], quick=True)
    row = next(r for r in found["operations"] if r["operation"] == "attention")
    if not torch.cuda.is_available():
        assert row["selected"] is None and "cannot run on cpu" in row["problem"]


def test_a_core_that_does_not_load_is_a_problem(monkeypatch):
    import o_voxel._native

    def fails():
        raise ImportError("undefined symbol: x")

    monkeypatch.setattr(o_voxel._native, "native_module", fails)
    core = voxel_core.core_report([CPU])
    assert core["state"] == "broken" and "undefined symbol" in core["message"]
    monkeypatch.setattr(o_voxel._native, "native_module", lambda: None)
    assert voxel_core.core_report([CPU])["state"] == "absent"


def test_verdicts_of_the_voxel_library_are_part_of_the_report(monkeypatch):
    import o_voxel.selftest

    found = [
        o_voxel.selftest.Verdict(op, "native", ok, 0.0, 0.0, "note") for op, ok in (("curves", True), ("x", False))
    ]
    asked = []
    monkeypatch.setattr(o_voxel.selftest, "run", lambda device, refresh: asked.append(refresh) or found)
    monkeypatch.setattr(voxel_core, "_CHECKS", {})
    core = voxel_core.core_report([CPU], quick=True)
    if core["state"] == "ok":
        assert [(c["operation"], c["state"]) for c in core["checks"]] == [("curves", "ok"), ("x", "broken")]
        voxel_core.core_report([CPU])
        assert asked == [False, True]
        lines = report.problems({"operations": [], "voxel_core": core})
        assert lines == ["o_voxel, x on cpu: note"]


def test_a_wrong_core_is_a_problem(monkeypatch):
    def check(device, backend):
        return [torch.ones(3) * (1.1 if backend == "native" else 1.0)]

    monkeypatch.setattr(voxel_core, "_CHECKS", {"wrong": check})
    row = voxel_core._compare("wrong", CPU)
    assert row["state"] == "broken" and "differs" in row["message"]
    monkeypatch.setattr(voxel_core, "_CHECKS", {"raises": lambda device, backend: 1 / 0})
    assert "ZeroDivisionError" in voxel_core._compare("raises", CPU)["message"]


def test_machine_facts():
    assert versions()["python"].startswith("3.")
    assert set(accelerators()) == {"flash_attn", "flash_attn_interface", "xformers", "nvdiffrast", "spconv"}
    tiers = [memory_tier(int(gb * 1e9)).name for gb in (4, 6.2, 8.3, 16, 140)]
    assert tiers == ["small", "streamed int8", "streamed", "swapped", "resident"]


def test_advice_follows_what_is_missing():
    def made(cuda="13.0", triton="3.6", state="ok", with_cuda=True, gpu=True, compiler="gcc"):
        devices = [{"device": "cpu", "compiler": compiler}]
        devices += [{"device": "cuda:0", "capability": "8.6"}] if gpu else []
        return {
            "devices": devices,
            "versions": {"cuda": cuda, "hip": None, "triton": triton},
            "voxel_core": {"state": state, "with_cuda": with_cuda},
            "accelerators": dict.fromkeys(("flash_attn", "flash_attn_interface", "xformers")),
        }

    assert "CPU build" in advice(made(cuda=None, gpu=False))[0]
    assert "finds no GPU" in advice(made(gpu=False))[0]
    assert "triton is not installed" in advice(made(triton=None))[0]
    assert "no C compiler" in advice(made(compiler=None))[0]
    assert any("not built" in line for line in advice(made(state="absent")))
    assert any("without CUDA" in line for line in advice(made(with_cuda=False)))
    assert advice(made()) == ["flash-attn may speed attention up: `pip install flash-attn` (optional)"]


@pytest.mark.slow
def test_it_runs_as_a_command(tmp_path):
    env = {**os.environ, "TRELLIS2_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "trellis2.doctor", "--quick", "--json", "--device", "cpu"],
        cwd=REPO, env=env, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["problems"] == []


@pytest.mark.gpu
def test_cuda_device_is_healthy():
    found = report.collect([torch.device("cuda")], quick=True)
    assert found["problems"] == [], found["problems"]
    rows = {row["operation"]: row for row in found["operations"]}
    assert rows["sparse_conv"]["selected"] == "triton" and rows["attention"]["selected"] != "reference"
    assert any(d["device"] == "cuda:0" and d["tier"] for d in found["devices"])
