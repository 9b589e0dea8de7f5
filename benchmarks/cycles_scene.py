"""One asset drawn by Blender's Cycles; runs in a Python that has `bpy` (5.0) and needs nothing else of this project.

    python benchmarks/cycles_scene.py JOB.json

The job: `asset` (.glb), `environment` (.exr), `scale` and `offset` of the normalised frame (Z up), `views` (camera to
world, OpenGL axes), `fov` in degrees, `resolution`, `samples` (shaded pass), `base_samples`, `folder`. Writes
`shaded_<i>.exr` and `base_color_<i>.exr` per view: linear, premultiplied, 32-bit, box filter of one pixel, no denoiser.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix

__all__ = ["main"]


def _load(job: dict[str, Any]) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=job["asset"])
    frame = bpy.data.objects.new("frame", None)
    bpy.context.collection.objects.link(frame)
    for item in [o for o in bpy.context.scene.objects if o.parent is None and o is not frame]:
        item.parent = frame
    frame.matrix_world = Matrix.Translation(job["offset"]) @ Matrix.Scale(job["scale"], 4)


def _camera(job: dict[str, Any]) -> Any:
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.angle = "HORIZONTAL", math.radians(job["fov"])
    data.clip_start, data.clip_end = 0.01, 100.0
    camera = bpy.data.objects.new("camera", data)
    bpy.context.collection.objects.link(camera)
    bpy.context.scene.camera = camera
    return camera


def _world(path: str) -> None:
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    picture = nodes.new("ShaderNodeTexEnvironment")
    picture.image = bpy.data.images.load(path)
    place, turn = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
    turn.inputs["Rotation"].default_value[2] = math.radians(90)  # our centre is -Y, Blender's +X
    links.new(place.outputs["Generated"], turn.inputs["Vector"])
    links.new(turn.outputs["Vector"], picture.inputs["Vector"])
    links.new(picture.outputs["Color"], nodes["Background"].inputs["Color"])


def _settings(job: dict[str, Any]) -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
    scene.cycles.pixel_filter_type = "BOX"
    scene.cycles.seed = 1
    scene.cycles.sample_clamp_indirect = scene.cycles.sample_clamp_direct = 0.0
    scene.cycles.max_bounces = 8
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = job["resolution"]
    scene.render.resolution_percentage = 100
    scene.view_settings.view_transform = "Raw"
    image = scene.render.image_settings
    image.file_format, image.color_mode, image.color_depth, image.exr_codec = "OPEN_EXR", "RGBA", "32", "ZIP"


def _show_base_color() -> None:
    """Replace every surface by its base colour, as light."""
    for material in bpy.data.materials:
        if not material.use_nodes:
            continue
        nodes, links = material.node_tree.nodes, material.node_tree.links
        surface = next((n for n in nodes if n.type == "BSDF_PRINCIPLED"), None)
        output = next((n for n in nodes if n.type == "OUTPUT_MATERIAL"), None)
        if surface is None or output is None:
            continue
        glow = nodes.new("ShaderNodeEmission")
        base = surface.inputs["Base Color"]
        if base.is_linked:
            links.new(base.links[0].from_socket, glow.inputs["Color"])
        else:
            glow.inputs["Color"].default_value = base.default_value
        links.new(glow.outputs["Emission"], output.inputs["Surface"])
    bpy.context.scene.world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.0


def _draw(job: dict[str, Any], camera: Any, name: str, samples: int) -> None:
    scene = bpy.context.scene
    scene.cycles.samples = samples
    for i, view in enumerate(job["views"]):
        camera.matrix_world = Matrix(view)
        scene.render.filepath = str(Path(job["folder"]) / f"{name}_{i}.exr")
        bpy.ops.render.render(write_still=True)


def main(argv: list[str]) -> None:
    """Draw the job named on the command line."""
    job = json.loads(Path(argv[0]).read_text())
    _load(job)
    camera = _camera(job)
    _world(job["environment"])
    _settings(job)
    _draw(job, camera, "shaded", job["samples"])
    _show_base_color()
    _draw(job, camera, "base_color", job["base_samples"])


if __name__ == "__main__":
    main(sys.argv[1:])
