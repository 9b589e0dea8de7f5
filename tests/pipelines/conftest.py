"""Fixtures of the pipeline tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image


def _module(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def untrained() -> ModuleType:
    """The module `untrained.py` beside this file."""
    return _module("untrained_pipeline", Path(__file__).with_name("untrained.py"))


@pytest.fixture(scope="session")
def validate_glb() -> Callable[[Path], dict[str, Any]]:
    """Runs the Khronos glTF validator on a file; skips where it is not installed."""
    module = _module("validate_glb", Path(__file__).parents[1] / "tools" / "validate_glb.py")
    module.require_validator()
    return module.validate_glb


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
