"""Raw surfaces with voxel attributes, as decoders hand them to `to_glb`: the assets of the finishing benchmarks.

Kinds: `procedural` (families of the data toolkit: closed, open sheets, thin walls, nested and transparent ones),
`made` (nested balls, leaves that share an edge), `file` (meshes of a data folder), `noisy` (grids with the defects a
network makes: jittered dual vertices, flipped intersection flags, missing voxels) and `mini` (decoded by the bundled
small pipeline). Each goes through the dual grid: sharp input, 8-bit dual vertices, one quad for each crossed edge.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import trimesh
from o_voxel.convert import flexible_dual_grid_to_mesh
from o_voxel.gltf import GltfFile

from data_toolkit.gltf_dump import dump_asset, dump_gltf
from data_toolkit.procedural import generate_asset
from data_toolkit.steps import voxels

__all__ = ["LAYOUT", "QUICK", "RawAsset", "asset_names", "load_asset", "make_asset", "save_asset", "texture_set"]

REPO = Path(__file__).resolve().parent.parent
AABB = voxels.AABB
LAYOUT = {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}
SEED = 1_000_000  # held-out assets of the generator start here

# family: what is special about it. The second number is the seed offset, where the first asset lacks the feature.
PROCEDURAL: dict[str, tuple[str, int]] = {
    "car": ("many materials and parts", 0),
    "teapot": ("metal, closed parts that cut each other", 0),
    "chair": ("thin legs, one material", 0),
    "robot": ("roughness texture", 0),
    "house": ("flat walls, sharp edges", 0),
    "teddy": ("smooth, curved", 0),
    "dice": ("small details", 0),
    "shovel": ("metallic texture", 0),
    "umbrella": ("open sheet", 0),
    "flag": ("open sheet", 0),
    "tent": ("open sheets", 0),
    "lamp": ("open shade", 0),
    "drum": ("open parts", 0),
    "bowl": ("thin wall", 0),
    "vase": ("thin wall, deep hollow", 0),
    "bucket": ("thin wall", 0),
    "jar": ("transparent, content inside", 0),
    "aquarium": ("transparent, nested", 0),
    "goblet": ("transparent", 0),
    "magnifier": ("transparent, thin", 0),
}
MADE = ("nested_balls", "leaves")
NOISY: dict[str, tuple[str, int]] = {  # name: clean asset, grid
    "noisy_teapot_128": ("teapot", 128),
    "noisy_chair_128": ("chair", 128),
    "noisy_umbrella_128": ("umbrella", 128),
    "noisy_jar_128": ("jar", 128),
    "noisy_teddy_256": ("teddy", 256),
    "noisy_fandisk_256": ("fandisk", 256),
}
JITTER, FLIPPED, MISSING = 0.15, 0.01, 0.005  # standard deviation in voxels; shares of flags and of voxels
GRID = 128
SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
# A dozen that show every kind of trouble, for quick runs.
QUICK = (
    "car", "teapot", "umbrella", "bowl", "jar", "aquarium", "tent", "nested_balls", "leaves", "fandisk",
    "noisy_teapot_128", "noisy_umbrella_128",
)  # fmt: skip


@dataclass(frozen=True)
class RawAsset:
    """A decoded surface in [-0.5, 0.5]³, z up, with the voxels that carry its attributes."""

    name: str
    kind: str
    note: str
    grid: int
    vertices: np.ndarray  # [V, 3] float32
    faces: np.ndarray  # [F, 3] int32
    coords: np.ndarray  # [N, 3] int32
    attrs: np.ndarray  # [N, 6] float32, columns as in LAYOUT
    transparent: bool  # the source has a material that blends

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `to_glb`."""
        return {
            "vertices": torch.from_numpy(self.vertices),
            "faces": torch.from_numpy(self.faces),
            "attr_volume": torch.from_numpy(self.attrs),
            "coords": torch.from_numpy(self.coords),
            "attr_layout": LAYOUT,
            "aabb": AABB,
            "grid_size": self.grid,
        }


def asset_names(data_dir: Path | None, mini: bool = True) -> list[str]:
    """All names; without a data folder those of its files (and what is made from them) are left out."""
    files = [p.stem for p in _data_files(data_dir)]
    noisy = [name for name, (clean, _) in NOISY.items() if clean in PROCEDURAL or clean in files]
    pictures = sorted((REPO / "assets" / "example_image").glob("*.png")) if mini else []
    return [*PROCEDURAL, *MADE, *files, *noisy, *(f"mini_{p.stem}" for p in pictures)]


def texture_set() -> list[str]:
    """The assets that texture fidelity is measured on."""
    return list(PROCEDURAL)


def make_asset(name: str, data_dir: Path | None = None) -> RawAsset:
    """Build one asset by name. Raises ValueError for an unknown name."""
    if name in PROCEDURAL or name in MADE:
        return _from_dump(name, *_dump(name), GRID)
    if name in NOISY:
        clean, grid = NOISY[name]
        file = next((p for p in _data_files(data_dir) if p.stem == clean), None)
        return _from_dump(name, *(_dump(clean) if file is None else _file_dump(file)), grid, noisy=True)
    if name.startswith("mini_"):
        return _decoded(name)
    for path in _data_files(data_dir):
        if path.stem == name:
            return _from_dump(name, *_file_dump(path), GRID)
    raise ValueError(f"unknown asset {name!r}, choose from: {', '.join(asset_names(data_dir))}")


def save_asset(asset: RawAsset, path: Path) -> None:
    """One compressed archive, through a temporary file."""
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **{key: np.asarray(value) for key, value in vars(asset).items()})
    part.replace(path)


def load_asset(path: Path) -> RawAsset:
    with np.load(path, allow_pickle=False) as data:
        plain = {key: data[key].item() if data[key].ndim == 0 else data[key] for key in data.files}
    return RawAsset(**plain)


def _data_files(data_dir: Path | None) -> list[Path]:
    folder = None if data_dir is None else data_dir / "meshes"
    return [] if folder is None else sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)


def _dump(name: str) -> tuple[dict[str, Any], str, str]:
    """Dump of a generated model, kind and note."""
    if name in PROCEDURAL:
        note, offset = PROCEDURAL[name]
        return dump_gltf(GltfFile.parse(generate_asset(SEED + offset, name).glb())), "procedural", note
    vertices, faces = _nested_balls() if name == "nested_balls" else _leaves()
    note = "three closed shells in one another" if name == "nested_balls" else "five open leaves meet in one edge"
    data = trimesh.Trimesh(vertices, faces, process=False).export(file_type="glb")
    return dump_gltf(GltfFile.parse(data)), "made", note


def _file_dump(path: Path) -> tuple[dict[str, Any], str, str]:
    return dump_asset(path), "file", path.name


def _nested_balls() -> tuple[np.ndarray, np.ndarray]:
    turn = trimesh.transformations.rotation_matrix(0.4, [1, 2, 3])
    parts = [trimesh.creation.icosphere(subdivisions=5), trimesh.creation.box((0.9, 0.8, 0.7), transform=turn),
             trimesh.creation.icosphere(subdivisions=4, radius=0.25)]  # fmt: skip
    whole = trimesh.util.concatenate(parts)
    return np.asarray(whole.vertices, np.float32), np.asarray(whole.faces)


def _leaves() -> tuple[np.ndarray, np.ndarray]:
    n = 40
    u, v = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(-1, 1, n + 1), indexing="ij")
    index = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    quads = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
    points, faces = [], []
    for k in range(5):
        angle = 2 * np.pi * k / 5 + 0.6 * u + 0.1
        points.append(np.stack([u * np.cos(angle), u * np.sin(angle), v], -1).reshape(-1, 3))
        faces.append(quads + k * (n + 1) ** 2)
    return np.concatenate(points).astype(np.float32), np.concatenate(faces)


def _pattern(coords: np.ndarray, grid: int) -> np.ndarray:
    """Attributes for models that bring no colours: smooth hues with bands, two kinds of roughness."""
    p = (coords + 0.5) / grid
    hue = 0.5 + 0.35 * np.sin(2 * np.pi * (p[:, :1] + np.array([0.0, 0.33, 0.67])) + 4 * p[:, 1:2])
    band = 0.5 + 0.5 * np.sin(2 * np.pi * 6 * p[:, 2:])
    metallic = (p[:, :1] > 0.5).astype(np.float64)
    return np.concatenate([hue * (0.7 + 0.3 * band), metallic, 0.3 + 0.5 * band, np.ones((len(p), 1))], 1)


def _from_dump(name: str, dump: dict[str, Any], kind: str, note: str, grid: int, noisy: bool = False) -> RawAsset:
    objects = voxels.normalise_objects(dump["objects"])
    coords, dual, packed = voxels.dual_grid(objects, grid)
    cells, attributes = voxels.pbr_voxels(dump["materials"], objects, grid)
    attrs = np.concatenate([attributes[key] for key in voxels.PBR_ATTRIBUTES], 1).astype(np.float32) / 255
    used = {i for o in objects for i in np.unique(o["mat_ids"]) if i >= 0}
    plain = all(dump["materials"][i].get("baseColorTexture") is None for i in used)
    if kind != "procedural" and plain and len(used) <= 1:
        attrs = _pattern(cells, grid).astype(np.float32)
    local, flags = dual.astype(np.float32) / 255, (packed >> np.array([0, 1, 2], np.uint8)) & 1 == 1
    if noisy:
        rng = np.random.default_rng(0)
        local = np.clip(local + JITTER * rng.normal(size=local.shape), -0.5, 1.5).astype(np.float32)
        flags = flags ^ (rng.random(flags.shape) < FLIPPED)
        kept = rng.random(len(coords)) >= MISSING
        coords, local, flags = coords[kept], local[kept], flags[kept]
        kind, note = "noisy", f"{name.split('_')[1]} with defects of a network"
    vertices, faces = flexible_dual_grid_to_mesh(
        torch.from_numpy(coords), torch.from_numpy(local), torch.from_numpy(flags), None, grid_size=grid, aabb=AABB
    )
    transparent = any(dump["materials"][i].get("alphaMode") == "BLEND" for i in used)
    return RawAsset(name, kind, note, grid, vertices.numpy(), faces.numpy(), cells, attrs, transparent)


@lru_cache(maxsize=1)
def _pipeline() -> Any:
    from trellis2.pipelines import Trellis2ImageTo3DPipeline

    return Trellis2ImageTo3DPipeline.from_pretrained(str(REPO / "assets" / "models" / "mini"))


def _decoded(name: str) -> RawAsset:
    from trellis2.utils.image import load_image

    picture = load_image(str(REPO / "assets" / "example_image" / f"{name.removeprefix('mini_')}.png"))
    mesh = _pipeline().run(picture, seed=42, verbose=False)[0]
    columns = [i for key in LAYOUT for i in range(mesh.attrs.shape[1])[mesh.layout[key]]]
    attrs = mesh.attrs[:, columns].clamp(0, 1).float().numpy()
    vertices, faces = mesh.vertices.float().numpy(), mesh.faces.int().numpy()
    note = "decoded by the bundled pipeline, seed 42"
    return RawAsset(
        name, "mini", note, round(1 / mesh.voxel_size), vertices, faces, mesh.coords.int().numpy(), attrs, False
    )
