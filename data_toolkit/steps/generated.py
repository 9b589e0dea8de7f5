"""All steps of one generated asset in one call, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from o_voxel.gltf import GltfFile

from data_toolkit.dumps import mesh_part, save_dump
from data_toolkit.files import write_bytes
from data_toolkit.gltf_dump import dump_gltf
from data_toolkit.procedural import family_of, generate_asset, spec_sha256
from data_toolkit.steps import voxels
from data_toolkit.steps.stats import dump_stats
from data_toolkit.steps.views import render_views

__all__ = ["GeneratedOptions", "make_generated"]


@dataclass(frozen=True)
class GeneratedOptions:
    """What to write for each asset."""

    root: Path
    resolution: int = 128
    views: int = 8
    image_size: int = 160
    ssaa: int = 2
    geometry: bool = True
    save_raw: bool = False
    save_dumps: bool = False


def make_generated(index: int, options: GeneratedOptions) -> dict[str, Any]:
    """Make asset `index`; files that are complete are not made again. Returns voxel count and statistics."""
    sha, R = spec_sha256(index), options.resolution
    grid_path = options.root / f"dual_grid_{R}" / f"{sha}.vxz"
    pbr_path = options.root / f"pbr_voxels_{R}" / f"{sha}.vxz"
    views_folder = options.root / "renders_cond" / sha
    local_path = f"raw/{family_of(index)}/{index}.glb"
    model = generate_asset(index)
    data = model.glb()
    dump = dump_gltf(GltfFile.parse(data))
    count, other = voxels.voxel_count(grid_path), voxels.voxel_count(pbr_path)
    if count is None or count != other:
        objects = voxels.normalise_objects(dump["objects"])
        coords, vertices, flags = voxels.dual_grid(objects, R)
        pbr_coords, attributes = voxels.pbr_voxels(dump["materials"], objects, R)
        if not same_voxels(coords, pbr_coords, R):
            raise ValueError(voxels.ALIGNED)
        voxels.save_dual_grid(grid_path, coords, vertices, flags, R)
        voxels.save_pbr_voxels(pbr_path, pbr_coords, attributes, R)
        count = len(coords)
    if options.views and not (views_folder / "transforms.json").is_file():
        render_views(
            model.scene(), views_folder, int(sha[:12], 16), options.views, options.image_size,
            save_geometry=options.geometry, ssaa=options.ssaa,
        )  # fmt: skip
    if options.save_raw and not (options.root / local_path).is_file():
        write_bytes(options.root / local_path, data)
    if options.save_dumps and not (path := options.root / "mesh_dumps" / f"{sha}.pickle").is_file():
        save_dump(path, mesh_part(dump))
    return {"sha256": sha, "voxels": count, "local_path": local_path, "stats": dump_stats(dump)}


def same_voxels(a: np.ndarray, b: np.ndarray, resolution: int) -> bool:
    """Whether two lists of voxels [N, 3] hold the same set."""
    if len(a) != len(b):
        return False
    keys = [(c[:, 0].astype(np.int64) * resolution + c[:, 1]) * resolution + c[:, 2] for c in (a, b)]
    return bool((np.sort(keys[0]) == np.sort(keys[1])).all())
