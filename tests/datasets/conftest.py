"""The tiny dataset folder of the training tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

HELPER = Path(__file__).resolve().parents[1] / "training_data.py"


@pytest.fixture(scope="session")
def training_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the layout of the data toolkit."""
    spec = importlib.util.spec_from_file_location("training_data", HELPER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_dataset(tmp_path_factory.mktemp("datasets") / "data")
