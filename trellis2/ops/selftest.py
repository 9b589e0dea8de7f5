"""Self-test: a fast backend is compared with the reference before its first use on a device.

The verdict is kept per user (`TRELLIS2_CACHE_DIR`, default ~/.cache/trellis2), for one device, driver, PyTorch, Triton,
version of this package and content of its operations: what changed is tested again. A backend that fails is not used,
and a warning says which operation, how wrong, and what runs instead. `TRELLIS2_SELFTEST=0` switches the test off.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import trellis2

from . import backends
from .backends import REFERENCE, Backend
from .selftest_cases import CASES, Case
from .triton_support import interpreting

__all__ = ["CaseResult", "Verdict", "broken", "cache_dir", "examine", "known_verdict", "machine_key", "verify"]

_log = logging.getLogger(__name__)
_ROW_FACTOR = 8.0
"""A single row may be this much worse than the whole."""


@dataclass(frozen=True)
class CaseResult:
    """One case of one backend."""

    case: str
    error: float  # relative L2 error of the worst output, infinite if it is not finite, missing or raised
    tolerance: float
    detail: str  # output that is worst, or the exception
    milliseconds: float  # one call after the first
    reference_milliseconds: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance


@dataclass(frozen=True)
class Verdict:
    """What the self-test found about a backend on a device."""

    op: str
    backend: str
    device: str
    ok: bool
    message: str
    cases: tuple[CaseResult, ...]


def cache_dir() -> Path:
    """Folder of this package's files for one user."""
    root = os.environ.get("TRELLIS2_CACHE_DIR")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trellis2"


@functools.cache
def _source_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine_key(device: torch.device) -> dict[str, Any]:
    """Everything a verdict depends on besides the operation and the backend."""
    key: dict[str, Any] = {
        "torch": torch.__version__,
        "triton": _version("triton"),
        "package": trellis2.__version__,
        "operations": _source_digest(),
        "interpreted": interpreting(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        key |= {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "driver": _driver_version(),
            "cuda": torch.version.cuda or torch.version.hip,
        }
    else:
        key |= {"device": f"{device.type} {platform.machine()}", "driver": platform.platform(terse=True)}
    return key


@functools.cache
def _driver_version() -> str | None:
    """Version of the NVIDIA driver as the kernel module tells it; None where that cannot be read."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    words = text.splitlines()[0].split() if text else []
    return next((w for w in words if w[:1].isdigit() and "." in w), None)


# Comparison --------------------------------------------------------------------------------------------------------


def _error(actual: Any, expected: Tensor, exact: bool) -> float:
    """Relative L2 error, or 1/8 of that of the worst row if it is larger; infinite for other shapes or values."""
    if not isinstance(actual, Tensor) or actual.shape != expected.shape or actual.device != expected.device:
        return float("inf")
    if exact:
        return 0.0 if torch.equal(actual, expected) else float("inf")
    if actual.dtype != expected.dtype:
        return float("inf")
    rows = max(1, expected.shape[0] if expected.ndim > 1 else 1)
    difference = (actual.float() - expected.float()).reshape(rows, -1).norm(dim=1)
    sizes = expected.float().reshape(rows, -1).norm(dim=1)
    total = float(sizes.norm())
    if total == 0:
        return 0.0 if float(difference.norm()) == 0 else float("inf")
    typical = total / rows**0.5
    worst = float((difference / sizes.clamp(min=typical)).max())
    error = max(float(difference.norm()) / total, worst / _ROW_FACTOR)
    return error if error == error else float("inf")


@contextmanager
def _plain_settings(device: torch.device) -> Iterator[None]:
    """IEEE float32 products and no autocast, whatever the caller set."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False), torch.inference_mode(False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _run_case(case: Case, backend: Backend, reference: Backend, device: torch.device, timed: bool) -> CaseResult:
    call = case.prepare(device)
    expected = call(reference.run)
    try:
        actual = call(backend.run)
        _synchronize(device)
    except torch.OutOfMemoryError:
        raise
    except Exception as problem:  # whatever a kernel raises is the finding
        line = (str(problem).strip() or repr(problem)).splitlines()[0]
        return CaseResult(case.name, float("inf"), case.tolerance, f"{type(problem).__name__}: {line}", 0.0, 0.0)
    error, worst = max((_error(actual.get(n), expected[n], case.tolerance == 0), n) for n in expected)
    times = [0.0, 0.0]
    if timed:
        for i, one in enumerate((backend, reference)):
            _synchronize(device)
            start = time.perf_counter()
            call(one.run)
            _synchronize(device)
            times[i] = (time.perf_counter() - start) * 1e3
    return CaseResult(case.name, error, case.tolerance, worst, times[0], times[1])


def examine(backend: Backend, device: torch.device | str, *, large: bool | None = None, timed: bool = False) -> Verdict:
    """Compare a backend with the reference of its operation on all cases; nothing is read from or written to files.

    large: also with more than 2²⁰ rows (default: on devices other than the CPU, which would take long). timed: time
    one call of each. Raises torch.OutOfMemoryError when the device has no room for the test.
    """
    device = torch.device(device)
    if large is None:
        large = device.type != "cpu"
    reference = next(b for b in backends.backends(backend.op) if b.name == REFERENCE)
    results = []
    with _plain_settings(device):
        for case in CASES.get(backend.op, []):
            if not case.large or large:
                results.append(_run_case(case, backend, reference, device, timed))
    bad = [r for r in results if not r.ok]
    message = "as the reference" if results else "there is no test for this operation"
    if bad:
        r = max(bad, key=lambda r: r.error)
        size = (
            "fails" if r.error == float("inf") else f"has a relative error of {r.error:.2g} (bound {r.tolerance:.2g})"
        )
        message = f"{r.detail} of the case '{r.case}' {size}; {len(bad)} of {len(results)} cases are wrong"
    return Verdict(backend.op, backend.name, str(device), not bad, message, tuple(results))


# Verdicts on disk --------------------------------------------------------------------------------------------------


def _verdict_file(backend: Backend, device: torch.device) -> Path:
    text = json.dumps(machine_key(device), sort_keys=True)
    name = f"{backend.op}-{backend.name}-{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
    return cache_dir() / "selftest" / name


def known_verdict(backend: Backend, device: torch.device | str) -> Verdict | None:
    """The kept verdict on a backend for this machine; None if there is none that can be read."""
    device = torch.device(device)
    if _deliberately_broken(backend):
        return None
    try:
        document = json.loads(_verdict_file(backend, device).read_text(encoding="utf-8"))
        if document["key"] != machine_key(device):
            return None
        cases = tuple(CaseResult(**c) for c in document["cases"])
        return Verdict(backend.op, backend.name, str(device), bool(document["ok"]), str(document["message"]), cases)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(verdict: Verdict, backend: Backend, device: torch.device) -> None:
    path = _verdict_file(backend, device)
    document = {"key": machine_key(device), **asdict(verdict)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
        os.replace(name, path)
    except OSError as error:
        _log.warning("the self-test's verdict could not be kept in %s: %s", path.parent, error)


def verify(backend: Backend, device: torch.device) -> str | None:
    """None if the backend may be used on the device, else why not; tested now unless the verdict is known.

    The function that `backends` asks before the first use of a fast backend.
    """
    if os.environ.get("TRELLIS2_SELFTEST", "1") == "0" or not CASES.get(backend.op):
        return None
    verdict = known_verdict(backend, device)
    if verdict is None:
        _log.info("testing backend %s of %s on %s (once per machine and version)", backend.name, backend.op, device)
        try:
            verdict = examine(backend, device)
        except torch.OutOfMemoryError:
            _log.warning("no memory to test backend %s of %s on %s; used untested", backend.name, backend.op, device)
            return None
        except Exception as problem:  # the reference or the inputs: says nothing about the backend
            _log.warning(
                "the self-test of %s could not run on %s (%s: %s); backend %s is used untested",
                backend.op, device, type(problem).__name__, problem, backend.name,
            )  # fmt: skip
            return None
        if not _deliberately_broken(backend):
            _keep(verdict, backend, device)
    if verdict.ok:
        return None
    return f"it failed its self-test on {device}: {verdict.message}"


# Test hook ---------------------------------------------------------------------------------------------------------


def _deliberately_broken(backend: Backend) -> bool:
    return getattr(backend.run, "deliberately_broken", False)


@contextmanager
def broken(op: str, name: str) -> Iterator[Backend]:
    """Put a wrong implementation in the place of a backend: one value of each result is off. For tests.

    Shows that the self-test notices. The registry is as before afterwards.
    """
    original = next((b for b in backends.backends(op) if b.name == name), None)
    if original is None or name == REFERENCE:
        raise ValueError(f"{name!r} is not a fast backend of {op}")

    def spoil(value: Any) -> Any:
        if isinstance(value, Tensor):
            changed = value.clone()
            if changed.numel():
                last = changed.view(-1)[-1:]
                last.copy_(last + 100 if changed.dtype.is_floating_point else torch.zeros_like(last) + 1 - last)
            return changed
        if isinstance(value, tuple):
            return tuple(spoil(v) for v in value)
        if hasattr(value, "unconfirmed"):
            value.unconfirmed = spoil(value.table)
        return value

    def run(*args: Any, **kwargs: Any) -> Any:
        return spoil(original.run(*args, **kwargs))

    run.deliberately_broken = True  # type: ignore[attr-defined]
    with backends.replaced(original, run) as substitute:
        yield substitute
