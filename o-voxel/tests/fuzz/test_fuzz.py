"""A short run of the fuzz driver over every reader; the long runs are recorded in benchmarks/results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("run_fuzz.py")


@pytest.mark.parametrize(("reader", "count"), [("vxz", 6000), ("npz", 4000), ("ply", 6000), ("octree", 4000)])
def test_readers_survive_mutated_files(reader, count, tmp_path):
    command = [sys.executable, str(DRIVER), "--reader", reader, "--count", str(count), "--seed", "7", "--folder",
               str(tmp_path)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["count"] == count == result["read"] + result["refused"]
    assert result["read"] > count / 100  # the mutations leave some files readable
    assert result["worst_bytes"] < 4 * result["limit_bytes"]


def test_the_driver_reports_faults(tmp_path):
    """A reader that breaks its contract is seen: the driver run against a reader that raises KeyError."""
    script = tmp_path / "broken.py"
    script.write_text(
        "import sys, runpy\n"
        f"sys.path.insert(0, {str(DRIVER.parent)!r})\n"
        "import o_voxel.io as io\n"
        "def broken(stream, **limits):\n"
        "    raise KeyError('x')\n"
        "io.read_ply = broken\n"
        f"sys.argv = ['run_fuzz', '--reader', 'ply', '--count', '5', '--folder', {str(tmp_path / 'bad')!r}]\n"
        f"runpy.run_path({str(DRIVER)!r}, run_name='__main__')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["num_failures"] == 5
    assert len(list((tmp_path / "bad").iterdir())) == 5
