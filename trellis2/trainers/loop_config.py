"""Arguments of the training loop that every objective shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..modules.utils import str_to_dtype

__all__ = ["LoopConfig", "str_to_dtype"]


@dataclass(frozen=True)
class LoopConfig:
    """Published arguments first; those below the line are ours."""

    max_steps: int | None = None  # optimizer steps; None: only max_minutes ends the run
    batch_size: int | None = None  # samples of all processes together
    batch_size_per_gpu: int | None = None  # samples of one process; wins over batch_size
    batch_split: int | None = None  # micro-batches a step
    optimizer: Mapping[str, Any] = field(default_factory=dict)  # {name, args}: torch.optim class
    lr_scheduler: Mapping[str, Any] | None = None  # {name, args}
    elastic: Mapping[str, Any] | None = None  # {name: LinearMemoryController, args}
    grad_clip: float | Mapping[str, Any] | None = None  # norm, or {name, args}
    ema_rate: float | Sequence[float] = 0.9999
    fp16_mode: str | None = None  # alias: dtype float16 and this mode
    mix_precision_mode: str | None = "inflat_all"  # inflat_all | amp | null
    mix_precision_dtype: str = "float16"
    fp16_scale_growth: float = 1e-3  # log2 of the loss scale, added per good step
    parallel_mode: str = "ddp"
    finetune_ckpt: Mapping[str, str] | None = None
    log_param_stats: bool = False
    prefetch_data: bool = True
    snapshot_batch_size: int = 4
    i_print: int = 1000
    i_log: int = 500
    i_sample: int = 10000
    i_save: int = 10000
    i_ddpcheck: int | None = 10000
    # ---
    max_minutes: float | None = None  # wall-clock limit of run(); ends with a checkpoint
    num_snapshot_samples: int = 8  # samples per snapshot; 0 disables snapshots
    num_workers: int | None = None  # reader threads; None: from the CPU count
    keep_checkpoints: int | None = None  # newest checkpoints kept; None keeps all
    log_scale_start: float = 20.0  # first log2 loss scale of inflat_all fp16
    log_scale_max: float = 24.0
    ema_warmup: bool = False  # decay min(rate, (1 + s) / (10 + s)) at step s
    ema_on_skip: bool = False  # published behaviour: average also when the step was skipped
    max_skipped_steps: int = 100  # consecutive non-finite steps before the run stops with an error

    def __post_init__(self) -> None:
        if self.mix_precision_mode not in ("inflat_all", "amp", None):
            raise ValueError(f"mix_precision_mode must be inflat_all, amp or null, got {self.mix_precision_mode!r}")
        if self.parallel_mode != "ddp":
            raise ValueError(f"parallel_mode must be ddp, got {self.parallel_mode!r}")
        if self.max_steps is None and self.max_minutes is None:
            raise ValueError("max_steps or max_minutes must be given")
        if "name" not in self.optimizer or "args" not in self.optimizer:
            raise ValueError("optimizer must be an object with `name` and `args`")
        for rate in self.ema_rates:
            if not 0 <= rate < 1:
                raise ValueError(f"ema_rate must be in [0, 1), got {rate}")
        str_to_dtype(self.mix_precision_dtype)

    @property
    def mode(self) -> str | None:
        return self.mix_precision_mode if self.fp16_mode is None else self.fp16_mode

    @property
    def dtype(self) -> torch.dtype:
        return str_to_dtype(self.mix_precision_dtype) if self.fp16_mode is None else torch.float16

    @property
    def ema_rates(self) -> list[float]:
        return [float(self.ema_rate)] if isinstance(self.ema_rate, (int, float)) else [float(r) for r in self.ema_rate]

    def per_gpu(self, world_size: int) -> int:
        """Samples of one process per step; checks divisibility by the processes and by `batch_split`."""
        size = self.batch_size_per_gpu
        if size is None:
            if self.batch_size is None:
                raise ValueError("batch_size or batch_size_per_gpu must be given")
            if self.batch_size % world_size != 0:
                raise ValueError(f"batch_size {self.batch_size} is not divisible by {world_size} processes")
            size = self.batch_size // world_size
        if size % self.split != 0:
            raise ValueError(f"the batch of one process, {size}, is not divisible by batch_split {self.split}")
        return size

    @property
    def split(self) -> int:
        return self.batch_split or 1
