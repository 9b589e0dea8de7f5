"""The PBR renderer against Blender's Cycles: same file, camera and surround.

    python benchmarks/compare_cycles.py --blender-python /path/to/python-with-bpy [--assets A.glb ...]

For each asset: intersection over union of the silhouettes, PSNR of the base colours and of the shaded pictures (both
through our tone map, before black). Goals: IoU >= 0.995, base colour >= 35 dB, shaded >= 25 dB. The shaded pictures
differ because ours knows no shadows and reflections of the object in itself beyond screen-space occlusion; the report
also gives PSNR over the object's pixels alone.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from measure import machine, write_results
from PIL import Image

from trellis2.renderers import EnvMap, MeshRenderer, PbrMeshRenderer, open_environment
from trellis2.renderers.asset import Asset, load_asset
from trellis2.renderers.cameras import extrinsics_look_at, intrinsics_from_fov, orbit_eye
from trellis2.renderers.color import linear_to_srgb, tone_map
from trellis2.utils.exr import read_exr
from trellis2.utils.pictures import save_picture

REPO = Path(__file__).resolve().parent.parent
FOV, YAW, PITCH = 35.0, math.pi - 0.5, 0.35
MASK_SAMPLES = 16  # a pixel side, for silhouettes; with few, edges along the axes fall on exact halves
GOALS = {"iou": 0.995, "base_color_db": 35.0, "shaded_db": 25.0}


def camera_matrices(asset: Asset) -> tuple[torch.Tensor, torch.Tensor, list[list[float]]]:
    """Extrinsics, intrinsics and camera to world with OpenGL axes, of a camera that frames the asset."""
    radius = float(np.linalg.norm(asset.vertices, axis=1).max())
    eye = orbit_eye(YAW, PITCH, 1.02 * radius / math.sin(math.radians(FOV) / 2)).double()
    extrinsics = extrinsics_look_at(eye, torch.zeros(3).double(), torch.tensor([0.0, 0.0, 1.0]).double())
    pose = np.linalg.inv(extrinsics.numpy()) * np.array([1.0, -1.0, -1.0, 1.0])
    return extrinsics.float(), intrinsics_from_fov(math.radians(FOV)), pose.tolist()


def write_ramp(path: Path, color: tuple[float, float, float], metallic: float) -> Path:
    """Five balls of roughness 0, 0.25, 0.5, 0.75, 1 side by side."""
    scene = trimesh.Scene()
    for i in range(5):
        ball = trimesh.creation.icosphere(4, radius=0.45)
        ball.apply_translation([i - 2.0, 0.3 * i, 0.0])
        ball.vertex_normals  # noqa: B018  # exported when known
        material = trimesh.visual.material.PBRMaterial(
            baseColorFactor=[*color, 1.0], metallicFactor=metallic, roughnessFactor=i / 4
        )
        ball.visual = trimesh.visual.TextureVisuals(uv=np.zeros((len(ball.vertices), 2)), material=material)
        scene.add_geometry(ball, geom_name=f"ball{i}", node_name=f"ball{i}")
    path.parent.mkdir(parents=True, exist_ok=True)
    scene.export(path)
    return path


def default_assets() -> list[Path]:
    """The example meshes and two ramps of roughness."""
    folder = Path(tempfile.mkdtemp())
    ramps = [
        write_ramp(folder / "gold_ramp.glb", (1.0, 0.71, 0.29), 1.0),
        write_ramp(folder / "plastic_ramp.glb", (0.1, 0.3, 0.8), 0.0),
    ]
    return [*sorted((REPO / "assets" / "example_mesh").glob("*.glb")), *ramps]


def draw_with_cycles(asset_path: Path, asset: Asset, args: argparse.Namespace, folder: Path) -> dict[str, np.ndarray]:
    """Linear premultiplied [R, R, 4] of `shaded` and `base_color`."""
    job = {
        "asset": str(asset_path.resolve()),
        "environment": str((REPO / "assets" / "hdri" / f"{args.env}.exr").resolve()),
        "scale": float(asset.scale),
        "offset": [float(x) for x in asset.offset],
        "views": [camera_matrices(asset)[2]],
        "fov": FOV,
        "resolution": args.resolution,
        "samples": args.samples,
        "base_samples": args.base_samples,
        "folder": str(folder),
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    command = [args.blender_python, str(REPO / "benchmarks" / "cycles_scene.py"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"Cycles failed on {asset_path.name}: {done.stderr[-800:]}")
    pictures = {}
    for name in ("shaded", "base_color"):
        planes = read_exr(folder / f"{name}_0.exr")
        pictures[name] = np.stack([planes[c] for c in "RGBA"], axis=-1)
    return pictures


def draw_with_ours(asset: Asset, args: argparse.Namespace) -> dict[str, np.ndarray]:
    """Display pictures [R, R, 3] before black, and coverage [R, R]."""
    extrinsics, intrinsics, _ = camera_matrices(asset)
    options = {"resolution": args.resolution, "near": 0.5, "far": 6.0, "ssaa": args.ssaa}
    environment = EnvMap(open_environment(args.env))
    buffers = ["shaded", "base_color"]
    drawn = PbrMeshRenderer(options).render(asset.to_mesh(), extrinsics, intrinsics, environment, buffers=buffers)
    fine = {"resolution": args.resolution, "near": 0.5, "far": 6.0, "ssaa": MASK_SAMPLES}
    mask = MeshRenderer(fine).render(asset.to_mesh(), extrinsics, intrinsics, ["mask"]).mask
    return {
        "shaded": drawn.shaded.permute(1, 2, 0).numpy(),
        "base_color": drawn.base_color.permute(1, 2, 0).numpy(),
        "mask": mask.numpy(),
    }


def on_display(cycles: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same of Cycles' linear pictures."""
    shaded = tone_map(torch.from_numpy(cycles["shaded"][..., :3]).clamp_min(0)).numpy()
    alpha = cycles["base_color"][..., 3:]
    straight = torch.from_numpy(cycles["base_color"][..., :3] / np.maximum(alpha, 1e-6)).clamp(0, 1)
    return {"shaded": shaded, "base_color": linear_to_srgb(straight).numpy() * alpha, "mask": alpha[..., 0]}


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray | None = None) -> float:
    """Of display values in [0, 1], over all pixels or those where `where` holds."""
    squared = (a.astype(np.float64) - b) ** 2
    return -10 * math.log10(float((squared if where is None else squared[where]).mean()) + 1e-12)


def compare(path: Path, args: argparse.Namespace) -> tuple[dict[str, Any], np.ndarray]:
    """Figures of one asset and a row of pictures: ours, Cycles, difference; shaded, then base colour."""
    asset = load_asset(path, max_texture_size=4096)
    ours = draw_with_ours(asset, args)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        theirs = on_display(draw_with_cycles(path, asset, args, Path(folder)))
    seconds = time.perf_counter() - start
    a, b = ours["mask"] > 0.5, theirs["mask"] > 0.5
    both = (ours["mask"] > 0.99) & (theirs["mask"] > 0.99)
    figures = {
        "asset": path.stem,
        "iou": round(float((a & b).sum() / max(1, (a | b).sum())), 5),
        "base_color_db": round(psnr(ours["base_color"], theirs["base_color"]), 2),
        "shaded_db": round(psnr(ours["shaded"], theirs["shaded"]), 2),
        "base_color_object_db": round(psnr(ours["base_color"], theirs["base_color"], both), 2),
        "shaded_object_db": round(psnr(ours["shaded"], theirs["shaded"], both), 2),
        "shaded_mean_difference": round(float((ours["shaded"] - theirs["shaded"])[both].mean()), 4),
        "cycles_s": round(seconds, 1),
    }
    tiles = []
    for name in ("shaded", "base_color"):
        difference = 0.5 + 2 * (ours[name] - theirs[name])
        tiles += [ours[name], theirs[name], difference]
    return figures, (np.concatenate(tiles, axis=1).clip(0, 1) * 255).round().astype(np.uint8)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--blender-python", default=sys.executable, help="a Python with the module bpy")
    parser.add_argument("--assets", type=Path, nargs="*", help="default: assets/example_mesh/*.glb and two ramps")
    parser.add_argument("--env", default="interior")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--base-samples", type=int, default=256)
    parser.add_argument("--ssaa", type=int, default=4)
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    parser.add_argument("--sheet", type=Path, help="picture with a row for each asset of --sheet-assets")
    parser.add_argument("--sheet-assets", nargs="*", help="names on the sheet (default: all)")
    args = parser.parse_args(argv)
    rows, pictures = [], []
    for path in args.assets or default_assets():
        figures, row = compare(path, args)
        rows.append(figures)
        if args.sheet_assets is None or path.stem in args.sheet_assets:
            pictures.append(row)
        print("  ".join(f"{k} {v}" for k, v in figures.items()), flush=True)
    failed = [f"{r['asset']} {k} {r[k]}" for r in rows for k, goal in GOALS.items() if r[k] < goal]
    print("all goals met" if not failed else f"short of the goals: {', '.join(failed)}")
    if args.sheet and pictures:
        sheet = np.concatenate(pictures, axis=0)
        shrunk = Image.fromarray(sheet).resize((sheet.shape[1] * 3 // 4, sheet.shape[0] * 3 // 4), Image.LANCZOS)
        save_picture(args.sheet, np.asarray(shrunk))
    if args.output:
        settings = {k: getattr(args, k) for k in ("env", "resolution", "samples", "base_samples", "ssaa")}
        host = machine(torch.device("cpu"))
        write_results(args.output, {"machine": host, "settings": settings, "goals": GOALS, "rows": rows})


if __name__ == "__main__":
    main()
