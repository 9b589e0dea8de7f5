"""Twenty people at once on one page's server."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from trellis2.serve.metrics import resident_bytes

PICTURE = (Path(__file__).resolve().parents[2] / "assets" / "example_image" / "duck.png").read_bytes()


def one_user(address, seed):
    """Send a picture, follow the job to its end, fetch a preview; the job's description."""
    with httpx.Client(base_url=address, timeout=60) as client:
        assert client.get("/").status_code == 200
        options = json.dumps({"seed": seed, "preview": True, "export": None})
        sent = client.post("/v1/generate", files={"images": ("duck.png", PICTURE)}, data={"options": options})
        assert sent.status_code == 202, sent.text
        deadline = time.monotonic() + 120
        while (job := client.get(f"/v1/jobs/{sent.json()['id']}").json())["state"] in ("queued", "running"):
            assert time.monotonic() < deadline, job
            time.sleep(0.1)
        picture = client.get(job["files"]["preview_clay_0.jpg"])
        assert picture.status_code == 200 and picture.content[:2] == b"\xff\xd8"
        return job


def test_twenty_users_lose_nothing_and_leave_no_memory_behind(serve_page):
    address, store = serve_page("image")
    sizes = []
    with ThreadPoolExecutor(20) as users:
        for _ in range(3):
            jobs = list(users.map(lambda n: one_user(address, 100 + n), range(20)))
            assert [job["state"] for job in jobs] == ["done"] * 20
            assert [job["params"]["seed"] for job in jobs] == [100 + n for n in range(20)]
            sizes.append(resident_bytes())
    assert store.counts()["done"] == 60
    assert sizes[2] - sizes[1] < 20 * 2**20, sizes  # a megabyte a user, once everything is warm
