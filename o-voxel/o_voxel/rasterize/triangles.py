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
    def forward(ctx, pos, tri, size, peel, with_db):
        rast, rast_db = core.rasterize(pos, tri, size, peel, with_db)
        ctx.save_for_backward(pos, tri, rast)
        ctx.set_materialize_grads(False)
        return rast, rast_db

    @staticmethod
    def backward(ctx, grad_rast, grad_db):
        pos, tri, rast = ctx.saved_tensors
        grad = core.rasterize_grad(pos, tri, rast, grad_rast, grad_db) if ctx.needs_input_grad[0] else None
        return grad, None, None, None, None


def _rasterize_reference(pos: Tensor, tri: Tensor, size: tuple[int, int], peel: Tensor | None) -> tuple[Tensor, Tensor]:
    peel_cpu = None if peel is None else peel.cpu()
    drawn = rasterize_reference(pos.detach().cpu(), tri.cpu(), size, peel_cpu).to(pos.device)
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
    backend: RasterBackend = "auto",
) -> tuple[Tensor, Tensor]: ...


def rasterize(
    pos: Tensor,  # [V, 4] or [B, V, 4] float32, clip space (x, y, z, w)
    tri: Tensor,  # [F, 3] int32
    resolution: int | tuple[int, int],  # (H, W) pixels
    peel_depth: Tensor | None = None,  # [B, H, W] or [H, W] float32, z/w of the layer in front
    grad_db: bool = False,
    *,
    backend: RasterBackend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:  # [B, H, W, 4] float32, and with grad_db [B, H, W, 4]
    """Find the nearest triangle of every pixel: `(u, v, z/w, triangle index + 1)`, zeros where there is none.

    `u` and `v` are the perspective-correct weights of vertices 0 and 1 at the pixel centre, in [0, 1] with u + v <= 1.
    No back-face culling; triangles are cut at the view volume |x|, |y|, |z| <= w. Vertices snap to 1/256 pixel for
    coverage, then left edges and the horizontal edge on the low-row side are inclusive: of triangles that share an
    edge exactly one owns a pixel. Smallest z/w (float32) wins, of equal ones the later triangle. Triangles with an
    index out of range, a non-finite corner or no area are skipped. With `peel_depth` only fragments strictly behind it
    are kept; put +inf where nothing further is wanted. Indices above 2^24 are encoded, see `triangle_index`.

    With `grad_db` the result is `(rast, rast_db)`; `rast_db` is `(du/dX, du/dY, dv/dX, dv/dY)` for pixel coordinates.

    Differentiable in `pos` (u, v, z/w and `rast_db`; not visibility, which `antialias` makes differentiable). The
    result lives on the device of `pos` and is the same on CPU, on CUDA and for any number of threads; gradients are
    summed in a fixed order on CPU, with atomic adds on CUDA. Raises TypeError or ValueError on wrong types and shapes.
    """
    corners = _check_pos(pos)
    check_tri(tri)
    size = _check_resolution(resolution)
    peel = None if peel_depth is None else _check_peel(peel_depth, corners.shape[0], *size)
    chosen = select_backend(backend, corners, through_cpu=True)
    if chosen == "native":
        draw = _Rasterize.apply if torch.is_grad_enabled() and corners.requires_grad else core.rasterize
        rast, rast_db = draw(corners, tri, size, peel, grad_db)
    elif chosen == "nvdiffrast":
        rast, rast_db = external.rasterize(corners, tri, size, peel, grad_db)
    else:
        rast, rast_db = _rasterize_reference(corners, tri.detach(), size, peel)
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

    Usable as a context manager. `pos`, `tri`, `resolution` and `grad_db` are as in `rasterize`.
    """

    def __init__(
        self,
        pos: Tensor,
        tri: Tensor,
        resolution: int | tuple[int, int],
        grad_db: bool = False,
        *,
        backend: RasterBackend = "auto",
    ) -> None:
        self._pos = pos
        self._tri = tri
        self._resolution = resolution
        self._grad_db = grad_db
        self._backend: RasterBackend = backend
        self._depth: Tensor | None = None
        self._external: Any = None
        corners = _check_pos(pos)
        if select_backend(backend, corners, through_cpu=True) == "nvdiffrast":
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
        call: dict[str, Any] = {"peel_depth": self._depth, "grad_db": self._grad_db, "backend": self._backend}
        layer = rasterize(self._pos, self._tri, self._resolution, **call)
        self._remember(layer[0] if self._grad_db else layer)
        return layer
