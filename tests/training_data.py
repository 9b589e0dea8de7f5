"""A tiny dataset folder with the toolkit's layout: shells on a 32³ grid, 2 views an asset, latents of 8 channels."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

RESOLUTION = 32
LATENT = 4  # grid of the latents: three down-samplings
CHANNELS = 8


def _table(folder: Path, rows: list[dict[str, object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "metadata.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _shell(rng: np.random.Generator) -> np.ndarray:
    """[R, 3] voxels of an ellipsoid's surface."""
    axes = rng.uniform(5, 13, size=3)
    grid = np.stack(np.meshgrid(*[np.arange(RESOLUTION)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    radius = np.sqrt(((grid + 0.5 - RESOLUTION / 2) ** 2 / axes**2).sum(1))
    return grid[np.abs(radius - 1) < 1.2 / axes.min()].astype(np.int32)


def make_dataset(root: Path, count: int = 6, views: int = 2, image_size: int = 48, seed: int = 0) -> Path:
    """Write all folders that training reads; returns `root`."""
    from o_voxel.io import write_vxz

    rng = np.random.default_rng(seed)
    shas = [hashlib.sha256(f"asset {i}".encode()).hexdigest() for i in range(count)]
    tables: dict[str, list[dict[str, object]]] = {}
    for number, sha in enumerate(shas):
        coords = _shell(rng)
        n = len(coords)
        vertices = (127 + 60 * np.sin(coords + number)).astype(np.uint8)
        flags = (coords.sum(1, keepdims=True) % 8).astype(np.uint8)
        colour = np.tile(rng.integers(0, 255, size=3, dtype=np.uint8), (n, 1))
        for name in ("dual_grid_32", "pbr_voxels_32", "renders_cond", "shape_latents/enc", "pbr_latents/enc",
                     "ss_latents/enc"):  # fmt: skip
            (root / name).mkdir(parents=True, exist_ok=True)
        write_vxz(str(root / f"dual_grid_32/{sha}.vxz"), coords, {"vertices": vertices, "intersected": flags},
                  compression="deflate", num_threads=1)  # fmt: skip
        pbr = {"base_color": colour, "metallic": colour[:, :1], "roughness": colour[:, 1:2],
               "alpha": np.full((n, 1), 255, np.uint8)}  # fmt: skip
        write_vxz(str(root / f"pbr_voxels_32/{sha}.vxz"), coords, pbr, compression="deflate", num_threads=1)
        latent = np.unique(coords // (RESOLUTION // LATENT), axis=0).astype(np.uint8)
        feats = (np.sin(latent @ np.ones((3, CHANNELS)) + number) * 3 + 1).astype(np.float32)
        np.savez(root / f"shape_latents/enc/{sha}.npz", coords=latent, feats=feats)
        np.savez(root / f"pbr_latents/enc/{sha}.npz", coords=latent, feats=-feats)
        z = (
            0.3 * rng.standard_normal((CHANNELS, LATENT, LATENT, LATENT))
            + 2 * np.sin(np.arange(CHANNELS))[:, None, None, None]
        )
        np.savez(root / f"ss_latents/enc/{sha}.npz", z=z.astype(np.float32))
        folder = root / "renders_cond" / sha
        folder.mkdir()
        frames = []
        for view in range(views):
            rgba = np.zeros((image_size, image_size, 4), np.uint8)
            a, b = 8 + view, image_size - 6 - number
            rgba[a:b, a:b, :3] = colour[0]
            rgba[a:b, a:b, 3] = 255
            Image.fromarray(rgba).save(folder / f"{view:03d}.png")
            frames.append({"file_path": f"{view:03d}.png"})
            write_geometry(folder, view, rgba[..., 3])
        (folder / "transforms.json").write_text(json.dumps({"frames": frames}))
        for name, row in {
            "": {"aesthetic_score": 5.0 + number, "family": ["ball", "cube"][number % 2]},
            "dual_grid_32": {"dual_grid_converted": True, "dual_grid_size": n},
            "pbr_voxels_32": {"pbr_voxelized": True, "num_pbr_voxels": n},
            "shape_latents/enc": {"shape_latent_encoded": True, "shape_latent_tokens": len(latent)},
            "pbr_latents/enc": {"pbr_latent_encoded": True, "pbr_latent_tokens": len(latent)},
            "ss_latents/enc": {"ss_latent_encoded": True},
            "renders_cond": {"cond_rendered": True},
        }.items():
            tables.setdefault(name, []).append({"sha256": sha, **row})
    for name, rows in tables.items():
        _table(root / name, rows)
    return root


def write_geometry(folder: Path, view: int, alpha: np.ndarray) -> None:
    """`<view>_geo.npz`: position, normal and mask maps of a square view."""
    side = 32
    index = (np.arange(side) * len(alpha)) // side
    mask = alpha[np.ix_(index, index)] > 127
    lattice = (np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1) + 0.5) / side - 0.5
    position = np.concatenate([lattice, np.zeros((side, side, 1))], -1) * mask[..., None]
    normal = np.zeros((side, side, 3))
    normal[..., 2] = mask
    np.savez(
        folder / f"{view:03d}_geo.npz",
        position=np.rint((position + 0.5 * mask[..., None]) * 65535).astype(np.uint16),
        normal=np.rint((normal + 1) / 2 * 255).astype(np.uint8),
        mask=mask.astype(np.uint8) * np.uint8(255),
    )
