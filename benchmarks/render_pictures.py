"""Pictures of docs/rendering.md: surroundings, roughness ramps, passes of the example assets.

python benchmarks/render_pictures.py [--folder docs/images] [--device cuda]
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import trimesh
from torch import Tensor

from trellis2.renderers import EnvMap, PbrMeshRenderer, open_environment
from trellis2.renderers.asset import load_asset
from trellis2.renderers.cameras import extrinsics_look_at, intrinsics_from_fov, orbit_eye
from trellis2.renderers.color import tone_map
from trellis2.renderers.environments import ENVIRONMENT_NAMES
from trellis2.representations import MeshWithPbrMaterial, PbrMaterial
from trellis2.utils.image_utils import make_grid
from trellis2.utils.pictures import save_picture
from trellis2.utils.render_utils import to_bytes

REPO = Path(__file__).resolve().parent.parent
RAMP = tuple(i / 7 for i in range(8))
PASSES = ("shaded", "clay", "normal", "base_color", "metallic", "roughness")


def view(distance: float, yaw: float = math.pi - 0.5, pitch: float = 0.3, fov: float = 35) -> tuple[Tensor, Tensor]:
    """Camera matrices."""
    eye = orbit_eye(yaw, pitch, distance)
    return extrinsics_look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])), intrinsics_from_fov(
        math.radians(fov)
    )


def balls(rows: list[tuple[tuple[float, float, float], float]], size: int, env: EnvMap, device: str) -> np.ndarray:
    """One row of balls of growing roughness for each (base colour, metallic)."""
    ball = trimesh.creation.icosphere(5, radius=0.48)
    vertices, faces = torch.tensor(ball.vertices).float(), torch.tensor(ball.faces).int()
    renderer = PbrMeshRenderer(
        {"resolution": size, "near": 0.5, "far": 6.0, "ssaa": 2, "crease_angle": 40.0, "ao_samples": 0}
    )
    tiles = []
    for color, metallic in rows:
        for roughness in RAMP:
            material = PbrMaterial(None, color, None, metallic, None, roughness)
            ids, uv = torch.zeros(len(faces), dtype=torch.int32), torch.zeros(len(faces), 3, 2)
            mesh = MeshWithPbrMaterial(vertices, faces, ids, uv, [material]).to(device)
            drawn = renderer.render(mesh, *view(1.75), env, use_envmap_bg=True, buffers=["shaded"])
            tiles.append(to_bytes(drawn.shaded))
    return make_grid(tiles, nrow=len(rows), ncol=len(RAMP))


def surroundings() -> np.ndarray:
    """All bundled panoramas, two a row."""
    return make_grid([to_bytes(tone_map(open_environment(n)).permute(2, 0, 1)) for n in ENVIRONMENT_NAMES], ncol=2)


def passes(names: list[str], size: int, device: str) -> np.ndarray:
    """A row of passes for each example asset."""
    tiles = []
    for name in names:
        mesh = load_asset(REPO / "assets" / "example_mesh" / f"{name}.glb").to_mesh().to(device)
        radius = float(mesh.vertices.norm(dim=1).max())
        distance = 1.02 * radius / math.sin(math.radians(17.5))
        options = {"resolution": size, "near": 0.3, "far": 8.0, "ssaa": 3, "bg_color": (1.0, 1.0, 1.0)}
        env = EnvMap(open_environment("forest").to(device))
        drawn = PbrMeshRenderer(options).render(mesh, *view(distance), env)
        for kind in PASSES:
            picture = drawn[kind] if drawn[kind].ndim == 3 else drawn[kind][None].expand(3, -1, -1)
            if kind not in ("shaded", "normal"):
                picture = picture + (1 - drawn.mask) * 0.45
            tiles.append(to_bytes(picture))
    return make_grid(tiles, nrow=len(names), ncol=len(PASSES))


def lighting(name: str, size: int, device: str) -> np.ndarray:
    """One asset in every surround."""
    mesh = load_asset(REPO / "assets" / "example_mesh" / f"{name}.glb").to_mesh().to(device)
    distance = 1.02 * float(mesh.vertices.norm(dim=1).max()) / math.sin(math.radians(17.5))
    renderer = PbrMeshRenderer({"resolution": size, "near": 0.3, "far": 8.0, "ssaa": 3})
    tiles = []
    for surround in ENVIRONMENT_NAMES:
        env = EnvMap(open_environment(surround).to(device))
        drawn = renderer.render(mesh, *view(distance), env, use_envmap_bg=True, buffers=["shaded"])
        tiles.append(to_bytes(drawn.shaded))
    return make_grid(tiles, nrow=2, ncol=4)


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=REPO / "docs" / "images")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    env = EnvMap(open_environment("courtyard").to(args.device))
    materials = [((1.0, 0.86, 0.57), 1.0), ((0.95, 0.95, 0.95), 1.0), ((0.1, 0.35, 0.7), 0.0), ((0.9, 0.9, 0.9), 0.0)]
    pictures = {
        "surroundings.jpg": surroundings(),
        "roughness.jpg": balls(materials, 128, env, args.device),
        "passes.jpg": passes(["car", "duck", "rocket", "lamp"], 192, args.device),
        "lighting.jpg": lighting("teapot", 224, args.device),
    }
    for name, picture in pictures.items():
        save_picture(args.folder / name, picture)
        print(f"{args.folder / name}: {(args.folder / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
