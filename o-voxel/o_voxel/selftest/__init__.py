"""Self-test of the CUDA kernels: each operation on random input, compared with the compiled core on the CPU.

The test of an operation runs before its first use on a device (`o_voxel._device.cuda_core` asks `trusted`). Its verdict
is kept per user (`TRELLIS2_CACHE_DIR`, default ~/.cache/trellis2) for one device, driver, PyTorch and build of the
compiled core; what changed is tested again. An operation that fails is not used: a warning names it, and PyTorch on the
device, or the CPU, does the work. `TRELLIS2_SELFTEST=0` switches the test off.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from o_voxel._native import native_module
from o_voxel.selftest.cases import CASES, Case

__all__ = ["OPS", "Verdict", "run", "trusted"]

logger = logging.getLogger(__name__)

OPS = tuple(case.op for case in CASES)


@dataclass(frozen=True)
class Verdict:
    """What the self-test found about one operation on one device."""

    op: str
    backend: str  # "cuda", compared with the CPU, or "native" on a CPU, compared with PyTorch
    ok: bool
    max_error: float  # largest absolute difference, infinite if shapes differ or the call raised
    seconds: float
    note: str


_state = threading.local()  # .examining: inside a test the kernels are used without asking
_lock = threading.RLock()
_verdicts: dict[tuple[str, str], Verdict] = {}


@contextmanager
def _examining() -> Iterator[None]:
    before = getattr(_state, "examining", False)
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    _state.examining = True
    torch.use_deterministic_algorithms(True, warn_only=True)  # gradients in one order: comparable bit by bit
    try:
        with torch.enable_grad(), torch.inference_mode(False):
            yield
    finally:
        _state.examining = before
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])


def _difference(actual: Tensor, expected: Tensor) -> float:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return float("inf")
    if torch.equal(actual, expected):
        return 0.0
    gap = float((actual.double() - expected.double()).abs().max())
    return gap if gap == gap else float("inf")


def _examine(case: Case, device: torch.device) -> Verdict:
    on_gpu = device.type == "cuda"
    backend = "cuda" if on_gpu else "native"
    tolerance = case.tolerance if on_gpu else case.reference_tolerance
    start = time.perf_counter()
    try:
        with _examining():
            actual = {name: value.detach().cpu() for name, value in case.run(device, "native", on_gpu).items()}
            expected = case.run(torch.device("cpu"), "native" if on_gpu else "reference", on_gpu)
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:  # whatever a kernel raises is the finding
        line = (str(problem).strip() or repr(problem)).splitlines()[0]
        note = f"{type(problem).__name__}: {line}"
        return Verdict(case.op, backend, False, float("inf"), time.perf_counter() - start, note)
    error, worst = max((_difference(actual[name], value.detach()), name) for name, value in expected.items())
    note = "the same bits" if error == 0 else f"{worst}: {error:.2g} off, bound {tolerance:.2g}"
    return Verdict(case.op, backend, error <= tolerance, error, time.perf_counter() - start, note)


@cache
def _driver() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.platform(terse=True)
    return text.splitlines()[0] if text else ""


def _verdict_file(op: str, device: torch.device) -> Path:
    native = native_module()
    core = Path(native.__file__ or "").stat() if native is not None else None
    what: list[object] = [torch.__version__, _driver(), None if core is None else (core.st_size, core.st_mtime_ns)]
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        what += [properties.name, properties.major, properties.minor, torch.version.cuda]
    digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:20]
    root = os.environ.get("TRELLIS2_CACHE_DIR")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trellis2"
    return (Path(root) if root else home) / "selftest" / f"o_voxel-{op}-{device.type}-{digest}.json"


def _read(path: Path) -> Verdict | None:
    try:
        return Verdict(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _keep(verdict: Verdict, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(verdict), file)
        os.replace(name, path)
    except OSError as error:
        logger.warning("the self-test's verdict could not be kept in %s: %s", path.parent, error)


def _judge(case: Case, device: torch.device, refresh: bool) -> Verdict:
    key = case.op, str(device)
    with _lock:
        if key in _verdicts and not refresh:
            return _verdicts[key]
        path = _verdict_file(case.op, device)
        verdict = None if refresh else _read(path)
        if verdict is None:
            logger.info("testing %s of o_voxel on %s (once per machine and version)", case.op, device)
            verdict = _examine(case, device)
            _keep(verdict, path)
        if not verdict.ok:
            logger.warning("o_voxel: %s failed its self-test on %s and is not used: %s", case.op, device, verdict.note)
        _verdicts[key] = verdict
        return verdict


def _resolve(device: torch.device | str) -> torch.device:
    resolved = torch.device(device)
    if resolved.type == "cuda" and resolved.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return resolved


def run(device: torch.device | str, *, refresh: bool = False) -> list[Verdict]:
    """Verdicts on all operations on a device, from the cache where they are known.

    refresh: test again. Raises torch.OutOfMemoryError when the device has no room for the test, and RuntimeError
    where the compiled core does not serve the device.
    """
    resolved = _resolve(device)
    native = native_module()
    if native is None or resolved.type not in ("cpu", "cuda") or (resolved.type == "cuda" and not native.with_cuda):
        raise RuntimeError(f"the compiled core of o_voxel does not serve {resolved}; PyTorch does the work there")
    return [_judge(case, resolved, refresh) for case in CASES]


def trusted(op: str, device: torch.device) -> bool:
    """Whether the kernels of an operation may be used on a CUDA device; tested now unless that is known."""
    if getattr(_state, "examining", False) or os.environ.get("TRELLIS2_SELFTEST", "1") == "0":
        return True
    resolved = _resolve(device)
    known = _verdicts.get((op, str(resolved)))
    if known is not None:
        return known.ok
    case = next(case for case in CASES if case.op == op)
    try:
        return _judge(case, resolved, False).ok
    except torch.OutOfMemoryError:
        logger.warning("no memory to test %s of o_voxel on %s; used untested", op, device)
        return True
