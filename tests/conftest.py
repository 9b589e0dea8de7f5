"""Fixtures shared by the suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
