"""A runner without networks that makes what pages show: previews, latents, a real file."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from PIL import Image

from trellis2.serve.preview_names import ENVIRONMENTS, MAPS, NUM_VIEWS, picture_name

ASSETS = Path(__file__).resolve().parents[2] / "assets"


class PaintRunner:
    """Every preview picture has a colour of its own; the exported file is a bundled mesh. Seed 13 fails, 14 is slow."""

    def __init__(self, device, pipeline=None, texturing=None):
        self.device = device

    def describe(self):
        return "a pretended device"

    def run(self, kind, folder, params, progress):
        done = []

        def made(names):
            done.extend(names)
            (folder / "results.tmp").write_text(json.dumps(done))
            (folder / "results.tmp").replace(folder / "results.json")

        seed = params.get("seed", 0)
        for step in range(400 if seed == 14 else 4):
            progress("sparse structure", step + 1, 400 if seed == 14 else 4)
            time.sleep(0.05)
        if seed == 13:
            raise ValueError("the picture shows nothing")
        if kind == "generate":
            (folder / "latent.safetensors").write_bytes(b"latent")
            made(["latent.safetensors"])
            modes = [*(f"shaded-{name}" for name in ENVIRONMENTS), *MAPS]
            for m, mode in enumerate(modes):
                names = [picture_name(mode, view) for view in range(NUM_VIEWS)]
                for view, name in enumerate(names):
                    Image.new("RGB", (64, 64), (10 + 15 * m, 10 + 30 * view, seed % 256)).save(folder / name)
                made(names)
        if kind in ("export", "texture"):
            shutil.copy(ASSETS / "example_mesh" / "duck.glb", folder / "asset.glb")
            report = {"faces": 1234, "output": {"watertight": True, "winding_conflicts": 0}, "charts": 7}
            (folder / "report.json").write_text(json.dumps(report))
            made(["asset.glb", "report.json"])
