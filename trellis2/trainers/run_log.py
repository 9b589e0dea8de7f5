"""Log of a run: `log.txt` (one JSON line a step), TensorBoard if installed, a progress bar.

Loss terms stay on the device until they are flushed, so that logging does not stop the GPU every step.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..utils.general_utils import dict_flatten

__all__ = ["RunLog"]

log = logging.getLogger(__name__)


def _resolve(entries: list[dict[str, Any]]) -> None:
    """Replace every tensor leaf by a float, with one transfer per device."""
    slots: list[tuple[dict[str, Any], str]] = []

    def walk(node: dict[str, Any]) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value)
            elif isinstance(value, Tensor):
                slots.append((node, key))

    for entry in entries:
        walk(entry)
    for device in {node[key].device for node, key in slots}:
        here = [(node, key) for node, key in slots if isinstance(node[key], Tensor) and node[key].device == device]
        values = torch.stack([node[key].detach().float().reshape(()) for node, key in here]).tolist()
        for (node, key), value in zip(here, values):
            node[key] = value


class RunLog:
    """Collects one nested entry a step; `flush` writes them."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / "log.txt"
        self._pending: list[tuple[int, dict[str, Any]]] = []
        self._writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            log.info("tensorboard is not installed: only %s is written", self.path)
        else:
            self._writer = SummaryWriter(str(self.folder / "tb_logs"))

    def add(self, step: int, entry: dict[str, Any]) -> None:
        """Keep the entry of one step; leaves are numbers or 0-dim tensors."""
        self._pending.append((step, entry))

    def latest(self, *path: str) -> float | None:
        """A leaf of the newest entry as a number."""
        if not self._pending:
            return None
        node: Any = self._pending[-1][1]
        for key in path:
            if not isinstance(node, Mapping) or key not in node:
                return None
            node = node[key]
        return float(node)

    def flush(self) -> None:
        """Append the pending entries to `log.txt`; write their means to TensorBoard."""
        if not self._pending:
            return
        _resolve([entry for _, entry in self._pending])
        with open(self.path, "a") as f:
            f.writelines(f"{step}: {json.dumps(entry)}\n" for step, entry in self._pending)
        if self._writer is not None:
            sums: dict[str, list[float]] = {}
            for _, entry in self._pending:
                for tag, value in dict_flatten(entry, sep="/").items():
                    if isinstance(value, (int, float)) and math.isfinite(value):
                        sums.setdefault(tag, []).append(float(value))
            for tag, values in sums.items():
                self._writer.add_scalar(tag, sum(values) / len(values), self._pending[-1][0])
            self._writer.flush()
        self._pending.clear()

    def close(self) -> None:
        self.flush()
        if self._writer is not None:
            self._writer.close()
