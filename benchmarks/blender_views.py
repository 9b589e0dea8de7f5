"""GLB files drawn by Blender's Cycles, back faces red; runs in a Python that has `bpy` and needs nothing else.

    python benchmarks/blender_views.py JOB.json

The job: `size`, `samples`, and `pictures`, a list of {glb, png, yaw, pitch, mode: "shaded" | "sides"} with angles in
radians around the vertical, 0 in front. "shaded" shows the file as it is; "sides" shows outer sides grey and inner
sides red. Prints one line of JSON a picture: meshes, triangles, materials, images, or the error.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import bpy
from mathutils import Vector

__all__ = ["main"]


def _load(path: str) -> dict[str, Any]:
    """Import into an empty scene; returns what there is."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=path)
    meshes = [o for o in bpy.context.scene.objects if o.type == "MESH"]
    for item in meshes:
        item.data.calc_loop_triangles()
    return {
        "meshes": len(meshes),
        "triangles": sum(len(o.data.loop_triangles) for o in meshes),
        "materials": len(bpy.data.materials),
        "images": sum(image.size[0] > 0 for image in bpy.data.images),
        "uv_layers": sum(len(o.data.uv_layers) for o in meshes),
    }


def _show_sides() -> None:
    """Grey where a face is seen from outside, red from inside."""
    material = bpy.data.materials.new("sides")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    output = next(n for n in nodes if n.type == "OUTPUT_MATERIAL")
    outer = next(n for n in nodes if n.type == "BSDF_PRINCIPLED")
    outer.inputs["Base Color"].default_value = (0.6, 0.6, 0.6, 1.0)
    inner, mix, side = (nodes.new(f"ShaderNode{kind}") for kind in ("Emission", "MixShader", "NewGeometry"))
    inner.inputs["Color"].default_value = (1.0, 0.0, 0.0, 1.0)
    links.new(side.outputs["Backfacing"], mix.inputs[0])
    links.new(outer.outputs[0], mix.inputs[1])
    links.new(inner.outputs[0], mix.inputs[2])
    links.new(mix.outputs[0], output.inputs["Surface"])
    for item in bpy.context.scene.objects:
        if item.type == "MESH":
            item.data.materials.clear()
            item.data.materials.append(material)


def _stage(yaw: float, pitch: float) -> None:
    """Camera that frames everything, a sun beside it, and a grey world."""
    scene = bpy.context.scene
    corners = [
        o.matrix_world @ Vector(corner)
        for o in scene.objects if o.type == "MESH" for corner in o.bound_box
    ]  # fmt: skip
    low, high = (Vector(f(c[i] for c in corners) for i in range(3)) for f in (min, max))
    center, radius = (low + high) / 2, (high - low).length / 2
    data = bpy.data.cameras.new("camera")
    data.angle, data.clip_start, data.clip_end = math.radians(35), radius / 50, radius * 20
    camera = bpy.data.objects.new("camera", data)
    toward = Vector((math.sin(yaw) * math.cos(pitch), -math.cos(yaw) * math.cos(pitch), math.sin(pitch)))
    camera.location = center + toward * (1.0 * radius / math.sin(math.radians(17.5)))
    camera.rotation_euler = toward.to_track_quat("Z", "Y").to_euler()
    lamp = bpy.data.lights.new("sun", "SUN")
    lamp.energy = 2.5
    sun = bpy.data.objects.new("sun", lamp)
    sun.rotation_euler = (toward + Vector((0.3, 0.0, 0.8))).to_track_quat("Z", "Y").to_euler()
    for item in (camera, sun):
        scene.collection.objects.link(item)
    scene.camera = camera
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.35, 0.37, 0.4, 1.0)
    scene.world = world


def _draw(path: str, size: int, samples: int) -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples, scene.cycles.seed = samples, 1
    scene.cycles.use_denoising = scene.cycles.use_adaptive_sampling = False
    scene.cycles.max_bounces, scene.cycles.transparent_max_bounces = 3, 8
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "PNG"
    scene.render.filepath = path
    bpy.ops.render.render(write_still=True)


def main(argv: list[str]) -> None:
    """Draw the job named on the command line."""
    job = json.loads(Path(argv[0]).read_text())
    for item in job["pictures"]:
        try:
            found = _load(item["glb"])
            if item["mode"] == "sides":
                _show_sides()
            _stage(item["yaw"], item["pitch"])
            _draw(item["png"], job["size"], job["samples"])
        except Exception as error:  # the sheet shows which file failed; the others go on
            found = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write("\nRESULT " + json.dumps({"glb": item["glb"], **found}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
