"""The web pages over a fake runner, served from a thread of this process."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the extra 'app' is not installed")

HERE = Path(__file__).resolve().parent
MINI = HERE.parents[1] / "assets" / "models" / "mini"


@pytest.fixture(scope="session", autouse=True)
def _importable_runner():
    """Worker processes import the fake runner by name."""
    sys.path.insert(0, str(HERE))
    yield
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def serve_page(tmp_path_factory):
    """Call with "image" or "texturing": (address, store). The server ends with the module."""
    import uvicorn

    from trellis2.apps.launch import build_app
    from trellis2.serve.api import ApiSettings
    from trellis2.serve.pool import WorkerPool
    from trellis2.serve.store import JobStore

    running = []

    def start(page):
        store = JobStore(tmp_path_factory.mktemp("data"))
        pool = WorkerPool(store, ("cpu",), "paint_runner:PaintRunner", {})
        app = build_app(page, str(MINI), store, pool, ApiSettings())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < deadline and thread.is_alive(), "the server did not start"
            time.sleep(0.05)
        running.append((server, thread))
        return f"http://127.0.0.1:{port}", store

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def browser():
    """Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        chromium = driver.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        chromium.close()
