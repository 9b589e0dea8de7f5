"""A server with a fake runner, in this process."""

from __future__ import annotations

import importlib.util
import io
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

fastapi = pytest.importorskip("fastapi", reason="the extra 'app' is not installed")
pytest.importorskip("httpx", reason="needed by the test client")

HERE = Path(__file__).resolve().parent


def _options(values):
    known = {"steps", "pause", "fail", "die", "deaf"}
    for key in values:
        if key not in known:
            raise ValueError(f"unknown option {key!r}, choose from: {', '.join(sorted(known))}")
    return dict(values)


@pytest.fixture
def png():
    """Bytes of a small picture."""
    out = io.BytesIO()
    Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3)).save(out, format="PNG")
    return out.getvalue()


@pytest.fixture(scope="session", autouse=True)
def _importable_runner():
    """Worker processes import the fake runner by name."""
    sys.path.insert(0, str(HERE))
    assert importlib.util.find_spec("fake_runner") is not None
    yield
    sys.path.remove(str(HERE))


@pytest.fixture
def serve(tmp_path):
    """Call to start a server; returns (client, store, pool). It ends with the test."""
    from fastapi.testclient import TestClient

    from trellis2.serve.api import ApiSettings, create_app
    from trellis2.serve.pool import WorkerPool
    from trellis2.serve.store import JobStore

    running = []

    def start(folder=tmp_path / "data", devices=("cpu",), max_queued=100, options=None, pool_options=None, **settings):
        store = JobStore(folder, max_queued)
        pool = WorkerPool(store, devices, "fake_runner:FakeRunner", options or {}, **(pool_options or {}))
        checks = dict.fromkeys(("generate", "texture", "export"), _options)
        app = create_app(store, pool, checks, ApiSettings(hosts=("testserver",), **settings))
        client = TestClient(app)
        client.__enter__()
        running.append(client)
        return client, store, pool

    def stop(client):
        running.remove(client)
        client.__exit__(None, None, None)

    start.stop = stop
    yield start
    for client in list(running):
        stop(client)


@pytest.fixture
def wait_for():
    """Poll a job until it is final (or a condition holds); returns its description."""

    def wait(client, job_id, until=None, seconds=60.0):
        until = until or (lambda job: job["state"] in ("done", "failed", "cancelled"))
        deadline = time.monotonic() + seconds
        while True:
            job = client.get(f"/v1/jobs/{job_id}").json()
            if until(job):
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.05)

    return wait
