"""A neighbour map together with what the convolution kernels derive from it, each found once.

Letters: N voxels, M rows of the map, V taps, P positions (M rounded up to a tile), G groups of taps, L pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MAX_MASK_TAPS", "Arrangement", "Neighborhood", "Pairs"]

MAX_MASK_TAPS = 30
"""Largest kernel volume for which sets of taps are kept as bits of an int32."""


class Arrangement(NamedTuple):
    """Rows in the order in which a convolution visits them: similar sets of neighbours side by side.

    Where the rows made are children of the rows of the map, they are laid out place by place, each in the order of the
    parents (letters: Q positions, else P).
    """

    tile: int  # positions of a tile
    groups: int  # G
    neighbors: Tensor  # [V, P] int32, row under tap v, −1 where there is none
    order: Tensor  # [G, Q] int32, row at each position, −1 where a tile is not full
    taps: Tensor  # [G, Q / tile, V] int32, taps that some row of the tile has, ascending, | halves that do << 16
    counts: Tensor  # [G, Q / tile] int32, how many
    places: Tensor | None = None  # [Q] int32, position of a child's parent in `neighbors`, −1 where there is none
    slots: Tensor | None = None  # [Q / tile] int32, place in the parent that all children of a tile have
    schedule: Tensor | None = None  # [G, Q / tile] int32, order in which to take the tiles; None: as they lie


class Pairs(NamedTuple):
    """All (output row, input row) pairs, tap by tap."""

    rows_out: Tensor  # [L] int32
    rows_in: Tensor  # [L] int32
    starts: tuple[int, ...]  # [V + 1] first pair of each tap


class Neighborhood:
    """Row of the voxel under each tap, `table` [M, V] int32, `num_sources` where there is none.

    Usually the table has a row for each of the N voxels; a part of its rows is a neighbourhood too.
    check raises ValueError if the voxels turn out to have no such map. It may have to wait for the device, and so runs
    when the table is first looked at, or after a convolution has been launched: `confirm`. Until then what is derived
    from the map is meaningless if the voxels are, but names rows that exist.
    masks [M] int32, bit v set where tap v has a voxel, if the builder made them (V ≤ 30).
    whole_rows: rows of the map that this is a part of. Kernels choose the order of their sums by it, so that a part
    of the rows gives the bits that the whole would. Raises ValueError for other shapes and types.
    """

    def __init__(
        self,
        table: Tensor,
        masks: Tensor | None = None,
        num_sources: int | None = None,
        whole_rows: int | None = None,
        check: Callable[[], None] | None = None,
    ) -> None:
        if table.ndim != 2 or table.dtype != torch.int32:
            raise ValueError(f"table must be int32 [M, V], got {table.dtype} {tuple(table.shape)}")
        self.unconfirmed = table
        self.masks = masks
        self._check = check
        self.num_sources = table.shape[0] if num_sources is None else num_sources
        self.whole_rows = table.shape[0] if whole_rows is None else whole_rows
        self._arrangements: dict[tuple[int, int], Arrangement] = {}
        self._pairs: Pairs | None = None
        self._items: dict[int, tuple[Tensor, Tensor]] = {}

    def __getitem__(self, rows: slice) -> Neighborhood:
        """Some rows of the map."""
        masks = None if self.masks is None else self.masks[rows]
        check = None if self._check is None else self.confirm
        return Neighborhood(self.unconfirmed[rows], masks, self.num_sources, self.whole_rows, check)

    def confirm(self) -> None:
        """Raise ValueError if the voxels have no such map. Waits for the device once, where that is not known yet."""
        if self._check is not None:
            self._check()
            self._check = None

    @property
    def table(self) -> Tensor:
        """[M, V] int32, confirmed."""
        self.confirm()
        return self.unconfirmed

    @property
    def shape(self) -> torch.Size:
        return self.unconfirmed.shape

    @property
    def ndim(self) -> int:
        return self.unconfirmed.ndim

    @property
    def device(self) -> torch.device:
        return self.unconfirmed.device

    def arranged(self, tile: int, groups: int = 1) -> Arrangement:
        """The arrangement for row tiles of `tile` and the taps cut in `groups`; needs Triton."""
        key = (tile, groups)
        if key not in self._arrangements:
            from .triton_neighbors import arrange

            self._arrangements[key] = arrange(self, tile, groups)
        return self._arrangements[key]

    def arranged_once(self, tile: int) -> Arrangement:
        """Any arrangement with all taps in one group, made for tiles of `tile` if there is none."""
        for (_, groups), found in self._arrangements.items():
            if groups == 1:
                return found
        return self.arranged(tile)

    def tap_masks(self) -> Tensor:
        """[M] int32, bit v set where tap v has a voxel. Raises ValueError for kernels with too many taps."""
        volume = self.shape[1]
        if volume > MAX_MASK_TAPS:
            raise ValueError(f"masks hold at most {MAX_MASK_TAPS} taps, got {volume}")
        if self.masks is None:
            weights = 1 << torch.arange(volume, dtype=torch.int32, device=self.device)
            self.masks = ((self.unconfirmed < self.num_sources) * weights).sum(1, dtype=torch.int32)
        return self.masks

    def pairs(self) -> Pairs:
        """The pair lists, ascending output row inside a tap; needs Triton. Synchronises with the host once."""
        if self._pairs is None:
            from .triton_neighbors import list_pairs

            self._pairs = list_pairs(self)
        return self._pairs

    def work_items(self, chunk: int) -> tuple[Tensor, Tensor]:
        """The pairs cut into runs of at most `chunk` of one tap, tap by tap.

        Returns the first pair of each run and one past its last, [2, W] int64, and the first run of each tap,
        [V + 1] int32.
        """
        if chunk not in self._items:
            runs, first = [], [0]
            bounds = self.pairs().starts
            for begin, end in itertools.pairwise(bounds):
                pieces = max(1, -(-(end - begin) // chunk))
                width = max(1, -(-(end - begin) // pieces))
                runs += [(at, min(at + width, end)) for at in range(begin, end, width)]
                first.append(len(runs))
            table = torch.tensor(runs, dtype=torch.int64).reshape(-1, 2).T.contiguous()
            taps = torch.tensor(first, dtype=torch.int32)
            self._items[chunk] = table.to(self.device), taps.to(self.device)
        return self._items[chunk]
