"""Baking of voxel attributes into a texture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from o_voxel.mesh import BVH
from o_voxel.mesh.normals import numpy_face_crosses, numpy_normalize
from o_voxel.postprocess.volume import AttributeVolume
from o_voxel.rasterize import interpolate, rasterize, triangle_index

__all__ = ["BakeResult", "bake", "fill_background"]

CHUNK = 1 << 19  # texels at a time


class BakeResult(NamedTuple):
    image: np.ndarray  # [T, T, C] float32, background filled
    covered: np.ndarray  # [T, T] bool, texels that belong to the surface
    distance: np.ndarray  # [M] distance from the covered texels to the source surface


def bake(
    vertices: np.ndarray,  # [V, 3] float
    faces: np.ndarray,  # [F, 3] int
    uvs: np.ndarray,  # [V, 2] in [0, 1], v down the rows
    size: int,
    volume: AttributeVolume,
    source: BVH | None = None,
    *,
    max_distance: float | None = None,
) -> BakeResult:
    """Rasterise the faces in UV space and sample the volume at the surface point of every covered texel.

    With `source`, points move to the closest point of that (finer) surface first, among faces whose normal does not
    oppose the texel's, so that thin walls keep their two sides; where that is farther than `max_distance`, the plain
    closest point is taken if near enough, else the point stays. Charts smaller than a texel still leave their colour.
    """
    image_position, index = _positions(vertices, faces, uvs, size)
    covered = index >= 0
    rows = np.flatnonzero(covered.reshape(-1))
    points = image_position.reshape(-1, 3)[rows].astype(np.float64)
    values = np.empty((len(rows), volume.feats.shape[1]), dtype=np.float32)
    moved = np.zeros(len(rows))
    normals = numpy_normalize(numpy_face_crosses(vertices, faces))
    face_of = index.reshape(-1)[rows]
    for i in range(0, len(rows), CHUNK):
        part = slice(i, min(len(rows), i + CHUNK))
        p = points[part]
        if source is not None:
            p, moved[part] = _project(p, normals[face_of[part]], source, max_distance)
        values[part] = volume.sample(p)
    image = np.zeros((size * size, values.shape[1]), dtype=np.float32)
    image[rows] = values
    return BakeResult(fill_background(image.reshape(size, size, -1), covered), covered, moved)


def _positions(vertices: np.ndarray, faces: np.ndarray, uvs: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Surface position [T, T, 3] and face index [T, T] (-1 outside) of every texel."""
    uv = torch.from_numpy(np.ascontiguousarray(uvs, dtype=np.float32))
    clip = torch.cat([uv * 2 - 1, torch.zeros(len(uv), 1), torch.ones(len(uv), 1)], dim=1)
    tri = torch.from_numpy(np.ascontiguousarray(faces, dtype=np.int32))
    rast = rasterize(clip, tri, (size, size))
    position = interpolate(torch.from_numpy(np.ascontiguousarray(vertices, dtype=np.float32)), rast, tri)[0].numpy()
    index = triangle_index(rast)[0].numpy()
    # Triangles thinner than a texel may cover no texel centre: their corners and centres claim free texels.
    seen = np.zeros(len(faces), dtype=bool)
    seen[index[index >= 0]] = True
    missing = np.flatnonzero(~seen)
    if len(missing):
        corner_uv, corner_pos = uvs[faces[missing]], vertices[faces[missing]]
        for weight in ((1 / 3, 1 / 3, 1 / 3), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
            w = np.array(weight)[None, :, None]
            texel = np.clip(((corner_uv * w).sum(1) * size).astype(np.int64), 0, size - 1)
            at = texel[:, 1] * size + texel[:, 0]
            free = np.flatnonzero(index.reshape(-1)[at] < 0)
            index.reshape(-1)[at[free]] = missing[free]
            # Two faces may claim one texel; the position follows the face that got it.
            won = free[index.reshape(-1)[at[free]] == missing[free]]
            position.reshape(-1, 3)[at[won]] = (corner_pos[won] * w).sum(1)
    return position, index


def _project(
    points: np.ndarray, normals: np.ndarray, source: BVH, max_distance: float | None
) -> tuple[np.ndarray, np.ndarray]:
    limit = np.inf if max_distance is None else max_distance
    distance, face, uvw = source.nearest(points, normals=normals, min_cos=0.0)
    retry = np.flatnonzero(~(distance <= limit))
    if len(retry):
        distance[retry], face[retry], uvw[retry] = source.nearest(points[retry])
    good = (face >= 0) & (distance <= limit)
    out = points.copy()
    out[good] = source.closest_points(face[good], uvw[good])
    return out, distance


def fill_background(image: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Give every uncovered texel the value of the nearest covered one (Euclidean): no seams in any mip level."""
    import cv2

    if not covered.any() or covered.all():
        return image
    # Label every texel with its nearest covered one (covered texels are the zeros of the mask).
    _, labels = cv2.distanceTransformWithLabels(
        np.where(covered, 0, 255).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    row_of = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    row_of[labels[covered]] = np.flatnonzero(covered.reshape(-1))
    return image.reshape(-1, image.shape[-1])[row_of[labels]]
