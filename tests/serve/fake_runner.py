"""A runner without networks, for tests of the queue."""

from __future__ import annotations

import json
import os
import time


class FakeRunner:
    """Writes its parameters to result.txt; can count steps, wait, fail, ignore cancelling, or die."""

    def __init__(self, device, broken=False):
        if broken:
            raise ValueError("no such pipeline: nowhere")
        self.device = device

    def describe(self):
        return "a pretended device"

    def run(self, kind, folder, params, progress):
        for step in range(params.get("steps", 1)):
            progress("counting", step + 1, params.get("steps", 1))
            time.sleep(params.get("pause", 0.0))
        if params.get("deaf"):
            time.sleep(60)
        if params.get("fail"):
            raise ValueError("the picture shows nothing\nsecond line")
        if params.get("die") and not (folder / "died").exists():
            (folder / "died").touch()
            os._exit(3)
        (folder / "result.txt").write_text(json.dumps({"kind": kind, "device": self.device, **params}))
        if kind == "generate":
            (folder / "latent.safetensors").write_bytes(b"latent")
        (folder / "results.json").write_text(json.dumps(["result.txt"]))
