"""A ragged batch: the rows of all samples one after another. Letters: N samples, T rows, L rows of one sample."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ...ops.fused_norm import RowSamples
from ...ops.ragged import expand_rows
from ...ops.ragged_index import RaggedIndex

__all__ = ["VarLenTensor", "varlen_cat", "varlen_unbind"]


def _layout(seqlen: Sequence[int]) -> list[slice]:
    start, out = 0, []
    for n in seqlen:
        out.append(slice(start, start + int(n)))
        start += int(n)
    return out


def sample_indices(idx: Any, num_samples: int) -> list[int]:
    """Sample numbers meant by an int, slice, list of ints, bool tensor [N] or integer tensor."""
    if isinstance(idx, slice):
        return list(range(num_samples))[idx]
    if isinstance(idx, Tensor):
        if idx.dtype == torch.bool:
            if idx.shape != (num_samples,):
                raise IndexError(f"a bool index must be [{num_samples}], got {tuple(idx.shape)}")
            idx = idx.nonzero().squeeze(1)
        elif idx.is_floating_point() or idx.ndim > 1:
            raise TypeError(f"a tensor index must be bool or integer of one dimension, got {idx.dtype} {idx.shape}")
        idx = idx.tolist()
    numbers = list(idx) if isinstance(idx, (list, tuple)) else [idx]
    if not all(isinstance(i, int) for i in numbers):
        raise TypeError(f"samples are indexed by int, slice, list of ints or tensor, got {type(idx).__name__}")
    if any(not -num_samples <= i < num_samples for i in numbers):
        raise IndexError(f"sample index out of range for {num_samples} samples: {numbers}")
    return [int(i) % num_samples for i in numbers]


class VarLenTensor:
    """Rows `feats` [T, C…] cut into N samples by `layout`, contiguous ascending slices.

    Values derived from the layout (lengths, attention indices) are computed once and handed on by `replace`.
    """

    def __init__(self, feats: Tensor, layout: Sequence[slice] | None = None) -> None:
        if not isinstance(feats, Tensor) or feats.ndim < 1:
            raise TypeError(f"feats must be a tensor of at least one dimension, got {type(feats).__name__}")
        self._feats = feats
        self._layout = list(layout) if layout is not None else [slice(0, feats.shape[0])]
        end = self._layout[-1].stop if self._layout else 0
        if layout is not None and end != feats.shape[0]:
            raise ValueError(f"layout must cover all {feats.shape[0]} rows of feats, it ends at {end}")
        self._derived: dict[str, Any] = {}

    # Structure

    @staticmethod
    def layout_from_seqlen(seqlen: Sequence[int] | Tensor) -> list[slice]:
        """Lengths to slices."""
        return _layout(seqlen.tolist() if isinstance(seqlen, Tensor) else seqlen)

    @staticmethod
    def from_tensor_list(tensors: Sequence[Tensor]) -> VarLenTensor:
        """Concatenate samples [L_i, C…]."""
        return VarLenTensor(torch.cat(list(tensors)), _layout([t.shape[0] for t in tensors]))

    def to_tensor_list(self) -> Any:
        """One view per sample."""
        return [self.feats[s] for s in self.layout]

    @property
    def feats(self) -> Tensor:
        return self._feats

    @feats.setter
    def feats(self, value: Tensor) -> None:
        if value.shape[0] != self._feats.shape[0]:
            raise ValueError(f"feats must keep its {self._feats.shape[0]} rows, got {value.shape[0]}")
        self._feats = value

    @property
    def layout(self) -> list[slice]:
        return self._layout

    def __len__(self) -> int:
        return len(self.layout)

    @property
    def shape(self) -> torch.Size:
        """[N, C…]; the token dimension is not shown."""
        return torch.Size([len(self), *self.feats.shape[1:]])

    def dim(self) -> int:
        return self.feats.ndim

    @property
    def ndim(self) -> int:
        return self.feats.ndim

    @property
    def dtype(self) -> torch.dtype:
        return self.feats.dtype

    @property
    def device(self) -> torch.device:
        return self.feats.device

    def _derive(self, key: str, compute: Callable[[], Any]) -> Any:
        if key not in self._derived:
            self._derived[key] = compute()
        return self._derived[key]

    @property
    def lengths(self) -> list[int]:
        """Rows per sample, on the host."""
        return [s.stop - s.start for s in self.layout]

    @property
    def seqlen(self) -> Tensor:
        """[N] int64."""
        return self._derive("seqlen", lambda: torch.tensor(self.lengths, dtype=torch.int64, device=self.device))

    @property
    def cum_seqlen(self) -> Tensor:
        """[N + 1] int64, starting with 0."""
        stops = [0] + [s.stop for s in self.layout]
        return self._derive("cum_seqlen", lambda: torch.tensor(stops, dtype=torch.int64, device=self.device))

    @property
    def batch_broadcast_map(self) -> Tensor:
        """[T] int64, sample of each row."""

        def compute() -> Tensor:
            samples = torch.arange(len(self), device=self.device)
            return torch.repeat_interleave(samples, self.seqlen, output_size=self.feats.shape[0])

        return self._derive("batch_boardcast_map", compute)

    batch_boardcast_map = batch_broadcast_map  # the published spelling

    @property
    def ragged_index(self) -> RaggedIndex:
        """Padding indices for attention."""
        return self._derive("ragged_index", lambda: RaggedIndex.build(self.lengths, self.device))

    def dense_index(self, length: int) -> RaggedIndex:
        """Index of a dense batch [N, length, …] that goes with these samples, as flat rows."""
        return self._derive(f"dense_index_{length}", lambda: RaggedIndex.build([length] * len(self), self.device))

    @property
    def row_samples(self) -> RowSamples | None:
        """Sample of each row; None if there is one sample."""
        return RowSamples(self.batch_broadcast_map, self.seqlen) if len(self) > 1 else None

    def per_sample_to_rows(self, x: Tensor) -> Tensor:
        """[N, …] -> something that broadcasts against feats: [T, …], or [1, …] if there is one sample."""
        if len(self) == 1 or x.shape[0] == 1:
            return x
        return expand_rows(x, self.batch_broadcast_map, self.seqlen)

    # Moving and casting

    def replace(self, feats: Tensor) -> Any:
        """The same structure with other features [T, …]; derived values are shared."""
        out = VarLenTensor(feats, self.layout)
        out._derived = self._derived
        return out

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As Tensor.to: dtype and / or device, positional or by keyword."""
        feats = self.feats.to(*args, **kwargs)
        if feats.device == self.device:
            return self.replace(feats)
        return VarLenTensor(feats, self.layout)  # derived tensors live on the old device

    def type(self, dtype: torch.dtype) -> Any:
        return self.replace(self.feats.to(dtype))

    def half(self) -> Any:
        return self.type(torch.float16)

    def float(self) -> Any:
        return self.type(torch.float32)

    def cpu(self) -> Any:
        return self.to("cpu")

    def cuda(self) -> Any:
        return self.to("cuda")

    def detach(self) -> Any:
        return self.replace(self.feats.detach())

    def reshape(self, *shape: int) -> Any:
        """feats -> [T, *shape]."""
        size = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list, torch.Size)) else shape
        return self.replace(self.feats.reshape(self.feats.shape[0], *size))

    def unbind(self, dim: int) -> list[Any]:
        """Dim 0: one container per sample. Other dims: along that dim of feats."""
        if dim == 0:
            return [self[i] for i in range(len(self))]
        return [self.replace(x) for x in self.feats.unbind(dim)]

    def to_dense(self, max_length: int | None = None, quirks: str | None = None) -> tuple[Tensor, Tensor]:
        """[N, L, C…] zero padded and its mask [N, L] bool; samples longer than max_length are cut.

        quirks="published" repeats the most recent row in place of the padding, as the published code does.
        """
        lengths = self.lengths
        longest = max(lengths, default=0) if max_length is None else int(max_length)
        if quirks not in (None, "published"):
            raise ValueError(f"quirks must be None or 'published', got {quirks!r}")
        slots = torch.arange(longest, device=self.device)
        mask = slots[None] < self.seqlen[:, None]
        if quirks == "published":
            rows = mask.flatten().cumsum(0) - 1
            return self.feats[rows].view(len(lengths), longest, *self.feats.shape[1:]), mask
        dense = self.feats.new_zeros((len(lengths), longest, *self.feats.shape[1:]))
        for i, s in enumerate(self.layout):
            n = min(longest, lengths[i])
            dense[i, :n] = self.feats[s.start : s.start + n]
        return dense, mask

    # Samples

    def __getitem__(self, idx: Any) -> Any:
        picked = [self.layout[i] for i in sample_indices(idx, len(self))]
        rows = [self.feats[s] for s in picked] or [self.feats[:0]]
        return VarLenTensor(torch.cat(rows), _layout([s.stop - s.start for s in picked]))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    # Arithmetic

    def _operand(self, other: Any) -> Any:
        """What feats is combined with, row by row or broadcast."""
        if isinstance(other, VarLenTensor):
            if other.feats.shape[0] != self.feats.shape[0]:
                raise ValueError(f"operands must have the same rows, got {self.feats.shape[0]}, {other.feats.shape[0]}")
            return other.feats
        if not isinstance(other, Tensor) or other.ndim == 0:
            return other
        shape = self.shape
        padded = (1,) * (len(shape) - other.ndim) + tuple(other.shape)
        fits = len(padded) == len(shape) and all(a in (1, b) for a, b in zip(padded, shape))
        if not fits:
            return other  # against feats as it is: [T, C], [T, 1]
        return self.per_sample_to_rows(other.reshape(padded))

    def _binary(self, op: Callable[[Any, Any], Tensor], other: Any, reflected: bool = False) -> Any:
        if not isinstance(other, (int, float, complex, Tensor, VarLenTensor)):
            return NotImplemented
        operand = self._operand(other)
        return self.replace(op(operand, self.feats) if reflected else op(self.feats, operand))

    def __neg__(self) -> Any:
        return self.replace(-self.feats)

    def __add__(self, other: Any) -> Any:
        return self._binary(operator.add, other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._binary(operator.sub, other)

    def __rsub__(self, other: Any) -> Any:
        return self._binary(operator.sub, other, reflected=True)

    def __mul__(self, other: Any) -> Any:
        return self._binary(operator.mul, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        return self._binary(operator.truediv, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._binary(operator.truediv, other, reflected=True)

    # Tensors try their own operator first; this hands `tensor op container` over to the reflected method.
    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return NotImplemented

    # Reductions

    def reduce(self, op: str, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        """`mean`, `sum`, `prod` or `std` (population).

        dim counts on feats. None, or dims with 0 among them: over the rows of all samples together. Otherwise over
        those dims and the rows of each sample: the result starts with N; samples without rows give 0 (prod: 1).
        """
        if op not in ("mean", "sum", "prod", "std"):
            raise ValueError(f"op must be one of mean, sum, prod, std, got {op!r}")
        x = self.feats
        dims = tuple(range(x.ndim)) if dim is None else ((dim,) if isinstance(dim, int) else tuple(dim))
        dims = tuple(sorted(d % x.ndim for d in dims))
        if 0 in dims:
            return _dense_reduce(x, op, None if dim is None else dims, keepdim)
        if op == "std":
            mean = self.reduce("mean", dims, keepdim=True)
            centred = self.replace((x - self.per_sample_to_rows(mean)) ** 2)
            return centred.reduce("mean", dims, keepdim).sqrt()
        per_row = _dense_reduce(x, op, dims, keepdim)
        if op == "prod":
            return torch.stack([per_row[s].prod(0) for s in self.layout])
        total = per_row.new_zeros((len(self), *per_row.shape[1:])).index_add(0, self.batch_broadcast_map, per_row)
        if op == "mean":
            count = self.seqlen.clamp(min=1).to(total.dtype)
            total = total / count.view(-1, *([1] * (total.ndim - 1)))
        return total

    def mean(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        return self.reduce("mean", dim, keepdim)

    def sum(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        return self.reduce("sum", dim, keepdim)

    def prod(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        return self.reduce("prod", dim, keepdim)

    def std(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
        return self.reduce("std", dim, keepdim)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={tuple(self.shape)}, rows={self.feats.shape[0]}, dtype={self.dtype})"


def _dense_reduce(x: Tensor, op: str, dims: tuple[int, ...] | None, keepdim: bool) -> Tensor:
    axes = tuple(range(x.ndim)) if dims is None else dims
    if op == "mean":
        return x.mean(axes, keepdim=keepdim)
    if op == "sum":
        return x.sum(axes, keepdim=keepdim)
    if op == "std":
        return x.std(axes, correction=0, keepdim=keepdim)
    for d in sorted(axes, reverse=True):
        x = x.prod(d, keepdim=keepdim)
    return x


def varlen_cat(tensors: Sequence[VarLenTensor], dim: int = 0) -> VarLenTensor:
    """Dim 0: samples one after another. Other dims: features side by side, structure of the first."""
    if not tensors:
        raise ValueError("varlen_cat needs at least one tensor")
    if dim == 0:
        return VarLenTensor(torch.cat([t.feats for t in tensors]), _layout([n for t in tensors for n in t.lengths]))
    return tensors[0].replace(torch.cat([t.feats for t in tensors], dim=dim))


def varlen_unbind(x: VarLenTensor, dim: int) -> list[Any]:
    """See VarLenTensor.unbind."""
    return x.unbind(dim)
