"""The Khronos glTF validator, where node and the npm package `gltf-validator` are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

__all__ = ["require_validator", "validate_glb"]

_SCRIPT = """
const validator = require(process.argv[1]), fs = require('fs');
validator.validateBytes(new Uint8Array(fs.readFileSync(process.argv[2])), {maxIssues: 50})
  .then(report => console.log(JSON.stringify(report.issues)));
"""


def require_validator() -> Path:
    """Folder of the package; skips the test where it is missing. `GLTF_VALIDATOR` names another folder."""
    default = Path(__file__).resolve().parent / "node_modules" / "gltf-validator"
    module = Path(os.environ.get("GLTF_VALIDATOR", default))
    if shutil.which("node") is None or not module.exists():
        pytest.skip("no Khronos validator: `npm install --prefix tests/tools`, or set GLTF_VALIDATOR to its folder")
    return module


def validate_glb(path: Path) -> dict[str, Any]:
    """The validator's `issues`: `numErrors`, `numWarnings`, `messages`, …"""
    command = ["node", "-e", _SCRIPT, str(require_validator()), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(done.stdout)
