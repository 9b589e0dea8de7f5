"""What all datasets share: metadata and filters, reading with bounded retries, an in-memory store, batches."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..utils.data_utils import load_balanced_group_indices
from .dump_file import find_dump, load_dump
from .metadata import Filter, read_metadata
from .packed import Packed, gather_rows, load_packed, pack, save_packed
from .reading import read_parallel
from .roots import parse_data_dir

__all__ = ["ItemError", "StandardDatasetBase", "place_store", "transfer"]

log = logging.getLogger(__name__)


class ItemError(RuntimeError):
    """Items of a batch that could not be read; `failed` maps item index → message."""

    def __init__(self, failed: Mapping[int, str]) -> None:
        super().__init__("; ".join(f"item {i}: {m}" for i, m in failed.items()))
        self.failed = dict(failed)


class StandardDatasetBase(Dataset):
    """Items listed by `metadata.csv` tables.

    A subclass sets `ROOTS`, implements `filters`, `load_raw` and `assemble`, and optionally `LOAD_COLUMN`,
    `derive_roots`. With `cache` all items are read once into one store: in CPU memory, or on the training device if
    `cache_device` is "auto" and it takes less than 40 % of the free memory there, or on the named device.
    `cache_dir` keeps the store as a file for the next run over the same items.
    """

    ROOTS: ClassVar[tuple[str, ...]] = ()
    RAGGED: ClassVar[tuple[str, ...]] = ()
    value_range: tuple[float, float] = (0.0, 1.0)

    def __init__(
        self,
        roots: str | Path | Mapping[str, Any],
        *,
        cache: bool = False,
        cache_device: str = "auto",
        cache_dir: str | None = None,
        max_failures: float = 0.02,
        max_items: int | None = None,
        load_workers: int | None = None,
    ) -> None:
        self.cache = cache
        self.cache_device = cache_device
        self.cache_dir = cache_dir
        self.max_failures = max_failures
        self.num_workers = load_workers or min(32, (os.cpu_count() or 1) + 2)
        self.failures: dict[str, str] = {}
        self.instances: list[tuple[Any, str]] = []
        self._stats: dict[str, dict[str, int]] = {}
        self._store: Packed | None = None
        self._offsets: Tensor | None = None
        frames, loads = [], []
        for label, given in parse_data_dir(roots).items():
            folders = self.derive_roots(given) if isinstance(given, Path) else given
            for role in self.ROOTS:
                if role not in folders:
                    raise ValueError(f"dataset {type(self).__name__} needs the role {role!r} in data_dir ({label!r})")
            table = read_metadata(folders)
            stats = {"Total": len(table)}
            for column, name, keep in self.filters():
                if column not in table.columns:
                    raise ValueError(f"the metadata of {label!r} has no column {column!r}, needed for {name!r}")
                table = table[keep(table[column])]
                stats[name] = len(table)
            self._stats[label] = stats
            self.instances.extend((folders, sha) for sha in table.index)
            frames.append(table)
            loads.append(self.read_loads(table))
        import pandas

        self.metadata = pandas.concat(frames)
        merged = np.concatenate(loads) if loads else np.zeros(0)
        self._loads: list[float] | None = merged.tolist() if self.LOAD_COLUMN else None
        if max_items is not None:
            self._keep(list(range(min(max_items, len(self.instances)))))

    LOAD_COLUMN: ClassVar[str | None] = None
    MESH_ROOT: ClassVar[str | None] = None  # role of the folders with mesh dumps
    reads_meshes = False

    def require_meshes(self, reason: str) -> None:
        """Add `mesh` to every batch, a list with one mesh an item; ValueError if the folders lack the dumps."""
        if self.MESH_ROOT is None:
            raise ValueError(f"{reason} needs meshes, which {type(self).__name__} does not have")
        missing = sorted({str(folders) for folders, _ in self.instances if self.MESH_ROOT not in folders})
        if missing:
            raise ValueError(f"{reason} needs meshes: the role {self.MESH_ROOT!r} is missing in data_dir, {missing[0]}")
        self.reads_meshes = True

    def mesh_of_dump(self, dump: dict[str, Any]) -> Any:
        """The mesh of an item for `mesh` in a batch."""
        raise TypeError(f"{type(self).__name__} does not say how to read a mesh")

    def _read_mesh(self, index: int) -> Any:
        folders, sha = self.instances[index]
        path = find_dump(folders[self.MESH_ROOT], sha)
        if path is None:
            raise FileNotFoundError(f"no mesh dump of {sha} in {folders[self.MESH_ROOT]}")
        return self.mesh_of_dump(load_dump(path))

    @property
    def loads(self) -> list[float]:
        """Size of each item (rows), for balancing."""
        if self._loads is None:
            raise AttributeError(f"{type(self).__name__} has no loads")
        return self._loads

    def _keep(self, positions: list[int]) -> None:
        self.instances = [self.instances[i] for i in positions]
        self.metadata = self.metadata.iloc[positions]
        if self._loads is not None:
            self._loads = [self._loads[i] for i in positions]

    def read_loads(self, table: Any) -> np.ndarray:
        """Load of each row of the filtered table."""
        column = self.load_column()
        return np.zeros(len(table)) if column is None else table[column].to_numpy(dtype=np.float64)

    def load_column(self) -> str | None:
        return self.LOAD_COLUMN

    # --- subclass interface -----------------------------------------------------------------------------------------

    def derive_roots(self, folder: Path) -> dict[str, Path]:
        """Role → folder for a plain folder with the toolkit's layout."""
        return {"base": folder}

    def filters(self) -> list[Filter]:
        """Row filters in order."""
        return []

    def load_raw(self, index: int) -> dict[str, np.ndarray]:
        """Compact arrays of one item, the same at every call."""
        raise TypeError(f"{type(self).__name__} does not say how to read an item")

    def assemble(self, packed: Packed, rng: torch.Generator) -> dict[str, Any]:
        """Model inputs from packed items; random draws come from `rng` (CPU)."""
        raise TypeError(f"{type(self).__name__} does not say how to make a batch")

    # --- items and batches ------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.instances)

    def note_failures(self, failed: Mapping[int, str]) -> None:
        """Count unreadable items; RuntimeError when they exceed `max_failures` of the dataset."""
        for i, message in failed.items():
            sha = self.instances[i][1]
            if sha not in self.failures:
                log.warning("cannot read %s: %s", sha, message)
            self.failures[sha] = message
        if len(self.failures) > max(self.max_failures * len(self.instances), 0):
            worst = "; ".join(f"{sha}: {m}" for sha, m in list(self.failures.items())[:5])
            raise RuntimeError(
                f"{len(self.failures)} of {len(self.instances)} items cannot be read "
                f"(limit {self.max_failures:.1%}): {worst}"
            )

    def prepare(self, device: torch.device | str = "cpu") -> None:
        """Fill the store if `cache` is set; call once before the first batch. Unreadable items are dropped."""
        if not self.cache or self._store is not None:
            return
        begin = time.monotonic()
        store, good = self.build_store(
            f"{type(self).__name__}.items", self.load_raw, list(range(len(self))), self.RAGGED,
            identity=self.cache_identity(),
        )  # fmt: skip
        if len(good) < len(self):
            self._keep(good)
        self._store = place_store(store, device, self.cache_device)
        self._offsets = self._store.offsets
        log.info("%s: %d items, %.2f GB on %s, %.1f s", type(self).__name__, len(self), store.nbytes / 1e9,
                 self._store.device, time.monotonic() - begin)  # fmt: skip

    def cache_identity(self) -> dict[str, Any]:
        """What the content of the store depends on, besides the items."""
        return {}

    def build_store(
        self,
        name: str,
        read: Callable[[int], dict[str, np.ndarray]],
        indices: list[int],
        ragged: Sequence[str],
        roles: Sequence[str] | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> tuple[Packed, list[int]]:
        """Read items in parallel and pack them, or load the packed file; returns (store, readable indices).

        The file's name depends on `name`, `identity`, the folders of `roles` (default: `ROOTS`) and the items.
        """
        path = None
        if self.cache_dir is not None:
            roles = self.ROOTS if roles is None else roles
            shas = [self.instances[i][1] for i in indices]
            folders = sorted({f"{role}={roots[role]}" for roots, _ in self.instances for role in roles})
            text = json.dumps([name, identity or {}, folders, shas], default=str)
            path = Path(self.cache_dir) / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:20]}.safetensors"
            if path.is_file():
                return load_packed(path), indices
        results, failed = read_parallel(read, indices, self.num_workers, desc=name, processes=True)
        self.note_failures(failed)
        good = [i for i in indices if i in results]
        if not good:
            raise RuntimeError(f"{name}: no item is readable")
        store = pack([results.pop(i) for i in good], ragged)
        if path is not None and not failed:
            save_packed(store, path)
        return store, good

    def gather(self, indices: Sequence[int], device: torch.device | str) -> Packed:
        """Packed items, from the store or from files. Raises ItemError if a file is unreadable."""
        if self._store is not None:
            index = torch.as_tensor(indices, dtype=torch.int64)
            packed = gather_rows(self._store, index, self._offsets)
        else:
            results, failed = read_parallel(self.load_raw, list(indices), min(self.num_workers, len(indices)))
            if failed:
                raise ItemError(failed)
            packed = pack([results[i] for i in indices], self.RAGGED)
        return transfer(packed, device)

    def batch(self, indices: Sequence[int], rng: torch.Generator, device: torch.device | str = "cpu") -> dict[str, Any]:
        """Model inputs for the items `indices`, on `device`."""
        batch = self.assemble(self.gather(indices, device), rng)
        if self.reads_meshes:
            meshes, failed = read_parallel(self._read_mesh, list(indices), min(self.num_workers, len(indices)))
            if failed:
                raise ItemError(failed)
            batch["mesh"] = [meshes[i].to(device) for i in indices]
        return batch

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = torch.Generator().manual_seed(int(torch.randint(2**62, (1,))))
        return self.batch([index], rng)

    def get_instance(self, root: Any, instance: str) -> dict[str, Any]:
        """One item by its folders and sha256."""
        return self[self.instances.index((root, instance))]

    def split_indices(self, indices: Sequence[int], split_size: int) -> list[list[int]]:
        """Deal items to micro-batches by load, heaviest first in each."""
        groups = load_balanced_group_indices([self.loads[i] for i in indices], split_size)
        return [[indices[i] for i in group] for group in groups]

    def __str__(self) -> str:
        lines = [type(self).__name__, f"  - Total instances: {len(self)}", "  - Sources:"]
        for label, stats in self._stats.items():
            lines.append(f"    - {label}:")
            lines.extend(f"      - {name}: {count}" for name, count in stats.items())
        return "\n".join(lines)


def transfer(packed: Packed, device: torch.device | str) -> Packed:
    """Move a batch; through page-locked memory when it goes from the CPU to CUDA."""
    device = torch.device(device)
    if packed.device.type == device.type:
        return packed
    if device.type == "cuda":
        return packed.pin().to(device, non_blocking=True)
    return packed.to(device)


def place_store(store: Packed, device: torch.device | str, cache_device: str) -> Packed:
    """Put the store where `cache_device` says; "auto" uses the training device if there is ample room."""
    device = torch.device(device)
    if cache_device == "auto":
        if device.type == "cuda" and store.nbytes < 0.4 * torch.cuda.mem_get_info(device)[0]:
            return store.to(device)
        return store
    return store.to(torch.device(cache_device))
