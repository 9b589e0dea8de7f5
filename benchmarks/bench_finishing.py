"""What `to_glb` makes of 40 decoded surfaces in each profile, measured by code that shares nothing with it.

    python benchmarks/bench_finishing.py --work /tmp/finishing --data-dir ../shared/data [--quick]
    python benchmarks/bench_finishing.py --work /tmp/finishing --data-dir ../shared/data --validator DIR --output NAME

For each asset, profile (raw, game, print) and remeshing off / on: the GLB is written, read back by a reader of its
own, and checked: face budget, winding conflicts, duplicate, degenerate, boundary and non-manifold parts, watertight,
2-manifold, volume, shells nothing sees from outside (a flood through 256³ cells and 64 orthographic views), Chamfer
and Hausdorff distance to the raw surface in voxels, charts, atlas use, alpha mode, time. One process an asset, with a
time limit for each run: what hangs is a recorded failure. Rows are kept in --work, so that an interrupted run
continues; --fresh starts over. With --validator (folder of the npm package `gltf-validator`) all files go through the
Khronos validator.
Prints a table and writes `benchmarks/results/NAME.json` and `.md`; the exit status tells whether all goals are met.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from o_voxel.postprocess import save_glb, to_glb
from o_voxel.rasterize import rasterize, triangle_index

sys.path.insert(0, str(Path(__file__).resolve().parent))

from atlas_oracles import atlas_figures
from finishing_assets import QUICK, RawAsset, asset_names, load_asset, make_asset, save_asset
from finishing_table import GOALS, markdown, summary, violations
from glb_reader import read_glb
from measure import machine, write_results
from mesh_oracles import (
    SurfaceDistance,
    enclosed_components,
    face_components,
    outside_cells,
    sample_area,
    sample_grid,
    topology,
    visible_from_outside,
    weld,
)

REPO = Path(__file__).resolve().parent.parent
RESULTS = REPO / "benchmarks" / "results"
PROFILES = ("raw", "game", "print")
CONFIGS = [(profile, remesh) for profile in PROFILES for remesh in (False, True)]
SAMPLES = 40_000
VIEWS, VIEW_SIZE = 64, 512
FORK = multiprocessing.get_context("fork")  # the children find everything imported
TEXTURE = {64: 512, 128: 1024, 256: 1024}


def budget(asset: RawAsset) -> int:
    """Faces asked for: a quarter of what there is, even, 2,000 to 20,000."""
    return int(np.clip(len(asset.faces) // 8 * 2, 2000, 20000))


class Raw:
    """The raw surface of an asset, prepared for comparisons; lengths in voxels."""

    def __init__(self, asset: RawAsset) -> None:
        self.grid = asset.grid
        vertices, faces = asset.vertices.astype(np.float64), asset.faces.astype(np.int64)
        self.rim = rim_length(*weld(vertices, faces)) * asset.grid
        self.distance = SurfaceDistance(vertices * asset.grid, faces, 0.6)
        self.points = sample_area(vertices, faces, SAMPLES, 0)[0]
        # Cells of the grid with the surface, thickened so that missing quads let nothing in.
        outside = outside_cells(sample_grid(vertices, faces, 0.5 / asset.grid)[0], asset.grid, close=1)
        self.visible = visible_from_outside(self.points, outside, asset.grid, 2)
        self.hidden_share = float(1 - self.visible.mean())


def compare(raw: Raw, vertices: np.ndarray, faces: np.ndarray) -> dict[str, float]:
    """Distances between raw and finished surface in voxels.

    `chamfer` is the sum of both mean distances, the raw surface's taken where it can be seen from outside;
    `chamfer_all` takes all of it, hidden walls too. Hausdorff likewise. `excess_999` is the 99.9th percentile.
    """
    to_out = SurfaceDistance(vertices * raw.grid, faces, 1.0)(raw.points * raw.grid)
    home = raw.distance(sample_area(vertices, faces, SAMPLES, 1)[0] * raw.grid)
    seen = to_out[raw.visible] if raw.visible.any() else to_out
    return {
        "chamfer": float(seen.mean() + home.mean()),
        "chamfer_all": float(to_out.mean() + home.mean()),
        "raw_to_out": float(seen.mean()),
        "out_to_raw": float(home.mean()),
        "hausdorff": float(max(seen.max(), home.max())),
        "far_999": float(max(np.quantile(seen, 0.999), np.quantile(home, 0.999))),
    }


def seen_faces(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, float]:
    """Faces [F] bool that show in one of 64 orthographic views, and the share of pixels that show a back side."""
    seen = np.zeros(len(faces), dtype=bool)
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    pixels = backs = 0
    tri = torch.from_numpy(np.ascontiguousarray(faces, dtype=np.int32))
    golden = np.pi * (3 - np.sqrt(5))
    for k in range(VIEWS):
        z = 1 - (2 * k + 1) / VIEWS
        r = np.sqrt(1 - z * z)
        toward = np.array([r * np.cos(golden * k), r * np.sin(golden * k), z])
        side = np.cross(toward, [0.0, 0.0, 1.0] if abs(z) < 0.9 else [1.0, 0.0, 0.0])
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(toward, side), -toward])
        clip = np.concatenate([vertices @ axes.T * 1.1, np.ones((len(vertices), 1))], 1)
        shown = triangle_index(rasterize(torch.from_numpy(clip.astype(np.float32)), tri, (VIEW_SIZE, VIEW_SIZE)))
        index = shown.numpy()
        index = index[index >= 0]
        seen[index] = True
        pixels += len(index)
        backs += int((normals @ toward < 0)[index].sum())
    return seen, backs / max(pixels, 1)


def rim_length(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Total length of edges with one face."""
    ends = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
    keys, uses = np.unique(ends[:, 0] << 32 | ends[:, 1], return_counts=True)
    rim = keys[uses == 1]
    return float(np.linalg.norm(vertices[rim >> 32] - vertices[rim & 0xFFFFFFFF], axis=1).sum())


def hidden_shells(vertices: np.ndarray, faces: np.ndarray) -> dict[str, Any]:
    """Closed or open shells that neither the flood nor a view from outside reaches."""
    count, label = face_components(faces)
    enclosed = enclosed_components(vertices, faces)
    visible, back_share = seen_faces(vertices, faces)
    shown = np.zeros(count, dtype=bool)
    shown[label[visible]] = True
    flooded = np.ones(count, dtype=bool)
    flooded[enclosed[enclosed >= 0]] = False
    corners = vertices[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    return {
        "hidden_shells": int((~shown & ~flooded).sum()),
        "hidden_faces": int((~shown & ~flooded)[label].sum()),
        "back_seen": back_share,
        "unseen_area": float(area[~visible].sum() / max(area.sum(), 1e-300)),
    }


def measure(asset: RawAsset, raw: Raw, profile: str, remesh: bool, glb: Path, device: str) -> dict[str, Any]:
    """Run one configuration on a device and check the file it wrote."""
    asked, size = budget(asset), TEXTURE[asset.grid]
    row: dict[str, Any] = {"asked": asked, "texture": size}
    begin, cpu = time.perf_counter(), time.process_time()
    options = {"decimation_target": asked, "texture_size": size, "remesh": remesh, "profile": profile, "report": True}
    inputs = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in asset.arguments().items()}
    try:
        result, report = to_glb(**inputs, **options)
    except ValueError as error:
        if "profile must be" in str(error):
            return row | {"status": "not available"}
        return row | {"status": "refused", "error": str(error), "seconds": time.perf_counter() - begin}
    row["seconds"], row["cpu_seconds"] = time.perf_counter() - begin, time.process_time() - cpu
    save_glb(result, glb)
    row["status"] = "done"
    row["stages"] = dict(report.seconds)
    row["reported"] = {
        "problems": list(report.problems), "charts": report.charts, "thin_chart_share": report.thin_chart_share,
        "thin_area_share": report.thin_area_share, "stretch": report.stretch, "padding": report.padding,
        "texels_per_unit": report.texels_per_unit, "chamfer_voxels": report.chamfer_voxels,
        "hausdorff_voxels": report.hausdorff_voxels, "volume": report.volume, "hidden_faces": report.hidden_faces,
    }  # fmt: skip
    row["alpha_mode"], row["double_sided"] = report.alpha_mode, report.double_sided
    file = read_glb(glb)
    points, uv, faces = file.vertices, file.uv, file.faces
    row["finite"] = bool(np.isfinite(points).all() and np.isfinite(uv).all())
    row["largest_coordinate"] = float(np.abs(points).max())
    row["materials"] = sorted(file.alpha_modes)
    vertices, welded = weld(points, faces)
    row |= topology(vertices, welded)
    check = trimesh.Trimesh(vertices, welded, process=False)
    row["trimesh_watertight"], row["trimesh_winding"] = bool(check.is_watertight), bool(check.is_winding_consistent)
    row |= hidden_shells(vertices, welded)
    row |= {"rim_voxels": rim_length(vertices, welded) * asset.grid, "raw_rim_voxels": raw.rim}
    row |= compare(raw, vertices, welded)
    row |= atlas_figures(uv, faces, size)
    row["texture_honoured"] = file.images["baseColorTexture"].size == (size, size)
    return row


def stem_of(name: str, profile: str, remesh: bool) -> str:
    """Name of the files of one run."""
    return f"{name}__{profile}{'_remesh' if remesh else ''}"


def work_on(name: str, configs: list[tuple[str, bool]], folder: Path, data_dir: Path | None, device: str) -> None:
    """Worker: the given configurations of one asset, each row written as soon as it is known."""
    path = folder / "assets" / f"{name}.npz"
    if not path.exists():
        save_asset(make_asset(name, data_dir), path)
    asset = load_asset(path)
    raw = Raw(asset)
    for profile, remesh in configs:
        stem = stem_of(name, profile, remesh)
        row = {
            "asset": name, "kind": asset.kind, "note": asset.note, "grid": asset.grid, "device": device,
            "raw_faces": len(asset.faces), "raw_hidden_share": raw.hidden_share, "transparent": asset.transparent,
            "profile": profile, "remesh": remesh,
        }  # fmt: skip
        try:
            row |= measure(asset, raw, profile, remesh, folder / "glb" / f"{stem}.glb", device)
        except Exception as error:
            row |= {"status": "error", "error": f"{type(error).__name__}: {error}",
                    "trace": traceback.format_exc()[-1500:]}  # fmt: skip
        write_results(folder / "rows" / f"{stem}.json", row)


class Runs:
    """The runs of one asset in a child process; when one overstays or kills it, a new child takes the rest."""

    def __init__(self, name: str, configs: list[tuple[str, bool]], args: argparse.Namespace) -> None:
        self.name, self._args = name, args
        self._rows = args.work / "rows"
        self._todo = [(p, r) for p, r in configs if not self._path(p, r).exists()]
        self._child: Any = None
        self._start()

    def _path(self, profile: str, remesh: bool) -> Path:
        return self._rows / f"{stem_of(self.name, profile, remesh)}.json"

    def _start(self) -> None:
        if self._todo:
            given = self.name, self._todo, self._args.work, self._args.data_dir, self._args.device
            self._child = FORK.Process(target=work_on, args=given)
            self._child.start()
            self._last = time.monotonic()

    def ended(self) -> bool:
        """Whether nothing is left to do; looks after the child."""
        if not self._todo:
            return True
        left = [(p, r) for p, r in self._todo if not self._path(p, r).exists()]
        if len(left) < len(self._todo):
            self._last, self._todo = time.monotonic(), left
        late = time.monotonic() - self._last > self._args.limit
        if late:
            self._child.kill()
        if late or not self._child.is_alive():
            self._child.join()
            self._todo = [(p, r) for p, r in self._todo if not self._path(p, r).exists()]
            if self._todo:  # the first of them hung or brought the process down: not again
                (profile, remesh), self._todo = self._todo[0], self._todo[1:]
                why = f"no result after {self._args.limit:.0f} s" if late else f"exit status {self._child.exitcode}"
                row = {"asset": self.name, "profile": profile, "remesh": remesh, "error": why}
                write_results(self._path(profile, remesh), row | {"status": "killed" if late else "crashed"})
            self._start()
        return not self._todo


def run_all(names: list[str], configs: list[tuple[str, bool]], args: argparse.Namespace) -> None:
    """All assets, `--jobs` at a time."""
    waiting, active = list(names), []
    while waiting or active:
        while waiting and len(active) < args.jobs:
            active.append(Runs(waiting.pop(0), configs, args))
        time.sleep(0.1)
        for one in [a for a in active if a.ended()]:
            active.remove(one)
            print(one.name, flush=True)


def validate(folder: Path, package: Path, names: list[str]) -> None:
    """Add the Khronos validator's counts to the rows."""
    script = (
        "const v=require(process.argv[1]),fs=require('fs');(async()=>{for(const f of process.argv.slice(2)){"
        "const r=await v.validateBytes(new Uint8Array(fs.readFileSync(f)),{maxIssues:20});"
        "console.log(JSON.stringify({file:f,issues:r.issues}))}})()"
    )
    files = [p for p in sorted((folder / "glb").glob("*.glb")) if p.stem.split("__")[0] in names]
    for at in range(0, len(files), 40):
        command = ["node", "-e", script, str(package.resolve()), *map(str, files[at : at + 40])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            found = json.loads(line)
            path = folder / "rows" / f"{Path(found['file']).stem}.json"
            row, issues = json.loads(path.read_text()), found["issues"]
            codes = sorted({m["code"] for m in issues["messages"] if m["severity"] < 2})
            row["validator"] = {"errors": issues["numErrors"], "warnings": issues["numWarnings"], "codes": codes}
            write_results(path, row)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for assets, rows and GLBs")
    parser.add_argument("--data-dir", type=Path, help="folder with meshes/ (default: $TRELLIS2_SHARED_DIR/data)")
    parser.add_argument("--assets", nargs="+", help="only these")
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES))
    parser.add_argument("--remesh", choices=("off", "on", "both"), default="both")
    parser.add_argument("--quick", action="store_true", help="a dozen assets")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured")
    parser.add_argument("--collect", action="store_true", help="run nothing: the table of the rows that are there")
    parser.add_argument("--device", default="cpu", help="where to_glb works: cpu or cuda")
    parser.add_argument("--jobs", type=int, default=1, help="assets at a time")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds for one run")
    parser.add_argument("--validator", type=Path, help="folder of the npm package gltf-validator")
    parser.add_argument("--output", help="name of the result files in benchmarks/results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for part in ("assets", "rows", "glb"):
        (args.work / part).mkdir(parents=True, exist_ok=True)
    if args.data_dir is None and "TRELLIS2_SHARED_DIR" in os.environ:
        folder = Path(os.environ["TRELLIS2_SHARED_DIR"]) / "data"
        args.data_dir = folder if folder.is_dir() else None
    known = asset_names(args.data_dir)
    names = args.assets or [n for n in known if not args.quick or n in QUICK]
    wanted = {"off": (False,), "on": (True,), "both": (False, True)}[args.remesh]
    configs = [(p, r) for p, r in CONFIGS if p in args.profiles and r in wanted]
    for name in names if args.fresh else []:
        for profile, remesh in configs:
            (args.work / "rows" / f"{stem_of(name, profile, remesh)}.json").unlink(missing_ok=True)
    if not args.collect:
        run_all(names, configs, args)
    if args.validator:
        validate(args.work, args.validator, names)
    rows = [json.loads(p.read_text()) for p in sorted((args.work / "rows").glob("*.json"))]
    rows = [r for r in rows if r["asset"] in names and (r["profile"], r["remesh"]) in configs]
    rows.sort(key=lambda r: (names.index(r["asset"]), PROFILES.index(r["profile"]), r["remesh"]))
    broken = [
        f"{r['asset']} {r['profile']}{' remesh' if r['remesh'] else ''}: {v}" for r in rows for v in violations(r)
    ]
    text = markdown(rows)
    print(text)
    print("\n".join(broken) or "all goals met")
    if args.output:
        info = machine(torch.device(args.device))
        info["command"] = "python benchmarks/bench_finishing.py --work WORK --data-dir DATA --validator PACKAGE"
        write_results(RESULTS / f"{args.output}.json", {
            "machine": info, "goals": GOALS, "summary": summary(rows), "violations": broken, "rows": rows,
        })  # fmt: skip
        (RESULTS / f"{args.output}.md").write_text(text)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
