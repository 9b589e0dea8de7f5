"""Condition images of one asset with the CPU rasteriser: cameras, lights, PNGs, transforms, geometry maps.

Frame: the normalised Z-up world of the voxel stages. Yaw is measured from +X towards +Y, so an object's front (-Y) is
seen from yaw -pi/2; a positive pitch looks down.

`<view>_geo.npz` (with `save_geometry`): `position` uint16 [G, G, 3] = round((p + 0.5) * 65535), `normal` uint8
[G, G, 3] = round((n + 1) / 2 * 255), `mask` uint8 [G, G] = 255 where the surface is seen; G = 32. Each cell holds the
sample nearest to its centre.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_toolkit.files import write_bytes

__all__ = ["published_cameras", "render_views", "training_cameras"]

GEOMETRY_SIZE = 32
_MIN_SKY, _MIN_GROUND = 0.4, 0.3  # least surround of training views, linear radiance
View = dict[str, float]  # yaw, pitch, radius (0: fit the object), fov; radians


def training_cameras(rng: np.random.Generator, count: int) -> list[View]:
    """Yaw spread over the full circle, pitch mostly from -10 to 50 degrees, fov 30 to 50 degrees, distance to fit."""
    start = rng.uniform(0, 2 * math.pi)
    out = []
    for i in range(count):
        yaw = start + 2 * math.pi * (i + rng.uniform(-0.35, 0.35)) / count
        if rng.uniform() < 0.9:
            pitch = math.radians(-10 + 60 * rng.beta(2.0, 2.2))
        else:
            pitch = math.asin(rng.uniform(-0.7, 0.95))
        out.append({"yaw": yaw, "pitch": pitch, "radius": 0.0, "fov": math.radians(rng.uniform(30, 50))})
    return out


def published_cameras(offset: tuple[float, float], inverse_squares: np.ndarray, count: int) -> list[View]:
    """The published distribution: Hammersley points, a quarter below the horizon, fov 10 to 70 degrees.

    `offset` in [0, 1)^2 and `inverse_squares` [count] in [1 / r_max^2, 1 / r_min^2] are the random numbers.
    """
    out = []
    for i in range(count):
        u = i / count + offset[0] / count
        v = _radical_inverse(i) + offset[1]
        u = 2 * u if u < 0.25 else 2 / 3 * u + 1 / 3
        radius = float(inverse_squares[i]) ** -0.5
        fov = 2 * math.asin(math.sqrt(3) / 2 / radius)
        pitch = math.acos(max(-1.0, min(1.0, 1 - 2 * u))) - math.pi / 2
        out.append({"yaw": 2 * math.pi * v, "pitch": pitch, "radius": radius, "fov": fov})
    return out


def _radical_inverse(n: int) -> float:
    value, scale = 0.0, 0.5
    while n:
        value += scale * (n & 1)
        n >>= 1
        scale /= 2
    return value


def _draw_cameras(rng: np.random.Generator, count: int, kind: str) -> list[View]:
    if kind == "training":
        return training_cameras(rng, count)
    near, far = math.sqrt(3) / 2 / math.sin(math.radians(35)), math.sqrt(3) / 2 / math.sin(math.radians(5))
    squares = rng.uniform(1 / far**2, 1 / near**2, count)
    return published_cameras((float(rng.uniform()), float(rng.uniform())), squares, count)


def _fitting_radius(vertices: np.ndarray, view: View, fill: float) -> float:
    """Smallest distance at which all points project inside `fill` times the picture."""
    y, p = view["yaw"], view["pitch"]
    back = np.array([math.cos(y) * math.cos(p), math.sin(y) * math.cos(p), math.sin(p)])
    right = np.array([-math.sin(y), math.cos(y), 0.0])
    up = np.cross(back, right)
    reach = np.maximum(np.abs(vertices @ right), np.abs(vertices @ up)) / (fill * math.tan(view["fov"] / 2))
    return float((vertices @ back + reach).max())


def _png(rgba: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgba).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _geometry(view: dict[str, np.ndarray], size: int) -> bytes:
    resolution = len(view["position"])
    pick = ((np.arange(size) + 0.5) * resolution / size).astype(int)
    position, normal = view["position"][pick][:, pick], view["normal"][pick][:, pick]
    seen = np.abs(normal).max(-1) > 0
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        position=np.where(seen[..., None], np.rint(np.clip(position + 0.5, 0, 1) * 65535), 0).astype(np.uint16),
        normal=np.where(seen[..., None], np.rint(np.clip(normal * 0.5 + 0.5, 0, 1) * 255), 0).astype(np.uint8),
        mask=seen.astype(np.uint8) * np.uint8(255),
    )
    return buffer.getvalue()


def render_views(
    source: Any,
    folder: Path,
    seed: int,
    num_views: int = 8,
    resolution: int = 160,
    *,
    cameras: Literal["training", "published"] = "training",
    save_geometry: bool = False,
    ssaa: int = 2,
) -> None:
    """Render an asset (path, trimesh scene or prepared asset) into `folder`; `transforms.json` is written last.

    The seed fixes cameras and lights; both are stored. Raises ValueError if a view shows nothing.
    """
    from trellis2.renderers.asset_views import Asset, ViewCamera, load_asset, render_asset_view, sample_lighting

    asset = source if isinstance(source, Asset) else load_asset(source)
    rng = np.random.default_rng(seed)
    frames = []
    used = np.unique(asset.faces)
    for i, view in enumerate(_draw_cameras(rng, num_views, cameras)):
        if view["radius"] == 0:
            view["radius"] = _fitting_radius(asset.vertices[used].astype(np.float64), view, rng.uniform(0.8, 0.96))
        camera = ViewCamera.from_blender_view(**view)
        lighting = sample_lighting(rng)
        if cameras == "training":  # the published draw may use up the whole budget and leave black sides
            sky, ground = max(lighting.sky[0], _MIN_SKY), max(lighting.ground[0], _MIN_GROUND)
            lighting = dataclasses.replace(lighting, sky=(sky,) * 3, ground=(ground,) * 3)
        image = render_asset_view(asset, camera, resolution, lighting, ssaa=ssaa)
        if not image["rgba"][..., 3].any():
            raise ValueError(f"view {i} shows nothing")
        write_bytes(folder / f"{i:03d}.png", _png(image["rgba"]))
        if save_geometry:
            write_bytes(folder / f"{i:03d}_geo.npz", _geometry(image, min(GEOMETRY_SIZE, resolution)))
        frames.append({
            "file_path": f"{i:03d}.png",
            "camera_angle_x": view["fov"],
            "transform_matrix": camera.transform_matrix().tolist(),
            "yaw": view["yaw"],
            "pitch": view["pitch"],
            "radius": view["radius"],
            "lights": [{"direction": list(s.direction), "intensity": list(s.intensity)} for s in lighting.lights],
            "ambient": [list(lighting.sky), list(lighting.ground)],
        })  # fmt: skip
    record = {
        "aabb": [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]],
        "scale": float(asset.scale),
        "offset": [float(x) for x in asset.offset],
        "seed": seed,
        "color_management": "sRGB, no view transform",
        "frames": frames,
    }
    write_bytes(folder / "transforms.json", json.dumps(record, indent=4).encode())
