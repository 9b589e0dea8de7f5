"""Fixtures shared by the suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from o_voxel._device import cuda_core

REPO = Path(__file__).resolve().parent.parent.parent


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
    if item.get_closest_marker("gpu"):
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
        if cuda_core() is None:
            pytest.fail("there is a CUDA device, but the compiled core is missing or has no CUDA kernels")


@pytest.fixture(autouse=True)
def _kernels_untested(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests on a GPU use the kernels whatever the self-test says, or they would compare a fallback with itself."""
    if request.node.get_closest_marker("gpu"):
        monkeypatch.setenv("TRELLIS2_SELFTEST", "0")
