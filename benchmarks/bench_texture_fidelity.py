"""What baking loses: voxel attributes drawn directly against the finished asset, and seams in the third mip level.

    python benchmarks/bench_texture_fidelity.py --work /tmp/finishing [--assets teapot ...] [--texture 2048]

Base colour, metallic and roughness, unlit, from 8 views around: the raw surface with its voxels against the written
GLB read back. PSNR over the pixels that both cover (goal 35 dB), and over whole pictures.

Seams: points on smooth edges (bent by less than 30 degrees) whose two faces lie on different charts, sampled from
either side in the texture reduced by 8 in both directions (mip level 3, box filter). `step` is how far the two sides
differ; `seam` and `inside` are the errors there and at random points of the surface against the mean of the voxels
over the footprint of a texel of that level, which knows no charts. In display levels of 0 to 255, root mean square.
A seam shows where its step stands out from what the reduced texture gets wrong anyhow.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from finishing_assets import LAYOUT, RawAsset, load_asset, make_asset, save_asset, texture_set
from glb_reader import read_glb
from measure import machine, write_results
from mesh_oracles import sample_area, weld
from o_voxel.sampling import VoxelIndex

from trellis2.renderers import EnvMap, PbrMeshRenderer
from trellis2.renderers.asset import load_asset as load_file
from trellis2.renderers.cameras import extrinsics_look_at, intrinsics_from_fov, orbit_eye
from trellis2.representations import MeshWithVoxel

REPO = Path(__file__).resolve().parent.parent
GOAL_DB, SEAM_RATIO, SEAM_LEVELS = 35.0, 1.5, 4.0
BUFFERS = ["base_color", "metallic", "roughness", "mask"]
VIEWS = [(2 * math.pi * k / 8, (0.35, -0.25)[k % 2]) for k in range(8)]
FOV, MIP, SMOOTH_DEGREES = 35.0, 3, 30.0


def voxel_mesh(asset: RawAsset) -> MeshWithVoxel:
    shape = torch.Size([1, asset.attrs.shape[1], *[asset.grid] * 3])
    return MeshWithVoxel(
        torch.from_numpy(asset.vertices), torch.from_numpy(asset.faces), [-0.5] * 3, 1 / asset.grid,
        torch.from_numpy(asset.coords), torch.from_numpy(asset.attrs), shape, LAYOUT,
    )  # fmt: skip


def written_mesh(path: Path, texture: int) -> Any:
    """The GLB as a mesh with materials, where the raw surface is."""
    asset = load_file(path, max_texture_size=texture)
    mesh = asset.to_mesh()
    mesh.vertices = (mesh.vertices - torch.as_tensor(asset.offset, dtype=torch.float32)) / asset.scale
    return mesh


def draw(mesh: Any, resolution: int, device: str) -> list[dict[str, np.ndarray]]:
    """The unlit buffers of all views, [H, W] or [H, W, 3]."""
    mesh = mesh.to(device)
    renderer = PbrMeshRenderer({"resolution": resolution, "near": 0.2, "far": 6.0, "ssaa": 2})
    out = []
    for yaw, pitch in VIEWS:
        eye = orbit_eye(yaw, pitch, 2.6).double()
        extrinsics = extrinsics_look_at(eye, torch.zeros(3).double(), torch.tensor([0.0, 0.0, 1.0]).double()).float()
        drawn = renderer.render(mesh, extrinsics, intrinsics_from_fov(math.radians(FOV)), DARK, buffers=BUFFERS)
        out.append({k: (v.permute(1, 2, 0) if v.ndim == 3 else v).cpu().numpy() for k, v in drawn.items()})
    return out


DARK = EnvMap(torch.zeros(16, 32, 3))


def psnr(square_error: float) -> float:
    return -10 * math.log10(square_error + 1e-12)


def compare(ours: list[dict[str, np.ndarray]], truth: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """PSNR of all views together, a figure a buffer and all three: object pixels, and whole pictures."""
    both = [(a["mask"] > 0.999) & (b["mask"] > 0.999) for a, b in zip(ours, truth)]
    out, inside, whole = {}, [], []
    for name in BUFFERS[:3]:
        squares = [(a[name].astype(np.float64) - b[name]) ** 2 for a, b in zip(ours, truth)]
        here = np.concatenate([s[m].reshape(-1) for s, m in zip(squares, both)])
        out[f"{name}_db"] = psnr(float(here.mean()))
        inside.append(here)
        whole.append(np.concatenate([s.reshape(-1) for s in squares]))
    out["object_db"] = psnr(float(np.concatenate(inside).mean()))
    out["picture_db"] = psnr(float(np.concatenate(whole).mean()))
    joined = sum(int(((a["mask"] > 0.5) | (b["mask"] > 0.5)).sum()) for a, b in zip(ours, truth))
    common = sum(int(((a["mask"] > 0.5) & (b["mask"] > 0.5)).sum()) for a, b in zip(ours, truth))
    out["mask_iou"] = common / max(joined, 1)
    return out


def lookup(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear, clamped; uv [N, 2] with v down the rows; image [T, T, C]."""
    size = image.shape[0]
    at = uv * size - 0.5
    base = np.floor(at).astype(np.int64)
    part = at - base
    out = np.zeros((len(uv), image.shape[2]))
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = np.clip(base[:, 0] + dx, 0, size - 1), np.clip(base[:, 1] + dy, 0, size - 1)
            w = (part[:, 0] if dx else 1 - part[:, 0]) * (part[:, 1] if dy else 1 - part[:, 1])
            out += w[:, None] * image[y, x]
    return out


def footprint_mean(asset: RawAsset, points: np.ndarray, normals: np.ndarray, width: float) -> np.ndarray:
    """Mean voxel attributes [N, 5] over squares of side `width` in the tangent planes."""
    coords = torch.from_numpy(np.concatenate([np.zeros((len(asset.coords), 1), np.int32), asset.coords], 1))
    index = VoxelIndex(coords, [asset.grid] * 3)
    feats = torch.from_numpy(np.concatenate([asset.attrs[:, :5], np.ones((len(asset.attrs), 1), np.float32)], 1))
    helper = np.where(np.abs(normals[:, 2:]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    side = np.cross(normals, helper)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(normals, side)
    total = np.zeros((len(points), 6))
    steps = (np.arange(5) - 2) / 5 * width
    for a in steps:
        for b in steps:
            grid = torch.from_numpy(((points + a * side + b * other + 0.5) * asset.grid).astype(np.float32))
            total += index.sample(feats, grid[None])[0].numpy()
    return total[:, :5] / np.maximum(total[:, 5:], 1e-6)


def rms(values: np.ndarray) -> float:
    """In levels of 0 to 255."""
    return float(255 * np.sqrt((values**2).mean())) if values.size else 0.0


def seams(asset: RawAsset, path: Path) -> dict[str, float]:
    """Figures of chart borders in mip level 3, and how many seam points there were."""
    file = read_glb(path)
    color = np.asarray(file.images["baseColorTexture"].convert("RGB"), np.float64) / 255
    rough = np.asarray(file.images["metallicRoughnessTexture"].convert("RGB"), np.float64) / 255
    image = np.concatenate([color, rough[..., 2:], rough[..., 1:2]], 2)
    size, cell = image.shape[0], 2**MIP
    small = image.reshape(size // cell, cell, size // cell, cell, 5).mean((1, 3))
    vertices, uv, faces = file.vertices, file.uv, file.faces
    corners, corner_uv = vertices[faces], uv[faces]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    normal = cross / np.maximum(area[:, None], 1e-300)
    e1, e2 = corner_uv[:, 1] - corner_uv[:, 0], corner_uv[:, 2] - corner_uv[:, 0]
    uv_area = np.abs(e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0])
    texel = math.sqrt(area.sum() / max(uv_area.sum(), 1e-300)) / size  # world length
    a, b, a_uv, b_uv, edge_normal = _seam_edges(vertices, faces, uv, normal)
    points, sides, normals = [], [], []
    for t in (0.2, 0.5, 0.8):
        points.append(a * (1 - t) + b * t)
        sides.append([a_uv[k] * (1 - t) + b_uv[k] * t for k in (0, 1)])
        normals.append(edge_normal)
    out: dict[str, float] = {"seam_edges": len(a)}
    inner, owner = sample_area(vertices, faces, 20000, 0)
    weights = _barycentric(inner, corners[owner])
    inner_uv = (weights[:, :, None] * corner_uv[owner]).sum(1)
    ideal = footprint_mean(asset, inner, normal[owner], cell * texel)
    out["inside"] = rms(lookup(small, inner_uv) - ideal)
    if len(a):
        at, up = np.concatenate(points), np.concatenate(normals)
        left, right = (lookup(small, np.concatenate([s[k] for s in sides])) for k in (0, 1))
        ideal = footprint_mean(asset, at, up, cell * texel)
        out["seam"] = rms(np.concatenate([left - ideal, right - ideal]))
        out["step"] = rms(left - right)
        fine = [lookup(image, np.concatenate([s[k] for s in sides])) for k in (0, 1)]
        out["step_level_0"] = rms(fine[0] - fine[1])
    else:
        out |= {"seam": 0.0, "step": 0.0, "step_level_0": 0.0}
    return out


def _barycentric(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    total = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    square = np.maximum((total**2).sum(1), 1e-300)
    part = [
        (np.cross(corners[:, (k + 2) % 3] - corners[:, (k + 1) % 3], points - corners[:, (k + 1) % 3]) * total).sum(1)
        for k in range(3)
    ]
    return np.stack(part, 1) / square[:, None]


def _seam_edges(
    vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, normal: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Ends of smooth edges between charts [E, 3] twice, their UVs on either side, and the mean normals."""
    _, joined = weld(vertices, faces)
    start, end = joined.reshape(-1), joined[:, [1, 2, 0]].reshape(-1)
    corner_start, corner_end = faces.reshape(-1), faces[:, [1, 2, 0]].reshape(-1)
    key = np.minimum(start, end).astype(np.int64) << 32 | np.maximum(start, end)
    order = np.argsort(key, kind="stable")
    _, first, uses = np.unique(key[order], return_index=True, return_counts=True)
    one, two = order[first[uses == 2]], order[first[uses == 2] + 1]
    swap = start[one] != start[two]  # as in a consistently wound mesh
    two_a = np.where(swap, corner_end[two], corner_start[two])
    two_b = np.where(swap, corner_start[two], corner_end[two])
    smooth = (normal[one // 3] * normal[two // 3]).sum(1) > math.cos(math.radians(SMOOTH_DEGREES))
    cut = smooth & ((corner_start[one] != two_a) | (corner_end[one] != two_b))
    one, two_a, two_b, two = one[cut], two_a[cut], two_b[cut], two[cut]
    mean = normal[one // 3] + normal[two // 3]
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-300)
    ends = vertices[corner_start[one]], vertices[corner_end[one]]
    return *ends, [uv[corner_start[one]], uv[two_a]], [uv[corner_end[one]], uv[two_b]], mean


def measure(asset: RawAsset, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from o_voxel.postprocess import save_glb, to_glb

    path = folder / f"{asset.name}.glb"
    begin = time.perf_counter()
    options = {"decimation_target": args.faces, "texture_size": args.texture, "remesh": args.remesh}
    inputs = {k: v.to(args.device) if isinstance(v, torch.Tensor) else v for k, v in asset.arguments().items()}
    finished = to_glb(**inputs, **options, profile=args.profile)
    seconds = time.perf_counter() - begin
    save_glb(finished, path)
    row = {"asset": asset.name, "note": asset.note, "faces": len(finished.faces), "seconds": seconds}
    row |= compare(
        draw(written_mesh(path, args.texture), args.resolution, args.device),
        draw(voxel_mesh(asset), args.resolution, args.device),
    )
    row |= seams(asset, path)
    return row


def faults(row: dict[str, Any]) -> list[str]:
    out = []
    if row["object_db"] < GOAL_DB:
        out.append(f"{row['object_db']:.1f} dB")
    if row["step"] > max(SEAM_LEVELS, SEAM_RATIO * row["inside"]):
        out.append(f"seam step {row['step']:.1f} levels, {row['inside']:.1f} inside")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of bench_finishing.py, for the assets")
    parser.add_argument("--assets", nargs="+", default=texture_set())
    parser.add_argument("--texture", type=int, default=2048)
    parser.add_argument("--faces", type=int, default=20000)
    parser.add_argument("--profile", default="game")
    parser.add_argument("--remesh", action="store_true")
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--output", help="name of the result file in benchmarks/results")
    args = parser.parse_args()
    folder = args.work / "fidelity"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    head = ("object_db", "base_color_db", "metallic_db", "roughness_db", "picture_db", "mask_iou", "step", "seam",
            "inside", "step_level_0", "seam_edges", "seconds")  # fmt: skip
    print(f"{'asset':12}" + "".join(f"{h:>14}" for h in head), flush=True)
    for name in args.assets:
        path = args.work / "assets" / f"{name}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            save_asset(make_asset(name), path)
        kept = folder / f"{name}.json"
        if args.fresh or not kept.exists():
            write_results(kept, measure(load_asset(path), args, folder))
        row = json.loads(kept.read_text())
        rows.append(row)
        print(f"{name:12}" + "".join(f"{row[h]:14.3f}" for h in head) + "  " + "; ".join(faults(row)), flush=True)
    bad = {row["asset"]: faults(row) for row in rows if faults(row)}
    print(f"{len(rows) - len(bad)} of {len(rows)} meet {GOAL_DB} dB and show no seam")
    if args.output:
        info = machine(torch.device(args.device))
        info["command"] = "python benchmarks/bench_texture_fidelity.py --work WORK"
        settings = {k: getattr(args, k) for k in ("texture", "faces", "profile", "remesh", "resolution")}
        write_results(
            REPO / "benchmarks" / "results" / f"{args.output}.json",
            {"machine": info, "settings": settings, "goal_db": GOAL_DB, "faults": bad, "rows": rows},
        )
    print(json.dumps({"worst_db": min(r["object_db"] for r in rows), "worst_step": max(r["step"] for r in rows)}))
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
