"""Contact sheets: GLB files drawn by three.js in Chromium and by Blender, with names, and what each read.

    python benchmarks/contact_sheet.py GLB [GLB ...] --browser NODE_MODULES --output three.jpg
    python benchmarks/contact_sheet.py GLB [GLB ...] --blender-python PYTHON --output blender.jpg --mode sides

NODE_MODULES: a folder with the npm packages `three` and `playwright-core`; Chromium is found on the path or named by
--chromium. PYTHON: one that has `bpy`. Exit status 1 if a file does not open or the triangle counts differ.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

__all__ = ["draw_with_blender", "draw_with_browser", "find_chromium", "make_sheet", "triangles_of"]

HERE = Path(__file__).resolve().parent
YAW, PITCH = math.radians(30), math.radians(20)


def triangles_of(path: Path) -> int:
    """Triangles named by the accessors of a GLB file."""
    data = path.read_bytes()
    document = json.loads(data[20 : 20 + struct.unpack_from("<I", data, 12)[0]])
    primitives = [p for mesh in document["meshes"] for p in mesh["primitives"]]
    return sum(document["accessors"][p["indices"]]["count"] for p in primitives) // 3


def find_chromium() -> str | None:
    """Path of Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("CHROMIUM") or next((path for path in map(shutil.which, names) if path), None)


def _pictures(files: list[Path], folder: Path, mode: str, yaw: float) -> list[dict[str, Any]]:
    return [
        {"glb": str(f.resolve()), "png": str(folder / f"{i}.png"), "yaw": yaw, "pitch": PITCH, "mode": mode}
        for i, f in enumerate(files)
    ]


def draw_with_browser(
    files: list[Path], folder: Path, modules: Path, chromium: str, *, size: int = 256, mode: str = "shaded",
    yaw: float = YAW, limit: float = 900.0,
) -> list[dict[str, Any]]:  # fmt: skip
    """`folder/<i>.png` by three.js; returns for each file its counts or `error`."""
    job = folder / "job.json"
    job.write_text(json.dumps({"chromium": chromium, "size": size, "pictures": _pictures(files, folder, mode, yaw)}))
    command = ["node", str(HERE / "browser" / "render_glbs.mjs"), str(modules), str(job)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the browser failed: {done.stderr[-1500:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def draw_with_blender(
    files: list[Path], folder: Path, python: str, *, size: int = 256, mode: str = "shaded", samples: int = 8,
    yaw: float = YAW, limit: float = 1800.0,
) -> list[dict[str, Any]]:  # fmt: skip
    """`folder/<i>.png` by Cycles; returns for each file its counts or `error`."""
    job = folder / "job.json"
    job.write_text(json.dumps({"size": size, "samples": samples, "pictures": _pictures(files, folder, mode, yaw)}))
    command = [python, str(HERE / "blender_views.py"), str(job)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    found = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if len(found) != len(files):
        raise RuntimeError(f"Blender failed after {len(found)} files: {done.stderr[-1500:]}")
    return found


def make_sheet(files: list[Path], folder: Path, columns: int, size: int) -> Image.Image:
    """All pictures with their names; a missing one stays dark red."""
    rows = math.ceil(len(files) / columns)
    sheet = Image.new("RGB", (columns * size, rows * (size + 14)), (30, 30, 30))
    pen = ImageDraw.Draw(sheet)
    for i, file in enumerate(files):
        x, y = i % columns * size, i // columns * (size + 14)
        picture = folder / f"{i}.png"
        one = Image.open(picture).convert("RGB") if picture.exists() else Image.new("RGB", (size, size), (90, 0, 0))
        sheet.paste(one.resize((size, size), Image.Resampling.LANCZOS), (x, y))
        pen.text((x + 3, y + size + 1), file.stem[: size // 6], fill=(230, 230, 230))
    return sheet


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--browser", type=Path, metavar="NODE_MODULES")
    parser.add_argument("--chromium", default=find_chromium())
    parser.add_argument("--blender-python", metavar="PYTHON")
    parser.add_argument("--mode", choices=("shaded", "sides"), default="shaded")
    parser.add_argument("--yaw", type=float, default=math.degrees(YAW), help="degrees around the vertical, 0 in front")
    parser.add_argument("--size", type=int, default=192, help="pixels a side of one picture")
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--samples", type=int, default=8, help="of Cycles, a pixel")
    parser.add_argument("--quality", type=int, default=85)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--report", type=Path, help="JSON: what was read from each file")
    args = parser.parse_args()
    if (args.browser is None) == (args.blender_python is None):
        parser.error("one of --browser and --blender-python must be given")
    look = {"size": args.size, "mode": args.mode, "yaw": math.radians(args.yaw)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.browser is not None:
            if not args.chromium:
                parser.error("no Chromium found: name it with --chromium")
            found = draw_with_browser(args.files, folder, args.browser, args.chromium, **look)
        else:
            found = draw_with_blender(args.files, folder, args.blender_python, samples=args.samples, **look)
        sheet = make_sheet(args.files, folder, args.columns, args.size)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(args.output, quality=args.quality)
    bad = 0
    for file, row in zip(args.files, found):
        expected = triangles_of(file)
        if "error" in row or row["triangles"] != expected or row.get("complaints"):
            bad += 1
            print(f"{file.name}: {expected} triangles in the file, read {row}", file=sys.stderr)
    print(f"{len(files_ok(found))} of {len(args.files)} files open, {bad} with complaints")
    if args.report:
        args.report.write_text(json.dumps([{**row, "glb": Path(row["glb"]).name} for row in found], indent=1) + "\n")
    return 1 if bad else 0


def files_ok(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of files that were read."""
    return [row for row in found if "error" not in row]


if __name__ == "__main__":
    raise SystemExit(main())
