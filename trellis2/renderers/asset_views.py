"""Fast pictures of ordinary assets on CPU cores: conditioning views with their position and normal maps.

Camera: the convention of `trellis2.renderers.cameras` (yaw 0 on +Y, yaw pi/2 on +X, up +Z, square image, row 0 at the
top). H = W = resolution; world = the asset's normalised frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from .asset import Asset, load_asset
from .asset_lighting import DEFAULT_LIGHTING, DirectionalLight, Lighting, dot, sample_lighting, shade_points
from .asset_material import MASK, OPAQUE
from .cameras import extrinsics_look_at, intrinsics_from_fov, intrinsics_to_projection, orbit_eye

__all__ = [
    "Asset",
    "DirectionalLight",
    "Lighting",
    "ViewCamera",
    "load_asset",
    "render_asset_view",
    "sample_lighting",
]

_MAX_LAYERS = 4
_OPAQUE = 0.995  # nothing is drawn behind this opacity
_BOUND = math.sqrt(3) / 2  # radius of the sphere around the unit cube
_LINEAR = np.linspace(0, 1, 16385)
_SRGB_TABLE = np.rint(
    255 * np.where(_LINEAR <= 0.0031308, _LINEAR * 12.92, 1.055 * _LINEAR ** (1 / 2.4) - 0.055)
).astype(np.uint8)  # linear light to 8 bits


@dataclass(frozen=True)
class ViewCamera:
    """A camera on a sphere about the origin, looking at it. Angles in radians, `fov` in degrees (full, both axes)."""

    yaw: float
    pitch: float
    radius: float
    fov: float

    @classmethod
    def from_blender_view(cls, yaw: float, pitch: float, radius: float, fov: float) -> ViewCamera:
        """From a record of the data toolkit: yaw 0 on +X, yaw pi/2 on +Y, `fov` in radians."""
        return cls(math.pi / 2 - yaw, pitch, radius, math.degrees(fov))

    def extrinsics(self) -> torch.Tensor:
        """World to camera `[4, 4]`, OpenCV axes."""
        eye = orbit_eye(self.yaw, self.pitch, self.radius).double()
        return extrinsics_look_at(eye, torch.zeros(3).double(), torch.tensor([0.0, 0.0, 1.0]).double())

    def intrinsics(self) -> torch.Tensor:
        """Normalised intrinsics `[3, 3]`."""
        return intrinsics_from_fov(math.radians(self.fov)).double()

    def transform_matrix(self) -> np.ndarray:
        """Camera to world `[4, 4]` with OpenGL axes (right, up, back), as written to `transforms.json`."""
        pose = np.linalg.inv(self.extrinsics().numpy())
        return pose * np.array([1.0, -1.0, -1.0, 1.0])


def render_asset_view(
    asset: Asset,
    camera: ViewCamera,
    resolution: int = 160,
    lighting: Lighting | None = None,
    *,
    ssaa: int = 2,
) -> dict[str, np.ndarray]:
    """Render one view.

    Returns `rgba` uint8 [H, W, 4] (sRGB, straight alpha, transparent background), `position` float32 [H, W, 3] and
    `normal` float32 [H, W, 3] (unit shading normal on the viewer's side), both in the asset's frame and 0 where nothing
    is seen. Position and normal are those of one sample inside the pixel, never a mean across a depth edge. Every
    surface is two-sided. Transparent materials are composited over up to four depth layers.
    """
    if resolution < 1 or ssaa < 1:
        raise ValueError(f"resolution and ssaa must be positive, got {resolution} and {ssaa}")
    if camera.radius <= 0:
        raise ValueError(f"camera.radius must be positive, got {camera.radius}")
    lighting = DEFAULT_LIGHTING if lighting is None else lighting
    size = resolution * ssaa
    extrinsics = camera.extrinsics()
    near, far = max(0.01, camera.radius - 1.01 * _BOUND), camera.radius + 1.01 * _BOUND
    matrix = (intrinsics_to_projection(camera.intrinsics(), near, far) @ extrinsics).numpy()
    clip = (asset.vertices.astype(np.float64) @ matrix[:, :3].T + matrix[:, 3]).astype(np.float32)
    eye = (-extrinsics[:3, :3].T @ extrinsics[:3, 3]).numpy().astype(np.float32)
    levels = _face_levels(asset, clip, size)

    pixels = size * size
    color, opacity = np.zeros((3, pixels), np.float32), np.zeros(pixels, np.float32)
    best = np.zeros(pixels, np.float32)
    depth = np.full(pixels, np.inf, np.float32)
    position, normal = np.zeros((3, pixels), np.float32), np.zeros((3, pixels), np.float32)
    for layer, rast in enumerate(_layers(asset, clip, size)):
        where = np.flatnonzero(rast[:, 3])
        if layer:
            where = where[opacity[where] < _OPAQUE]
        if not len(where):
            break
        hits = rast.take(where, axis=0)
        point, facing, alpha, radiance = _shade(asset, hits, levels, eye, lighting)
        weight = (1 - opacity[where]) * alpha
        leading = np.flatnonzero(weight > best[where])
        front = where[leading]
        best[front], depth[front] = weight[leading], hits[leading, 2]
        weighted = np.clip(radiance, 0, 1) * weight
        for channel in range(3):
            color[channel, where] += weighted[channel]
            position[channel, front] = point[channel, leading]
            normal[channel, front] = facing[channel, leading]
        opacity[where] += weight
    return _resolve(color, opacity, depth, position, normal, resolution, ssaa)


def _layers(asset: Asset, clip: np.ndarray, size: int):
    """Depth layers `[size * size, 4]` of (u, v, z/w, face + 1), nearest first."""
    from o_voxel.rasterize import DepthPeeler, rasterize

    vertices, faces = torch.from_numpy(clip), torch.from_numpy(asset.faces)
    if asset.is_opaque:
        yield rasterize(vertices, faces, (size, size)).reshape(-1, 4).numpy()
        return
    with DepthPeeler(vertices, faces, (size, size)) as peeler:
        for _ in range(_MAX_LAYERS):
            yield peeler.rasterize_next_layer().reshape(-1, 4).numpy()


def _face_levels(asset: Asset, clip: np.ndarray, size: int) -> np.ndarray:
    """Mip level `[F]` at which a texel of each face is about as large as a sample."""
    screen = clip[:, :2] / np.maximum(clip[:, 3:], 1e-6) * (0.5 * size)
    a, b, c = (screen[asset.faces[:, i]] for i in range(3))
    drawn = np.abs((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]))
    uv = asset.corners[:, 6:8]  # [3, 2, F]
    e, f = uv[1] - uv[0], uv[2] - uv[0]
    texels = np.abs(e[0] * f[1] - e[1] * f[0])
    texels = texels * asset.atlas.width[asset.material_ids, 0] * asset.atlas.height[asset.material_ids, 0]
    ratio = np.clip(np.nan_to_num(texels) / np.maximum(drawn, 1e-6), 1.0, 4.0**15)
    return np.rint(0.5 * np.log2(ratio)).astype(np.int32)


def _shade(
    asset: Asset, rast: np.ndarray, levels: np.ndarray, eye: np.ndarray, lighting: Lighting
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Position [3, n], viewer-side normal [3, n], alpha [n], radiance [3, n] of n covered samples."""
    face = rast[:, 3].astype(np.int64) - 1
    u, v = rast[:, 0].copy(), rast[:, 1].copy()
    w = 1 - u - v

    def at(table: np.ndarray) -> np.ndarray:  # [3, C, F] by corner -> [C, n]
        out = table[0].take(face, axis=1)
        out *= u
        for corner, weight in ((table[1], v), (table[2], w)):
            part = corner.take(face, axis=1)
            part *= weight
            out += part
        return out

    values = at(asset.corners)
    point, normal = values[0:3], values[3:6]
    view = eye[:, None] - point
    view /= np.sqrt(dot(view, view))
    normal /= np.sqrt(dot(normal, normal)) + np.float32(1e-12)
    # Two-sided: turn the normal by the side of the flat face that is seen, then keep it from facing away.
    flat = asset.face_normals.take(face, axis=1)
    normal *= np.where(dot(flat, view) * dot(flat, normal) < 0, np.float32(-1), np.float32(1))
    below = dot(normal, view)
    tilted = np.flatnonzero(below < 0)
    if len(tilted):
        bent = normal[:, tilted] - (below[tilted] - np.float32(1e-3)) * view[:, tilted]
        normal[:, tilted] = bent / (np.sqrt(dot(bent, bent)) + np.float32(1e-12))

    material = asset.material_ids.take(face)
    texel = asset.atlas.sample(values[6], values[7], material, levels.take(face))
    base, alpha = texel[:3], texel[3]
    if asset.colors is not None:
        tint = at(asset.colors)
        base, alpha = base * tint[:3], alpha * tint[3]
    if asset.is_opaque:
        alpha = np.ones_like(alpha)
    else:
        mode = asset.alpha_mode[material]
        alpha = np.where(mode == OPAQUE, 1.0, np.where(mode == MASK, alpha > asset.alpha_cutoff[material], alpha))
    radiance = shade_points(normal, view, base, texel[4], texel[5], lighting)
    return point, normal, alpha.astype(np.float32), radiance


def _resolve(
    color: np.ndarray,
    opacity: np.ndarray,
    depth: np.ndarray,
    position: np.ndarray,
    normal: np.ndarray,
    resolution: int,
    ssaa: int,
) -> dict[str, np.ndarray]:
    """Samples to pixels: box mean of premultiplied colour, nearest sample of the geometry."""
    alpha = _box_mean(opacity, resolution, ssaa)
    seen = np.flatnonzero(alpha > 0.5 / 255)
    rgba = np.zeros((resolution * resolution, 4), np.uint8)
    top = len(_SRGB_TABLE) - 1
    for channel in range(3):
        straight = np.minimum(_box_mean(color[channel], resolution, ssaa)[seen] / alpha[seen], 1)
        rgba[seen, channel] = _SRGB_TABLE.take((straight * np.float32(top) + np.float32(0.5)).astype(np.int32))
    rgba[:, 3] = np.rint(np.clip(alpha, 0, 1) * 255)
    # [R, s, R, s] -> [R * R, s * s], then the nearest covered sample of each pixel
    grouped = depth.reshape(resolution, ssaa, resolution, ssaa).transpose(0, 2, 1, 3).reshape(-1, ssaa * ssaa)
    chosen = grouped.argmin(1)
    pixel_y, pixel_x = np.divmod(np.arange(resolution * resolution), resolution)
    sample = (pixel_y * ssaa + chosen // ssaa) * (resolution * ssaa) + pixel_x * ssaa + chosen % ssaa
    shape = (resolution, resolution, 3)
    maps = (np.ascontiguousarray(buffer.take(sample, axis=1).T).reshape(shape) for buffer in (position, normal))
    return {"rgba": rgba.reshape(resolution, resolution, 4), **dict(zip(("position", "normal"), maps))}


def _box_mean(image: np.ndarray, resolution: int, ssaa: int) -> np.ndarray:
    """Mean over the samples of each pixel: flat [S * S] -> flat [R * R]."""
    cells = image.reshape(resolution, ssaa, resolution, ssaa)
    total = np.zeros((resolution, resolution), np.float32)
    for i in range(ssaa):
        for j in range(ssaa):
            total += cells[:, i, :, j]
    return (total * np.float32(1 / (ssaa * ssaa))).reshape(-1)
