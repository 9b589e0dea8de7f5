"""How well a generated asset agrees with the pictures it was made after; to choose among several.

The camera of a picture is not known. Silhouettes of the asset from all around, cropped to the subject as pictures are,
are compared with the picture's by intersection over union; from the best directions the asset is drawn in its colours
and its image tokens are compared with the picture's, patch by patch. Letters: P points, V views, G grid cells a side.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trellis2.renderers.cameras import extrinsics_look_at, intrinsics_from_fov, orbit_eye
from trellis2.representations import Mesh, MeshWithVoxel

from .progress import Monitor

if TYPE_CHECKING:
    from .base import Pipeline

__all__ = ["Agreement", "score_asset", "score_assets"]

_GRID = 64  # cells a side of the silhouettes
_COVERED = 0.1  # share of a cell from which on a picture's silhouette holds it
_YAWS, _PITCHES = 24, (-0.15, 0.1, 0.35, 0.65)  # directions that are tried, radians
_FOV, _RADIUS = math.radians(40), 2.0
_POINTS = 60_000
_DRAWN = 3  # directions a picture that are drawn in colour
#: Turns of the camera about the object, as steps of a full turn, by the label of a view.
_TURN = {"front": 0.0, "right": 0.25, "back": 0.5, "left": 0.75}


class Agreement(NamedTuple):
    """Agreement of an asset with its pictures, each 0…1, and their mean as the score."""

    score: float
    silhouette: float  # intersection over union of the silhouettes
    appearance: float | None  # agreement of the image tokens; None for assets without colours


def _surface_points(mesh: Mesh, count: int) -> Tensor:
    """Points [P, 3] spread over the surface, the same for the same mesh."""
    corners = mesh.vertices[mesh.faces.long()].float()  # [F, 3, 3]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    total = area.double().cumsum(0)
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand(count, 3, generator=generator, dtype=torch.float64).to(mesh.device)
    face = torch.searchsorted(total, draw[:, 0].contiguous() * total[-1]).clamp(max=len(total) - 1)
    u, v = draw[:, 1].sqrt().float()[:, None], draw[:, 2].float()[:, None]
    a, b, c = corners[face].unbind(1)
    return a * (1 - u) + b * (u * (1 - v)) + c * (u * v)


def _views() -> list[Tensor]:
    """World-to-camera matrices [4, 4], yaw by yaw, pitch by pitch."""
    yaws = [math.pi + 2 * math.pi * i / _YAWS for i in range(_YAWS)]  # from the front on
    up, centre = torch.tensor([0.0, 0.0, 1.0]), torch.zeros(3)
    return [extrinsics_look_at(orbit_eye(y, p, _RADIUS), centre, up) for y, p in itertools.product(yaws, _PITCHES)]


def _project(points: Tensor, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Image positions [P, 2] in the unit square, and the square that holds them: corner [2] and side."""
    camera = points @ view[:3, :3].T.to(points) + view[:3, 3].to(points)
    focal = intrinsics_from_fov(_FOV)[0, 0].item()
    image = camera[:, :2] / camera[:, 2:] * focal + 0.5
    low, high = image.amin(0), image.amax(0)
    side = (high - low).max()
    return image, (low + high - side) / 2, side


def _filled(mask: np.ndarray) -> np.ndarray:
    """A bool mask [H, W] with its holes."""
    import cv2

    padded = np.pad(mask.astype(np.uint8), 1)  # one outside, all around
    cv2.floodFill(padded, None, (0, 0), 2)
    return padded[1:-1, 1:-1] != 2


def _silhouettes(points: Tensor, views: Sequence[Tensor]) -> Tensor:
    """[V, G, G] bool, each cropped to its subject; gaps between points closed, holes filled."""
    out = torch.zeros(len(views), _GRID * _GRID, device=points.device)
    for i, view in enumerate(views):
        image, corner, side = _project(points, view)
        cell = ((image - corner) / side * _GRID).long().clamp(0, _GRID - 1)
        out[i, cell[:, 1] * _GRID + cell[:, 0]] = 1
    out = out.view(-1, 1, _GRID, _GRID)
    pool = torch.nn.functional.max_pool2d
    closed = -pool(-pool(out, 3, 1, 1), 3, 1, 1)[:, 0] > 0
    return torch.from_numpy(np.stack([_filled(one) for one in closed.cpu().numpy()])).to(points.device)


def _picture_silhouette(picture: Image.Image, device: torch.device) -> Tensor:
    """[G, G] bool: what is not black in a picture on black, holes filled.

    A hole cannot be told from a black part, so the holes of assets are filled too. A cell counts as soon as the subject
    reaches well into it, as one does that a point of an asset falls into.
    """
    filled = _filled(np.asarray(picture.convert("RGB")).max(axis=2) > 8).astype(np.float32)
    covered = np.array(Image.fromarray(filled).resize((_GRID, _GRID), Image.Resampling.BOX))
    return torch.from_numpy(covered > _COVERED).to(device)


def _overlap(silhouettes: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of [V, G, G] with [G, G] -> [V]."""
    both = (silhouettes & target).flatten(1).sum(1)
    either = (silhouettes | target).flatten(1).sum(1)
    return both.float() / either.clamp(min=1)


def _draw(mesh: MeshWithVoxel, points: Tensor, view: Tensor, size: int) -> Image.Image:
    """The asset in its base colours on black, cropped to its subject."""
    from trellis2.renderers import MeshRenderer

    _, corner, side = _project(points, view)
    intrinsics = intrinsics_from_fov(_FOV)
    low, extent = corner.cpu(), float(side)
    intrinsics = torch.tensor(
        [
            [intrinsics[0, 0] / extent, 0.0, (0.5 - float(low[0])) / extent],
            [0.0, intrinsics[1, 1] / extent, (0.5 - float(low[1])) / extent],
            [0.0, 0.0, 1.0],
        ]
    )
    options = {"resolution": size, "near": 0.5, "far": 4.0, "antialias": False}
    device = mesh.device
    out = MeshRenderer(options).render(mesh, view.to(device), intrinsics.to(device), ("mask", "attr"))
    colour = out["base_color"].clamp(0, 1) * out["mask"]
    return Image.fromarray((colour.permute(1, 2, 0) * 255).round().byte().cpu().numpy())


def _token_agreement(pipeline: Pipeline, picture: Tensor, drawn: list[Image.Image], size: int) -> float:
    """Largest mean cosine of patch tokens [L, C], mapped to 0…1."""
    best = -1.0
    for image in drawn:
        tokens = pipeline.get_cond([image], size, include_neg_cond=False)["cond"][0]
        best = max(best, float(torch.cosine_similarity(tokens, picture, dim=-1).mean()))
    return (best + 1) / 2


@torch.no_grad()
def score_asset(
    mesh: Mesh | MeshWithVoxel,
    pictures: Sequence[Image.Image],  # preprocessed: on black, cropped to the subject
    pipeline: Pipeline,
    *,
    labels: Sequence[str] = (),
    cond_resolution: int = 512,
) -> Agreement:
    """Agreement of one asset with its pictures.

    `labels` of the pictures (front, right, back, left) tie their directions together; other labels leave them free.
    """
    points = _surface_points(mesh, _POINTS)
    views = _views()
    silhouettes = _silhouettes(points, views)
    table = torch.stack([_overlap(silhouettes, _picture_silhouette(p, mesh.device)) for p in pictures])
    table = table.view(len(pictures), _YAWS, len(_PITCHES))
    turns = [round(_TURN[label] * _YAWS) if label in _TURN else None for label in labels] or [None] * len(pictures)
    tied = [i for i, turn in enumerate(turns) if turn is not None]
    allowed = torch.ones_like(table, dtype=torch.bool)
    if len(tied) > 1:  # one yaw for all labelled pictures
        by_yaw = table.amax(2)
        total = sum(torch.roll(by_yaw[i], -(turns[i] or 0)) for i in tied)
        front = int(torch.as_tensor(total).argmax())
        for i in tied:
            allowed[i] = False
            allowed[i, (front + (turns[i] or 0)) % _YAWS] = True
    table = table.masked_fill(~allowed, -1.0).flatten(1)
    silhouette = float(table.amax(1).mean())
    if not isinstance(mesh, MeshWithVoxel):
        return Agreement(silhouette, silhouette, None)
    values = []
    for i, picture in enumerate(pictures):
        best = table[i].topk(min(_DRAWN, int((table[i] >= 0).sum()))).indices.tolist()
        drawn = [_draw(mesh, points, views[v], cond_resolution) for v in best]
        tokens = pipeline.get_cond([picture], cond_resolution, include_neg_cond=False)["cond"][0]
        values.append(_token_agreement(pipeline, tokens, drawn, cond_resolution))
    appearance = sum(values) / len(values)
    return Agreement((silhouette + appearance) / 2, silhouette, appearance)


def score_assets(
    meshes: Sequence[Mesh | MeshWithVoxel],
    pictures: Sequence[Image.Image],
    pipeline: Any,
    *,
    labels: Sequence[str] = (),
    monitor: Monitor | None = None,
) -> list[float]:
    """Scores of several assets after the same pictures; higher is better."""
    monitor = Monitor() if monitor is None else monitor
    size = pipeline.pipeline_type().ss_cond_resolution
    scores = []
    with monitor.stage("compare", len(meshes)), pipeline._keep(pipeline.image_cond_model):
        for done, mesh in enumerate(meshes, 1):
            scores.append(score_asset(mesh, pictures, pipeline, labels=labels, cond_resolution=size).score)
            monitor.report("compare", done, len(meshes))
    return scores
