"""`python app.py` with the bundled networks and nothing pretended: from a picture to a downloaded asset."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from o_voxel.gltf import GltfFile

REPO = Path(__file__).resolve().parents[2]
PICTURE = REPO / "assets" / "example_image" / "duck.png"

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("browser")]


@pytest.fixture
def address(tmp_path):
    """Where `app.py` answers; the process ends with the test."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--data", str(tmp_path / "data"), "--devices", "cpu"]
    log = (tmp_path / "app.log").open("w+")
    process = subprocess.Popen(command, cwd=REPO, stdout=log, stderr=subprocess.STDOUT, env={**os.environ})
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            break
        except OSError:
            log.seek(0)
            assert process.poll() is None and time.monotonic() < deadline, log.read()
            time.sleep(0.2)
    yield url
    process.terminate()
    process.wait(20)
    log.close()


def test_a_picture_becomes_an_asset_with_texture(address, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(150_000)
    page.goto(address)
    page.set_input_files("#image input[type=file]", str(PICTURE))
    page.wait_for_selector("#image img")
    page.click("#generate")
    page.wait_for_selector("#viewer img")
    page.wait_for_selector("#status:has-text('Done in')")
    page.click("#extract")
    page.wait_for_selector("#download:not([disabled])")
    with page.expect_download() as download:
        page.click("#download")
    asset = GltfFile.parse(Path(download.value.path()).read_bytes())
    primitive = asset.item("meshes", 0)["primitives"][0]
    assert asset.item("accessors", primitive["indices"])["count"] > 3000
    material = asset.item("materials", primitive["material"])["pbrMetallicRoughness"]
    assert {"baseColorTexture", "metallicRoughnessTexture"} <= set(material)
    page.close()
