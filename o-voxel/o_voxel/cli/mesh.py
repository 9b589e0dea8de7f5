"""`mesh`: voxel files to surfaces with vertex colours."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh

from o_voxel.asset import VoxelAsset, load_asset
from o_voxel.cli.batch import add_batch_arguments, run_command
from o_voxel.cli.options import VOXEL_SUFFIXES, add_grid_arguments, box_of
from o_voxel.convert.materials import srgb_to_linear
from o_voxel.io.arrays import open_to_write
from o_voxel.mesh import orient_outward, remove_unreferenced_vertices, unify_face_orientations

__all__ = ["MeshTask", "add_parser", "asset_to_trimesh"]

OUTPUTS = (".ply", ".obj", ".glb", ".stl", ".off")
_Z_TO_Y = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def asset_to_trimesh(
    asset: VoxelAsset, *, orient: bool = True, restore: bool = False, y_up: bool = False
) -> trimesh.Trimesh:
    """The surface with vertex colours, in the asset's frame (`restore`: that of the mesh it was made from).

    `orient` winds faces outward as seen from outside. `y_up` turns Z-up results for formats with Y up. Raises
    ValueError if the asset has no surface.
    """
    vertices, faces = (t.numpy() for t in asset.to_mesh())
    if len(faces) == 0:
        raise ValueError("the voxels have no faces: no crossed edge has all four voxels around it")
    if orient:
        faces = np.asarray(orient_outward(vertices, unify_face_orientations(vertices, faces)[1]))
    colors = asset.pbr.mul(255).round().byte().numpy()[:, [0, 1, 2, 5]] if "base_color" in asset.attrs else None
    used = np.zeros(len(vertices), bool)
    used[faces.reshape(-1)] = True
    vertices, faces = remove_unreferenced_vertices(vertices, faces)
    points = np.asarray(vertices, np.float64)
    if restore:
        points = asset.placement.undo(points)
    elif y_up:
        points = points @ _Z_TO_Y.T
    mesh = trimesh.Trimesh(points, faces, process=False)
    if colors is not None:
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colors[used])
    return mesh


@dataclass(frozen=True)
class MeshTask:
    """Voxel file -> mesh file."""

    resolution: int | None = None
    aabb: Any = None
    orient: bool = True
    restore: bool = False

    def __call__(self, source: Path, target: Path) -> None:
        """Convert one file."""
        kind = target.suffix.lower()[1:]
        mesh = asset_to_trimesh(
            load_asset(source, self.resolution, self.aabb), orient=self.orient, restore=self.restore,
            y_up=kind in ("glb", "obj"),
        )  # fmt: skip
        visual: Any = mesh.visual
        if kind == "glb" and visual.defined:  # COLOR_0 is linear
            rgba = np.asarray(visual.vertex_colors).copy()
            rgba[:, :3] = np.rint(srgb_to_linear(rgba[:, :3] / 255.0) * 255)
            visual.vertex_colors = rgba
        payload: Any = mesh.export(file_type=kind)
        with open_to_write(target) as stream:
            stream.write(payload.encode() if isinstance(payload, str) else payload)


def add_parser(commands: Any) -> None:
    """Add the command to `commands`."""
    parser = commands.add_parser(
        "mesh", help="voxels -> mesh with vertex colours", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Make the surface of voxel files: one vertex per voxel, coloured by its base colour.",
        epilog="example: python -m o_voxel mesh chair.vxz chair.ply",
    )  # fmt: skip
    add_batch_arguments(parser, ".ply")
    add_grid_arguments(parser)
    parser.add_argument("--no-orient", action="store_true", help="keep the arbitrary winding of the dual surface")
    parser.add_argument("--restore", action="store_true", help="axes, place and units of the mesh it was made from")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    task = MeshTask(args.resolution, box_of(args.aabb), not args.no_orient, args.restore)
    return run_command(args, task, VOXEL_SUFFIXES, OUTPUTS)
