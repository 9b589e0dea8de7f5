"""Fixtures of the pipeline tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def untrained() -> ModuleType:
    """The module `untrained.py` beside this file."""
    spec = importlib.util.spec_from_file_location("untrained_pipeline", Path(__file__).with_name("untrained.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pipeline_dir(untrained: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete untrained pipeline; tests must not change it."""
    return untrained.make_untrained_pipeline(tmp_path_factory.mktemp("untrained") / "pipeline")


@pytest.fixture
def picture() -> Image.Image:
    """RGBA, 64 x 64: an orange disc on nothing."""
    y, x = np.mgrid[:64, :64]
    inside = (x - 32) ** 2 + (y - 30) ** 2 < 20**2
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[inside] = (230, 140, 40, 255)
    return Image.fromarray(rgba)
