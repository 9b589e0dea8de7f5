"""Sparse voxel tensor: ragged features with integer coordinates, and the cache of what derives from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from . import config
from .varlen import VarLenTensor, _layout, sample_indices

__all__ = ["Scale", "SparseTensor", "sparse_cat", "sparse_unbind"]

Scale = tuple[Fraction, Fraction, Fraction]
_UNIT: Scale = (Fraction(1), Fraction(1), Fraction(1))


class SparseTensor(VarLenTensor):
    """feats [T, C…] at coords [T, 4] int32 (batch, x, y, z).

    Rows of one sample are contiguous and samples ascend; the order of rows is significant and never changed.
    N is the carried `shape[0]` if given, else the largest batch index plus one. Tensors derived from one another by
    `replace`, arithmetic and resampling share one spatial cache, {scale: {key: value}}: neighbour maps, resampling
    indices and rotary phases are found once per structure.
    Raises ValueError or TypeError for wrong shapes, negative batch indices and samples out of order.
    """

    def __init__(
        self,
        feats: Tensor | Mapping[str, Tensor],
        coords: Tensor | None = None,
        shape: Sequence[int] | None = None,
        *,
        layout: Sequence[slice] | None = None,
        scale: Scale = _UNIT,
        spatial_cache: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        if isinstance(feats, Mapping):
            parts: Mapping[str, Tensor] = feats
            feats, coords = parts["feats"], parts["coords"]
        if not isinstance(feats, Tensor) or not isinstance(coords, Tensor):
            raise TypeError("SparseTensor needs feats [T, C] and coords [T, 4] tensors")
        if coords.ndim != 2 or coords.shape[1] != 4 or coords.is_floating_point() or coords.dtype == torch.bool:
            raise ValueError(f"coords must be int32 of shape [T, 4], got {coords.dtype} {tuple(coords.shape)}")
        if feats.shape[0] != coords.shape[0]:
            raise ValueError(f"feats and coords must have the same rows, got {feats.shape[0]} and {coords.shape[0]}")
        if feats.device != coords.device:
            raise ValueError(f"feats and coords must be on one device, got {feats.device} and {coords.device}")
        self._feats = feats
        self.coords = coords.to(torch.int32).contiguous()
        self._num_samples = int(shape[0]) if shape is not None else None
        self._scale = scale
        self._spatial_cache: dict[str, dict[str, Any]] = spatial_cache if spatial_cache is not None else {}
        if config.debug():
            self._debug_check(shape)

    def _debug_check(self, shape: Sequence[int] | None) -> None:
        layout = self._compute_layout()  # also checks the order of samples
        cached = self.get_spatial_cache("layout")
        if cached is not None and cached != layout:
            raise ValueError("coords disagree with the layout in the shared spatial cache")
        if shape is not None and tuple(shape)[1:] != tuple(self.feats.shape[1:]):
            raise ValueError(f"shape {tuple(shape)} disagrees with feats {tuple(self.feats.shape)}")

    # Structure

    def _compute_layout(self) -> list[slice]:
        batch = self.coords[:, 0].long()
        if batch.numel() == 0:
            return _layout([0] * (self._num_samples or 0))
        disorder = ((batch[1:] < batch[:-1]).any() | (batch[0] < 0)).long()
        # One transfer for the counts and the check. The clamp keeps bincount quiet; disorder reports the cause.
        counts = torch.bincount(batch.clamp(min=0), minlength=self._num_samples or 0)
        *lengths, bad = torch.cat([counts, disorder.view(1)]).tolist()
        if bad:
            raise ValueError("coords must hold the samples one after another in ascending order from batch index 0")
        if self._num_samples is not None and len(lengths) > self._num_samples:
            raise ValueError(f"coords name sample {len(lengths) - 1}, but shape has {self._num_samples} samples")
        return _layout(lengths)

    @property
    def layout(self) -> list[slice]:
        return self._derive("layout", self._compute_layout)

    def _derive(self, key: str, compute: Any) -> Any:
        level = self._spatial_cache.setdefault(str(self._scale), {})
        if key not in level:
            level[key] = compute()
        return level[key]

    def __len__(self) -> int:
        return self._num_samples if self._num_samples is not None else len(self.layout)

    @property
    def spatial_shape(self) -> torch.Size:
        """Largest coordinate plus one per axis, over the whole batch."""

        def compute() -> torch.Size:
            if self.coords.shape[0] == 0:
                return torch.Size([0, 0, 0])
            return torch.Size((self.coords[:, 1:].amax(0) + 1).tolist())

        return self._derive("shape", compute)

    @property
    def scale(self) -> Scale:
        """Voxel size relative to the finest registered grid."""
        return self._scale

    # Spatial cache

    def clear_spatial_cache(self) -> None:
        """Start with an empty cache of its own; relatives keep theirs."""
        self._spatial_cache = {}

    def register_spatial_cache(self, key: str, value: Any) -> None:
        """Store a value at this tensor's scale."""
        self._spatial_cache.setdefault(str(self._scale), {})[key] = value

    def get_spatial_cache(self, key: str | None = None) -> Any:
        """The value at this tensor's scale or None; without a key the dictionary of this scale."""
        level = self._spatial_cache.get(str(self._scale), {})
        return level if key is None else level.get(key)

    # Construction

    @staticmethod
    def from_tensor_list(  # type: ignore[override]
        feats_list: Sequence[Tensor], coords_list: Sequence[Tensor]
    ) -> SparseTensor:
        """Samples [L_i, C…] with coords [L_i, 4] or [L_i, 3]; the batch column is set to the place in the list."""
        if len(feats_list) != len(coords_list):
            raise ValueError(f"got {len(feats_list)} feats and {len(coords_list)} coords")
        rows = []
        for i, c in enumerate(coords_list):
            xyz = c[:, -3:].to(torch.int32)
            rows.append(torch.cat([torch.full_like(xyz[:, :1], i), xyz], dim=1))
        feats = torch.cat(list(feats_list))
        return SparseTensor(feats, torch.cat(rows), torch.Size([len(rows), *feats.shape[1:]]))

    def to_tensor_list(self) -> tuple[list[Tensor], list[Tensor]]:
        """Feats and coords of each sample; the batch column is kept."""
        return [self.feats[s] for s in self.layout], [self.coords[s] for s in self.layout]

    @staticmethod
    def full(
        aabb: Sequence[int],
        dim: Sequence[int],
        value: float,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> SparseTensor:
        """Dense block of voxels: aabb (x0, y0, z0, x1, y1, z1) inclusive, dim (N, C)."""
        axes = [torch.arange(dim[0], device=device)]
        axes += [torch.arange(aabb[i], aabb[i + 3] + 1, device=device) for i in range(3)]
        coords = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 4).to(torch.int32)
        feats = torch.full((coords.shape[0], dim[1]), value, dtype=dtype, device=device)
        return SparseTensor(feats, coords, torch.Size(dim))

    def replace(self, feats: Tensor, coords: Tensor | None = None) -> SparseTensor:
        """Other features on the same structure, sharing the cache; other coords start with an empty cache."""
        shape = None if self._num_samples is None else torch.Size([self._num_samples, *feats.shape[1:]])
        if coords is None:
            return SparseTensor(feats, self.coords, shape, scale=self._scale, spatial_cache=self._spatial_cache)
        return SparseTensor(feats, coords, shape, scale=self._scale)

    def to(self, *args: Any, **kwargs: Any) -> SparseTensor:
        """As Tensor.to on feats; coords follow the device. A change of device starts with an empty cache."""
        feats = self.feats.to(*args, **kwargs)
        if feats.device == self.device:
            return self.replace(feats)
        return SparseTensor(feats, self.coords.to(feats.device), self._carried_shape(feats), scale=self._scale)

    def _carried_shape(self, feats: Tensor) -> torch.Size:
        return torch.Size([len(self), *feats.shape[1:]])

    def to_dense(self, *args: Any, **kwargs: Any) -> Tensor:  # type: ignore[override]
        """[N, C…, X, Y, Z], zeros outside, feats at [b, :, x, y, z] with (X, Y, Z) = spatial_shape."""
        index = tuple(self.coords[:, i].long() for i in range(4))
        dense = self.feats.new_zeros((len(self), *self.spatial_shape, *self.feats.shape[1:]))
        dense = dense.index_put(index, self.feats)
        extra = self.feats.ndim - 1
        return dense.permute(0, *range(4, 4 + extra), 1, 2, 3)

    def __getitem__(self, idx: Any) -> SparseTensor:
        picked = [self.layout[i] for i in sample_indices(idx, len(self))]
        feats = torch.cat([self.feats[s] for s in picked] or [self.feats[:0]])
        rows = [self.coords[s].clone() for s in picked]
        for i, c in enumerate(rows):
            c[:, 0] = i
        out = SparseTensor(
            feats, torch.cat(rows or [self.coords[:0]]), torch.Size([len(picked), *self.feats.shape[1:]])
        )
        out.register_spatial_cache("layout", _layout([s.stop - s.start for s in picked]))
        return out

    def _operand(self, other: Any) -> Any:
        if isinstance(other, SparseTensor) and config.debug() and not torch.equal(self.coords, other.coords):
            raise ValueError("operands must have the same coords in the same order")
        return super()._operand(other)


def sparse_cat(tensors: Sequence[SparseTensor], dim: int = 0) -> SparseTensor:
    """Dim 0: samples one after another, empty cache. Other dims: features side by side, structure of the first."""
    if not tensors:
        raise ValueError("sparse_cat needs at least one tensor")
    feats = torch.cat([t.feats for t in tensors], dim=dim)
    if dim != 0:
        return tensors[0].replace(feats)
    start, rows = 0, []
    for t in tensors:
        coords = t.coords.clone()
        coords[:, 0] += start
        rows.append(coords)
        start += len(t)
    return SparseTensor(feats, torch.cat(rows), torch.Size([start, *feats.shape[1:]]))


def sparse_unbind(x: SparseTensor, dim: int) -> list[SparseTensor]:
    """See VarLenTensor.unbind."""
    return x.unbind(dim)
