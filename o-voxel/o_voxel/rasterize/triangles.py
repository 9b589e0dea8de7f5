"""Triangle rasterisation: visible triangle, barycentrics and depth of every pixel.

B batch, V vertices, F triangles, H rows, W columns. Row 0 is NDC y = -1, column 0 is NDC x = -1; pixel centres are at
`(2 i + 1) / size - 1`.
"""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor

from o_voxel.rasterize import core, external
from o_voxel.rasterize.selection import RasterBackend, select_backend
from o_voxel.reference.rasterize import barycentrics_reference, rasterize_reference

__all__ = ["DepthPeeler", "check_tri", "rasterize", "triangle_index"]

_MAX_SIZE = 32768
_EXACT_IDS = 1 << 24
_ID_OFFSET = 0x4A800000


def check_tri(tri: Tensor) -> None:
    """Raise unless `tri` is an int32 (or int64) index buffer [F, 3]."""
    if not isinstance(tri, Tensor) or tri.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"tri must be an int32 tensor, got {getattr(tri, 'dtype', type(tri).__name__)}")
    if tri.ndim != 2 or tri.shape[1] != 3:
        raise ValueError(f"tri must have shape [F, 3], got {list(tri.shape)}")
    if tri.shape[0] >= 2**31 - 1:
        raise ValueError(f"tri must have fewer than 2^31 - 1 rows, got {tri.shape[0]}")


def _check_resolution(resolution: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    size = (resolution, resolution) if isinstance(resolution, int) else tuple(resolution)
    if len(size) != 2 or not all(isinstance(s, int) and 0 < s <= _MAX_SIZE for s in size):
        raise ValueError(f"resolution must be (height, width) with sizes in 1..{_MAX_SIZE}, got {resolution}")
    return size[0], size[1]


def _check_pos(pos: Tensor) -> Tensor:
    """`pos` as float32 [B, V, 4]."""
    if not isinstance(pos, Tensor) or not pos.dtype.is_floating_point:
        raise TypeError(f"pos must be a float32 tensor, got {getattr(pos, 'dtype', type(pos).__name__)}")
    if pos.ndim not in (2, 3) or pos.shape[-1] != 4:
        raise ValueError(f"pos must have shape [V, 4] or [B, V, 4], got {list(pos.shape)}")
    return (pos[None] if pos.ndim == 2 else pos).float()


def _check_ranges(ranges: Tensor, pos: Tensor, tri: Tensor) -> Tensor:
    """`ranges` as int32 [B, 2] on CPU."""
    if not isinstance(ranges, Tensor) or ranges.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"ranges must be an int32 tensor, got {getattr(ranges, 'dtype', type(ranges).__name__)}")
    if ranges.ndim != 2 or ranges.shape[1] != 2 or pos.shape[0] != 1:
        raise ValueError(f"ranges must be [B, 2] for pos [V, 4], got {list(ranges.shape)} for {list(pos.shape)}")
    rows = ranges.detach().to("cpu", torch.int64)
    if rows.numel() and (int(rows.min()) < 0 or int(rows.sum(1).max()) > tri.shape[0]):
        raise ValueError(f"ranges must be (first, count) within the {tri.shape[0]} rows of tri, got {rows.tolist()}")
    return rows.to(torch.int32).contiguous()


def _check_peel(peel_depth: Tensor, batch: int, height: int, width: int) -> Tensor:
    if not isinstance(peel_depth, Tensor) or not peel_depth.dtype.is_floating_point:
        raise TypeError("peel_depth must be a floating-point tensor")
    if peel_depth.ndim == 4 and peel_depth.shape[-1] == 1:
        peel_depth = peel_depth[..., 0]
    if peel_depth.ndim == 2:
        peel_depth = peel_depth[None]
    if peel_depth.ndim != 3 or peel_depth.shape[0] not in (1, batch) or peel_depth.shape[1:] != (height, width):
        raise ValueError(f"peel_depth must be [{batch}, {height}, {width}], got {list(peel_depth.shape)}")
    return peel_depth.detach().float().expand(batch, height, width)


class _Rasterize(torch.autograd.Function):
    """The compiled rasteriser; the id of a pixel is a constant, (u, v, z/w) and rast_db follow the corners."""

    @staticmethod
    def forward(ctx, pos, tri, size, peel, ranges, with_db):
        rast, rast_db = core.rasterize(pos, tri, size, peel, ranges, with_db)
        ctx.save_for_backward(pos, tri, rast)
        ctx.set_materialize_grads(False)
        return rast, rast_db

    @staticmethod
    def backward(ctx, grad_rast, grad_db):
        pos, tri, rast = ctx.saved_tensors
        grad = core.rasterize_grad(pos, tri, rast, grad_rast, grad_db) if ctx.needs_input_grad[0] else None
        return grad, None, None, None, None, None


def _rasterize_reference(
    pos: Tensor, tri: Tensor, size: tuple[int, int], peel: Tensor | None, ranges: Tensor | None
) -> tuple[Tensor, Tensor]:
    peel_cpu = None if peel is None else peel.cpu()
    corners, index = pos.detach().cpu(), tri.cpu()
    if ranges is None:
        drawn = rasterize_reference(corners, index, size, peel_cpu)
    else:
        pos = pos.expand(len(ranges), -1, -1)
        items = []
        for b, (first, count) in enumerate(ranges.tolist()):
            behind = None if peel_cpu is None else peel_cpu[b : b + 1]
            item = rasterize_reference(corners, index[first : first + count], size, behind)
            item[..., 3] += first * (item[..., 3] > 0)
            items.append(item)
        drawn = torch.cat(items) if items else corners.new_zeros(0, *size, 4)
    drawn = drawn.to(pos.device)
    value, rast_db = barycentrics_reference(pos, tri, triangle_index(drawn))
    # Values as drawn, gradients of the formula.
    return torch.cat([drawn[..., :3] + (value - value.detach()), drawn[..., 3:]], -1), rast_db


@overload
def rasterize(
    pos: Tensor,
    tri: Tensor,
    resolution: int | tuple[int, int],
    peel_depth: Tensor | None = None,
    grad_db: Literal[False] = False,
    *,
    ranges: Tensor | None = None,
    backend: RasterBackend = "auto",
) -> Tensor: ...


@overload
def rasterize(
    pos: Tensor,
    tri: Tensor,
    resolution: int | tuple[int, int],
    peel_depth: Tensor | None = None,
    *,
    grad_db: Literal[True],
    ranges: Tensor | None = None,
    backend: RasterBackend = "auto",
) -> tuple[Tensor, Tensor]: ...


def rasterize(
    pos: Tensor,  # [V, 4] or [B, V, 4] float32, clip space (x, y, z, w)
    tri: Tensor,  # [F, 3] int32
    resolution: int | tuple[int, int],  # (H, W) pixels
    peel_depth: Tensor | None = None,  # [B, H, W] or [H, W] float32, z/w of the layer in front
    grad_db: bool = False,
    *,
    ranges: Tensor | None = None,  # [B, 2] int32: first row and number of rows of tri for each picture
    backend: RasterBackend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:  # [B, H, W, 4] float32, and with grad_db [B, H, W, 4]
    """Find the nearest triangle of every pixel: `(u, v, z/w, triangle index + 1)`, zeros where there is none.

    `u` and `v` are the perspective-correct weights of vertices 0 and 1 at the pixel centre, in [0, 1] with u + v <= 1.
    No back-face culling; triangles are cut at the view volume |x|, |y|, |z| <= w. Vertices snap to 1/256 pixel for
    coverage, then left edges and the horizontal edge on the low-row side are inclusive: of triangles that share an
    edge exactly one owns a pixel. Smallest z/w (float32) wins, of equal ones the later triangle. Triangles with an
    index out of range, a non-finite corner or no area are skipped. With `peel_depth` only fragments strictly behind it
    are kept; put +inf where nothing further is wanted. Indices above 2^24 are encoded, see `triangle_index`.

    A batch is one index buffer over B sets of corners, or with `ranges` (first row, number of rows) B parts of it over
    one set of corners `[V, 4]`: several meshes in one call. Indices count from the first row of `tri` in both forms.
    With `grad_db` the result is `(rast, rast_db)`; `rast_db` is `(du/dX, du/dY, dv/dX, dv/dY)` for pixel coordinates.

    Differentiable in `pos` (u, v, z/w and `rast_db`; not visibility, which `antialias` makes differentiable). The
    result lives on the device of `pos` and is the same on CPU, on CUDA and for any number of threads; gradients are
    summed in a fixed order on CPU, with atomic adds on CUDA. Raises TypeError or ValueError on wrong types and shapes.
    """
    corners = _check_pos(pos)
    check_tri(tri)
    size = _check_resolution(resolution)
    parts = None if ranges is None else _check_ranges(ranges, corners, tri)
    batch = corners.shape[0] if parts is None else parts.shape[0]
    peel = None if peel_depth is None else _check_peel(peel_depth, batch, *size)
    chosen = select_backend(backend, corners, through_cpu=True)
    if chosen == "native":
        draw = _Rasterize.apply if torch.is_grad_enabled() and corners.requires_grad else core.rasterize
        rast, rast_db = draw(corners, tri, size, peel, parts, grad_db)
    elif chosen == "nvdiffrast":
        rast, rast_db = external.rasterize(corners, tri, size, peel, parts, grad_db)
    else:
        rast, rast_db = _rasterize_reference(corners, tri.detach(), size, peel, parts)
    if not grad_db:
        return rast
    assert rast_db is not None
    return rast, rast_db


def triangle_index(rast: Tensor) -> Tensor:
    """Triangle index per pixel of `rast [..., 4]`: int64 [...], -1 where empty; decodes ids above 2^24."""
    value = rast[..., 3].detach()
    bits = value.contiguous().view(torch.int32) if value.dtype == torch.float32 else value.float().view(torch.int32)
    ids = torch.where(value > _EXACT_IDS, bits - _ID_OFFSET, value.to(torch.int32))
    return ids.to(torch.int64) - 1


class DepthPeeler:
    """Draw a mesh layer by layer, nearest first; coplanar duplicates appear once.

    Usable as a context manager. `pos`, `tri`, `resolution`, `grad_db` and `ranges` are as in `rasterize`.
    """

    def __init__(
        self,
        pos: Tensor,
        tri: Tensor,
        resolution: int | tuple[int, int],
        grad_db: bool = False,
        *,
        ranges: Tensor | None = None,
        backend: RasterBackend = "auto",
    ) -> None:
        self._pos = pos
        self._tri = tri
        self._resolution = resolution
        self._grad_db = grad_db
        self._ranges = ranges
        self._backend: RasterBackend = backend
        self._depth: Tensor | None = None
        self._external: Any = None
        corners = _check_pos(pos)
        if select_backend(backend, corners, through_cpu=True) == "nvdiffrast":
            if ranges is not None:
                raise ValueError("backend='nvdiffrast' peels no ranges")
            self._external = external.peeler(corners, tri, _check_resolution(resolution), grad_db)

    def __enter__(self) -> DepthPeeler:
        if self._external is not None:
            self._external.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._depth = None
        if self._external is not None:
            self._external.__exit__(*exc)

    @torch.no_grad()
    def _remember(self, rast: Tensor) -> None:
        self._depth = torch.where(rast[..., 3] > 0, rast[..., 2], torch.inf)

    def rasterize_next_layer(self) -> Any:
        """The next layer as from `rasterize`; all zeros once every layer has been drawn."""
        if self._external is not None:
            rast, rast_db = self._external.rasterize_next_layer()
            return (rast, rast_db) if self._grad_db else rast
        call: dict[str, Any] = {"ranges": self._ranges, "grad_db": self._grad_db, "backend": self._backend}
        layer = rasterize(self._pos, self._tri, self._resolution, self._depth, **call)
        self._remember(layer[0] if self._grad_db else layer)
        return layer
