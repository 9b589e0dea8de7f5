"""Fixtures shared by the suite."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

REPO = Path(__file__).resolve().parent.parent


def _shared(*parts: str) -> Path:
    root = Path(os.environ.get("TRELLIS2_SHARED_DIR", REPO.parent / "shared"))
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not here; set TRELLIS2_SHARED_DIR to the folder that holds spec/ and data/")
    return path


@pytest.fixture(scope="session")
def vectors_dir() -> Path:
    """Test vectors made by the reference (`spec/vectors`), kept outside the repository."""
    return _shared("spec", "vectors")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Example images and meshes (`data`), kept outside the repository."""
    return _shared("data")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _fast_backends_untested(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU fast backends are used whatever the self-test says, or a test would compare a fallback with itself."""
    if request.node.get_closest_marker("gpu"):
        monkeypatch.setenv("TRELLIS2_SELFTEST", "0")


class VectorFile:
    """Tensors of one file; `spec` is its header."""

    def __init__(self, path: Path, device: str = "cpu") -> None:
        self.device = device
        with safe_open(str(path), "pt") as file:
            self.spec: dict[str, Any] = json.loads(file.metadata()["spec"])
            self.tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def get(self, name: str) -> torch.Tensor | None:
        return self.tensors.get(name)

    def weights(self, case: str = "") -> dict[str, torch.Tensor]:
        """State dict of one case."""
        prefix = f"{case}.w." if case else "w."
        return {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}

    def close(self, actual: torch.Tensor, name: str, rel_l2: float | None = None) -> None:
        """Compare with the tolerance that the file states, or with a bound on the relative L2 error."""
        expected, tolerance = self.tensors[name], self.spec["tolerance"]
        if rel_l2 is not None:
            tolerance = {"rel_l2": rel_l2}
        assert actual.shape == expected.shape, name
        assert actual.device == expected.device, name
        if tolerance.get("exact"):
            assert torch.equal(actual.to(expected.dtype), expected), name
        elif "rel_l2" in tolerance:
            error = (actual.float() - expected.float()).norm() / expected.float().norm()
            assert error <= tolerance["rel_l2"], f"{name}: relative L2 {error:.4g}"
        else:
            torch.testing.assert_close(
                actual.to(expected.dtype), expected, rtol=tolerance["rtol"], atol=tolerance["atol"]
            )


@pytest.fixture
def device() -> str:
    """Where the test computes; modules whose tests also run on CUDA override it with `any_device`."""
    return "cpu"


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def any_device(request: pytest.FixtureRequest) -> Iterator[str]:
    """cpu, and cuda without TF32."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield request.param
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


@pytest.fixture
def vectors(vectors_dir: Path, device: str) -> Callable[[str], VectorFile]:
    """Call with the stem of a file in vectors/models; its tensors are on `device`."""
    return lambda stem: VectorFile(vectors_dir / "models" / f"{stem}.safetensors", device)
