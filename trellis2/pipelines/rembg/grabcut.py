"""A cut-out that needs no weights: what differs from the border of the picture, refined by GrabCut.

The border is taken for background. Its colours are modelled twice, by a few clusters (several surfaces) and by a
smooth surface over the picture (a gradient); a pixel far from both is likely subject. GrabCut (Rother et al., 2004)
then fits colour mixtures to both sides and cuts along edges; a guided filter (He et al., 2010) gives soft borders.

Letters: H/W rows and columns of the working picture.
"""

from __future__ import annotations

import logging

import cv2
import numpy as np
import torch
from PIL import Image

__all__ = ["GrabCut"]

logger = logging.getLogger(__name__)


class GrabCut:
    """Deterministic; the mask is never empty (the whole picture is kept if no subject stands out)."""

    def __init__(self, working_size: int = 400, iterations: int = 6) -> None:
        """`working_size`: longer side in pixels at which the cut is computed. `iterations` of GrabCut."""
        if working_size < 32:
            raise ValueError(f"working_size must be at least 32 pixels, got {working_size}")
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.working_size = int(working_size)
        self.iterations = int(iterations)

    def to(self, device: torch.device | str) -> None:
        """Nothing to move; it runs on the CPU."""

    def cuda(self) -> None:
        """Nothing to move; it runs on the CPU."""

    def cpu(self) -> None:
        """Nothing to move; it runs on the CPU."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """RGB image to RGBA image of the same size."""
        rgb = np.asarray(image.convert("RGB"))
        alpha = Image.fromarray(self._alpha(rgb))
        out = image.convert("RGB")
        out.putalpha(alpha)
        return out

    def _alpha(self, rgb: np.ndarray) -> np.ndarray:
        """Alpha [H, W] uint8 of a picture [H, W, 3] uint8."""
        height, width = rgb.shape[:2]
        scale = min(1.0, self.working_size / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if scale < 1 else rgb
        mask = self._mask(small) if min(small.shape[:2]) >= 8 else None
        if mask is None:
            logger.warning("no subject stands out from the background; the whole picture is used")
            return np.full((height, width), 255, np.uint8)
        coarse = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        radius = max(2, round(1.5 / scale))
        soft = _guided_filter(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255, coarse, radius)
        # the filter only decides in a band around the cut
        core = cv2.resize(cv2.erode(mask, np.ones((3, 3), np.uint8)), (width, height), interpolation=cv2.INTER_NEAREST)
        hull = cv2.resize(cv2.dilate(mask, np.ones((3, 3), np.uint8)), (width, height), interpolation=cv2.INTER_NEAREST)
        soft = np.clip((soft - 0.5) * 2 + 0.5, 0, 1)
        soft = np.where(core > 0, 1.0, np.where(hull > 0, soft, 0.0))
        return (soft * 255 + 0.5).astype(np.uint8)

    def _mask(self, rgb: np.ndarray) -> np.ndarray | None:
        """Subject mask [H, W] uint8 0/1, or None if nothing stands out."""
        distance = _background_distance(rgb)
        # Lab units: what the border itself varies by, at most Otsu's split, at least 8 (colours that look alike)
        varies = float(np.quantile(distance[_border_ring(rgb.shape[:2])], 0.95))
        threshold = max(min(_otsu(distance), 2.0 * varies), 8.0)
        likely = distance > threshold
        share = float(likely.mean())
        if share < 0.003:
            return None
        marks = np.where(likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
        ring = _border_ring(rgb.shape[:2])
        marks[ring & ~likely] = cv2.GC_BGD
        marks[distance < 0.25 * threshold] = cv2.GC_BGD
        core = cv2.erode(likely.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        marks[core & (distance > 1.6 * threshold) & ~ring] = cv2.GC_FGD
        if (marks == cv2.GC_BGD).any() and ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)).any():
            cv2.setRNGSeed(0)
            back, front = np.zeros((1, 65)), np.zeros((1, 65))
            bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
            cv2.grabCut(bgr, marks, (0, 0, 1, 1), back, front, self.iterations, cv2.GC_INIT_WITH_MASK)
        mask = ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)).astype(np.uint8)
        mask = _clean(mask)
        if not 0.003 <= mask.mean() <= 0.995:
            mask = _clean(likely.astype(np.uint8))
        return mask if 0.003 <= mask.mean() <= 0.995 else None


def _border_ring(shape: tuple[int, int]) -> np.ndarray:
    """Pixels within 3 % of the border, [H, W] bool."""
    width = max(2, round(0.03 * min(shape)))
    ring = np.ones(shape, bool)
    ring[width:-width, width:-width] = False
    return ring


def _background_distance(rgb: np.ndarray) -> np.ndarray:
    """Distance [H, W] of each pixel's colour from the border's colours, in Lab units (about 2 is just visible)."""
    lab = cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    ring = _border_ring(rgb.shape[:2])
    border = lab[ring]
    clusters = np.min([np.linalg.norm(lab - center, axis=2) for center in _cluster_centers(border)], axis=0)
    height, width = rgb.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=2)  # [H, W, 6]
    weights = np.ones(border.shape[0])
    for _ in range(4):  # reweighted least squares: a subject that touches the border must not bend the surface
        root = np.sqrt(weights)[:, None]
        fit = np.linalg.lstsq(terms[ring] * root, border * root, rcond=None)[0]  # [6, 3]
        rest = np.linalg.norm(border - terms[ring] @ fit, axis=1)
        weights = 1 / (1 + (rest / 5.0) ** 2)
    surface = np.linalg.norm(lab - terms @ fit, axis=2)
    distance = np.minimum(clusters, surface).astype(np.float32)
    return cv2.GaussianBlur(distance, (0, 0), 1.0)


def _cluster_centers(colors: np.ndarray, num: int = 4) -> np.ndarray:
    """Centres of the main colour groups of `colors` [N, 3]: k-means seeded along the principal axis."""
    mean = colors.mean(axis=0)
    axis = np.linalg.eigh(np.cov((colors - mean).T) + 1e-6 * np.eye(3))[1][:, -1]
    order = np.argsort((colors - mean) @ axis, kind="stable")
    centers = np.stack([colors[part].mean(axis=0) for part in np.array_split(order, num)])
    for _ in range(10):
        nearest = np.linalg.norm(colors[:, None] - centers[None], axis=2).argmin(axis=1)
        centers = np.stack(
            [colors[nearest == k].mean(axis=0) if (nearest == k).any() else centers[k] for k in range(num)]
        )
    share = np.bincount(nearest, minlength=num) / len(colors)
    return centers[share >= 0.12] if (share >= 0.12).any() else centers


def _otsu(values: np.ndarray) -> float:
    """Threshold that splits `values` into two groups of least variance."""
    top = max(float(values.max()), 1e-6)
    level, _ = cv2.threshold(np.clip(values / top * 255, 0, 255).astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    return float(level) / 255 * top


def _clean(mask: np.ndarray) -> np.ndarray:
    """Drop specks, keep the main pieces, close pinholes."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count > 1:
        areas = stats[1:, cv2.CC_STAT_AREA]
        keep = 1 + np.flatnonzero(areas >= 0.05 * areas.max())
        mask = np.isin(labels, keep).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(1 - mask, connectivity=4)
    limit = max(4.0, 0.002 * float(mask.sum()))
    holes = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] <= limit]
    return np.where(np.isin(labels, holes), 1, mask).astype(np.uint8)


def _guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, eps: float = 1e-3) -> np.ndarray:
    """Smooth `values` [H, W] along the edges of `guide` [H, W]."""
    size = (2 * radius + 1, 2 * radius + 1)

    def box(a: np.ndarray) -> np.ndarray:
        return cv2.blur(a, size)

    mean_g, mean_v = box(guide), box(values)
    slope = (box(guide * values) - mean_g * mean_v) / (box(guide * guide) - mean_g**2 + eps)
    return box(slope) * guide + box(mean_v - slope * mean_g)
