"""Triangle rasterisation: visible triangle, barycentrics and depth of every pixel.

B batch, V vertices, F triangles, H rows, W columns. Row 0 is NDC y = -1, column 0 is NDC x = -1; pixel centres are at
`(2 i + 1) / size - 1`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.reference.rasterize import rasterize_reference

__all__ = ["DepthPeeler", "rasterize", "triangle_index"]

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


def _check_peel(peel_depth: Tensor, batch: int, height: int, width: int) -> Tensor:
    if not isinstance(peel_depth, Tensor) or not peel_depth.dtype.is_floating_point:
        raise TypeError("peel_depth must be a floating-point tensor")
    if peel_depth.ndim == 4 and peel_depth.shape[-1] == 1:
        peel_depth = peel_depth[..., 0]
    if peel_depth.ndim == 2:
        peel_depth = peel_depth[None]
    if peel_depth.ndim != 3 or peel_depth.shape[0] not in (1, batch) or peel_depth.shape[1:] != (height, width):
        raise ValueError(f"peel_depth must be [{batch}, {height}, {width}], got {list(peel_depth.shape)}")
    return peel_depth.expand(batch, height, width)


def rasterize(
    pos: Tensor,  # [V, 4] or [B, V, 4] float32, clip space (x, y, z, w)
    tri: Tensor,  # [F, 3] int32
    resolution: int | tuple[int, int],  # (H, W) pixels
    peel_depth: Tensor | None = None,  # [B, H, W] or [H, W] float32, z/w of the layer in front
    *,
    backend: Backend = "auto",
) -> Tensor:  # [B, H, W, 4] float32
    """Find the nearest triangle of every pixel: `(u, v, z/w, triangle index + 1)`, zeros where there is none.

    `u` and `v` are the perspective-correct weights of vertices 0 and 1 at the pixel centre, in [0, 1] with u + v <= 1.
    No back-face culling; triangles are cut at the view volume |x|, |y|, |z| <= w. Vertices snap to 1/256 pixel for
    coverage, then left edges and the horizontal edge on the low-row side are inclusive: of triangles that share an
    edge exactly one owns a pixel. Smallest z/w (float32) wins, of equal ones the later triangle. Triangles with an
    index out of range, a non-finite corner or no area are skipped. With `peel_depth` only fragments strictly behind it
    are kept; put +inf where nothing further is wanted. Indices above 2^24 are encoded, see `triangle_index`.

    The result lives on the device of `pos` (CUDA tensors are drawn on the CPU) and carries no gradient; is the same
    for any number of threads. Raises TypeError or ValueError on wrong types and shapes.
    """
    if not isinstance(pos, Tensor) or not pos.dtype.is_floating_point:
        raise TypeError(f"pos must be a float32 tensor, got {getattr(pos, 'dtype', type(pos).__name__)}")
    if pos.ndim not in (2, 3) or pos.shape[-1] != 4:
        raise ValueError(f"pos must have shape [V, 4] or [B, V, 4], got {list(pos.shape)}")
    check_tri(tri)
    height, width = _check_resolution(resolution)
    pos_cpu = pos.detach().to("cpu", torch.float32)
    pos_cpu = (pos_cpu[None] if pos_cpu.ndim == 2 else pos_cpu).contiguous()
    tri_cpu = tri.detach().to("cpu", torch.int32).contiguous()
    peel_cpu = None
    if peel_depth is not None:
        peel_cpu = (
            _check_peel(peel_depth, pos_cpu.shape[0], height, width).detach().to("cpu", torch.float32).contiguous()
        )
    if resolve_backend(backend) == "reference":
        return rasterize_reference(pos_cpu, tri_cpu, (height, width), peel_cpu).to(pos.device)
    native = native_module()
    assert native is not None
    rast = torch.empty(pos_cpu.shape[0], height, width, 4)
    native.rasterize_triangles(pos_cpu, tri_cpu, rast, peel_cpu)
    return rast.to(pos.device)


def triangle_index(rast: Tensor) -> Tensor:
    """Triangle index per pixel of `rast [..., 4]`: int64 [...], -1 where empty; decodes ids above 2^24."""
    value = rast[..., 3].detach()
    ids = value.to(torch.int64)
    if bool((ids > _EXACT_IDS).any()):
        bits = value.contiguous().view(torch.int32).to(torch.int64)
        ids = torch.where(ids > _EXACT_IDS, bits - _ID_OFFSET, ids)
    return ids - 1


class DepthPeeler:
    """Draw a mesh layer by layer, nearest first; coplanar duplicates appear once.

    Usable as a context manager. `pos`, `tri` and `resolution` are as in `rasterize`.
    """

    def __init__(
        self, pos: Tensor, tri: Tensor, resolution: int | tuple[int, int], *, backend: Backend = "auto"
    ) -> None:
        self._pos = pos
        self._tri = tri
        self._resolution = resolution
        self._backend: Backend = backend
        self._depth: Tensor | None = None

    def __enter__(self) -> DepthPeeler:
        return self

    def __exit__(self, *exc: object) -> None:
        self._depth = None

    def rasterize_next_layer(self) -> Tensor:
        """The next layer [B, H, W, 4] as from `rasterize`; all zeros once every layer has been drawn."""
        rast = rasterize(self._pos, self._tri, self._resolution, self._depth, backend=self._backend)
        self._depth = torch.where(rast[..., 3] > 0, rast[..., 2], torch.inf)
        return rast
