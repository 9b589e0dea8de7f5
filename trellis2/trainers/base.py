"""The training loop. An objective is a subclass that defines `training_losses(**batch)`.

Everything else is here once: optimizer, schedule, precision, averaging, clipping, accumulation, processes,
checkpoints with exact resume, logs, snapshots, time limit and signals.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from ..datasets.loader import BatchLoader
from ..utils import grad_clip_utils
from ..utils.data_utils import BalancedResumableSampler, ResumableSampler
from ..utils.dist_utils import barrier, broadcast_floats, get_rank, get_world_size
from ..utils.general_utils import dict_reduce, indent
from . import lr
from .checkpoint import ema_name, load_torch_file, model_name, prune, write_checkpoint
from .ema import ExponentialMovingAverage
from .finetune import load_finetune_weights
from .loop_config import LoopConfig
from .precision import PrecisionPolicy, zero_grad
from .rng_state import get_rng_state, set_rng_state
from .run_log import RunLog
from .snapshots import SnapshotMixin

__all__ = ["BasicTrainer"]

log = logging.getLogger(__name__)
_CONTROL_EVERY = 10  # steps between the processes' agreement on progress and stopping


class BasicTrainer(SnapshotMixin):
    """Trains `models` on `dataset`; all keyword arguments of `LoopConfig` are accepted."""

    CONFIG = LoopConfig
    MODEL_KEYS: tuple[str, ...] = ()
    BALANCED = False  # deal items to processes and micro-batches by `dataset.loads`

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        dataset: Any,
        *,
        output_dir: str,
        load_dir: str | None = None,
        step: int | None = None,
        device: str | torch.device | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.config = LoopConfig(**kwargs)
        self.models: dict[str, Any] = dict(models)
        for key in self.MODEL_KEYS:
            if key not in self.models:
                raise ValueError(f"{type(self).__name__} needs a model called {key!r}, got {sorted(self.models)}")
        self.dataset = dataset
        self.output_dir = Path(output_dir)
        self.load_dir = Path(load_dir) if load_dir else self.output_dir
        self.seed = seed
        self._device = torch.device(device) if device is not None else next(self._parameters()).device
        self.rank, self.world_size = get_rank(), get_world_size()
        self.is_master = self.rank == 0
        self.step = 0
        self.elapsed = 0.0  # seconds of training, all runs of this folder together
        self._stop_reason = ""
        self._time_progress = 0.0
        self._skipped_in_a_row = 0
        self._data_position: dict[str, int] | None = None
        self._log: RunLog | None = None
        self.init_models_and_more()
        self.prepare_dataloader()
        if step is not None:
            self.load(self.load_dir, step)
        elif self.config.finetune_ckpt:
            self.finetune_from(self.config.finetune_ckpt)
        if self.is_master:
            for name in ("ckpts", "samples"):
                (self.output_dir / name).mkdir(parents=True, exist_ok=True)
            self._log = RunLog(self.output_dir)
            log.info("%s", self)
        if self.world_size > 1:
            self.check_ddp()

    # --- construction -----------------------------------------------------------------------------------------------

    def _parameters(self) -> Iterator[nn.Parameter]:
        for model in self.models.values():
            yield from (p for p in model.parameters() if p.requires_grad)

    def init_models_and_more(self) -> None:
        """Wrap models, make master parameters, averages, optimizer, schedule, clipper."""
        config = self.config
        self.training_models = {key: self.training_module(key, model) for key, model in self.models.items()}
        if self.world_size > 1:
            ids = [self.device.index or 0] if self.device.type == "cuda" else None
            self.training_models = {
                key: DistributedDataParallel(model, device_ids=ids, bucket_cap_mb=128)
                for key, model in self.training_models.items()
            }
        self.model_params = list(self._parameters())
        if not self.model_params:
            raise ValueError("the models have no trainable parameter")
        self.precision = PrecisionPolicy(
            self.model_params,
            config.mode,
            config.dtype,
            self.device,
            scale_growth=config.fp16_scale_growth,
            scale_start=config.log_scale_start,
            scale_max=config.log_scale_max,
        )
        self.ema = (
            ExponentialMovingAverage(self.precision.master_params, config.ema_rates, config.ema_warmup)
            if self.is_master
            else None
        )
        optimizer_cls = getattr(torch.optim, config.optimizer["name"], None)
        if optimizer_cls is None:
            raise ValueError(f"unknown optimizer {config.optimizer['name']!r}: not a class of torch.optim")
        self.optimizer = optimizer_cls(self.precision.master_params, **config.optimizer["args"])
        self.lr_scheduler: Any = None
        if config.lr_scheduler is not None:
            name = config.lr_scheduler["name"]
            cls = getattr(torch.optim.lr_scheduler, name, None) or getattr(lr, name, None)
            if cls is None:
                raise ValueError(f"unknown lr_scheduler {name!r}; ours: {', '.join(lr.__all__)}")
            self.lr_scheduler = cls(self.optimizer, **config.lr_scheduler.get("args", {}))
        self.grad_clip: Any = None
        if isinstance(config.grad_clip, Mapping):
            cls = getattr(grad_clip_utils, config.grad_clip["name"], None)
            if cls is None:
                raise ValueError(f"unknown grad_clip {config.grad_clip['name']!r}: {grad_clip_utils.__all__}")
            self.grad_clip = cls(**config.grad_clip.get("args", {}))
        elif config.grad_clip is not None:
            self.grad_clip = float(config.grad_clip)
        self.elastic_controller: Any = None
        if config.elastic is not None:
            self._init_elastic(config.elastic)

    def training_module(self, key: str, model: nn.Module) -> Any:
        """What the objective calls for `model`; a wrapper may be returned, its parameters must be the model's."""
        return model

    def _init_elastic(self, spec: Mapping[str, Any]) -> None:
        from ..modules import elastic as elastic_utils

        cls = getattr(elastic_utils, spec["name"], None)
        if cls is None:
            raise ValueError(f"unknown elastic controller {spec['name']!r}: {elastic_utils.__all__}")
        if self.device.type != "cuda":
            log.warning("the elastic memory controller measures CUDA memory; it is off on %s", self.device)
            return
        elastic = [m for m in self.models.values() if hasattr(m, "register_memory_controller")]
        if not elastic:
            raise ValueError("trainer.elastic is set, but no model supports it; use ElasticSLatFlowModel")
        self.elastic_controller = cls(**spec.get("args", {}))
        for model in elastic:
            model.register_memory_controller(self.elastic_controller)

    def prepare_dataloader(self) -> None:
        """Sampler of this process and the loader of micro-batches; fills the dataset's store first."""
        if hasattr(self.dataset, "prepare"):
            self.dataset.prepare(self.device)
        per_gpu = self.config.per_gpu(self.world_size)
        if self.BALANCED:
            self.sampler: ResumableSampler = BalancedResumableSampler(self.dataset, seed=self.seed, batch_size=per_gpu)
        else:
            self.sampler = ResumableSampler(self.dataset, seed=self.seed)
        self.loader = BatchLoader(
            self.dataset,
            self.sampler,
            batch_size=per_gpu,
            batch_split=self.config.split,
            device=self.device,
            num_workers=self.config.num_workers,
            prefetch=self.config.prefetch_data,
            balanced=self.BALANCED,
        )

    @property
    def device(self) -> torch.device:
        """Device of the models."""
        return self._device

    def __str__(self) -> str:
        config = self.config
        params = sum(p.numel() for p in self.model_params)
        lines = [
            type(self).__name__,
            f"  - Models: {', '.join(self.models)} ({params:,} trainable parameters)",
            f"  - Dataset: {indent(str(self.dataset), 2)}",
            f"  - Sampler: {type(self.sampler).__name__}, {self.loader.num_workers} reader threads",
            f"  - Steps: {config.max_steps}, time limit: {config.max_minutes} min",
            f"  - Processes: {self.world_size} on {self.device}",
            f"  - Batch: {self.loader.batch_size * self.world_size}, per process {self.loader.batch_size}, "
            f"split {config.split}",
            f"  - Optimizer: {config.optimizer['name']}, lr {config.optimizer['args'].get('lr')}",
            f"  - Precision: {config.mode}, {config.dtype}",
            f"  - EMA rates: {config.ema_rates}",
        ]
        return "\n".join(lines)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def _named_params(self) -> list[tuple[str, str]]:
        """(model key, parameter name) in the order of `model_params`."""
        return [(k, n) for k, m in self.models.items() for n, p in m.named_parameters() if p.requires_grad]

    def model_state_dicts(self, master: list[Tensor] | None = None) -> dict[str, dict[str, Tensor]]:
        """State dict of each model with trainable entries taken from master-shaped tensors."""
        values = self.precision.unflatten(self.precision.master_params if master is None else master)
        states = {k: {n: v.detach() for n, v in m.state_dict().items()} for k, m in self.models.items()}
        for (key, name), value in zip(self._named_params(), values):
            states[key][name] = value.detach()
        return states

    def _load_model_states(self, states: Mapping[str, Mapping[str, Tensor]], master: list[Tensor]) -> None:
        values = [states[key][name].to(self.device) for key, name in self._named_params()]
        self.precision.assign(master, values)

    def load(self, load_dir: str | Path, step: int = 0) -> None:
        """Restore models, averages, optimizer, schedule, data position and random state of `step`."""
        folder = Path(load_dir) / "ckpts"
        states = {key: load_torch_file(folder / model_name(key, step)) for key in self.models}
        for key, model in self.models.items():
            model.load_state_dict(states[key])
        self._load_model_states(states, list(self.precision.master_params))
        if self.ema is not None:
            for rate, copies in self.ema.copies.items():
                averaged = {
                    key: torch.load(folder / ema_name(key, rate, step), map_location="cpu", weights_only=True)
                    for key in self.models
                }
                self._load_model_states(averaged, copies)
        misc = load_torch_file(folder / f"misc_step{step:07d}.pt")
        self.optimizer.load_state_dict(misc["optimizer"])
        self.step = int(misc["step"])
        self.elapsed = float(misc.get("elapsed", 0.0))
        self.sampler.load_state_dict(misc["data_sampler"])
        self.loader.resume()
        self._data_position = dict(misc["data_sampler"])
        self.precision.load_state_dict(misc)
        if self.lr_scheduler is not None and "lr_scheduler" in misc:
            self.lr_scheduler.load_state_dict(misc["lr_scheduler"])
        if self.elastic_controller is not None and "elastic_controller" in misc:
            self.elastic_controller.load_state_dict(misc["elastic_controller"])
        if hasattr(self.grad_clip, "load_state_dict") and "grad_clip" in misc:
            self.grad_clip.load_state_dict(misc["grad_clip"])
        rng = misc.get("rng")
        if rng is not None and self.rank < len(rng):
            set_rng_state(rng[self.rank], self.device)
        log.info("resumed from %s, step %d", folder, self.step)

    def save(self, non_blocking: bool = False) -> None:
        """Write a complete checkpoint. All processes must call it; process 0 writes."""
        rng: list[Any] = [get_rng_state(self.device)]
        if self.world_size > 1:
            rng = [None] * self.world_size
            dist.all_gather_object(rng, get_rng_state(self.device))
        if not self.is_master or self.ema is None:
            return
        files: dict[str, Any] = {}
        for key, state in self.model_state_dicts().items():
            files[model_name(key, self.step)] = _to_host(state)
        for rate, copies in self.ema.copies.items():
            for key, state in self.model_state_dicts(copies).items():
                files[ema_name(key, rate, self.step)] = _to_host(state)
        misc: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
            "data_sampler": self._data_position or self.sampler.state_dict(),
            "rng": rng,
            **self.precision.state_dict(),
        }
        if self.lr_scheduler is not None:
            misc["lr_scheduler"] = self.lr_scheduler.state_dict()
        if self.elastic_controller is not None:
            misc["elastic_controller"] = self.elastic_controller.state_dict()
        if hasattr(self.grad_clip, "state_dict"):
            misc["grad_clip"] = self.grad_clip.state_dict()
        files[f"misc_step{self.step:07d}.pt"] = misc
        write_checkpoint(self.output_dir / "ckpts", self.step, files)
        if self.config.keep_checkpoints:
            prune(self.output_dir / "ckpts", self.config.keep_checkpoints)
        log.info("saved the checkpoint of step %d", self.step)

    def finetune_from(self, finetune_ckpt: Mapping[str, str]) -> None:
        """Start from other weights; masters and all averages are reset to them."""
        load_finetune_weights(self.models, finetune_ckpt)
        self.precision.assign(self.precision.master_params, [p.detach() for p in self.model_params])
        if self.ema is not None:
            self.ema.reset(self.precision.master_params)

    # --- one step ---------------------------------------------------------------------------------------------------

    def training_losses(self, *args: Any, **batch: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """(terms, status): `terms["loss"]` is minimised; both are logged."""
        raise TypeError(f"{type(self).__name__} has no objective; use one of its subclasses")

    def run_step(self, data_list: list[dict[str, Any]]) -> dict[str, Any]:
        """One optimizer step over the micro-batches; returns the log entry."""
        zero_grad(self.model_params)
        zero_grad(self.precision.master_params)
        losses, statuses, elastic_logs = [], [], []
        for i, micro_batch in enumerate(data_list):
            with contextlib.ExitStack() as stack:
                if i + 1 < len(data_list):
                    for model in self.training_models.values():
                        if isinstance(model, DistributedDataParallel):
                            stack.enter_context(model.no_sync())
                if self.elastic_controller is not None:
                    stack.enter_context(self.elastic_controller.record())
                with self.precision.autocast():
                    terms, status = self.training_losses(**micro_batch)
                self.precision.backward(terms["loss"] / len(data_list))
            losses.append(_detach(terms))
            statuses.append(_detach(status))
            if self.elastic_controller is not None:
                elastic_logs.append(self.elastic_controller.log())
        result = self.precision.step(self.optimizer, None if self.grad_clip is None else self._clip)
        entry: dict[str, Any] = {"loss": dict_reduce(losses, _mean, {"min": _min, "max": _max})}
        entry["status"] = dict_reduce(statuses, _mean, {"min": _min, "max": _max})
        entry["status"].update(grad_norm=result.grad_norm, skipped=float(result.skipped))
        entry["status"]["lr"] = self.optimizer.param_groups[0]["lr"]
        entry.update(result.log)
        if elastic_logs:
            entry["elastic"] = dict_reduce(elastic_logs, _mean)
        if self.grad_clip is not None:
            entry["grad_clip"] = self.grad_clip if isinstance(self.grad_clip, float) else self.grad_clip.log()
        if self.config.log_param_stats:
            entry.update(self._param_stats())
        if self.lr_scheduler is not None:
            self.lr_scheduler.step()
        if self.ema is not None and (not result.skipped or self.config.ema_on_skip):
            self.ema.update(self.precision.master_params, self.step)
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if result.skipped else 0
        return entry

    def _clip(self, params: Sequence[Tensor], norm: Tensor, value: float) -> None:
        if isinstance(self.grad_clip, float):
            torch.nn.utils.clip_grads_with_norm_(params, self.grad_clip, norm)
        else:
            self.grad_clip.clip_with_norm(params, norm, value)

    def _param_stats(self) -> dict[str, Any]:
        names = [f"{key}.{name}" for key, name in self._named_params()]
        return {
            "param_norms": {n: p.detach().norm() for n, p in zip(names, self.model_params)},
            "param_grads": {n: p.grad.norm() for n, p in zip(names, self.model_params) if p.grad is not None},
        }

    # --- the loop ---------------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """Part of the run that is done, by steps or by time, whichever is further."""
        config = self.config
        parts = [0.0]
        if config.max_steps:
            parts.append(self.step / config.max_steps)
        if config.max_minutes:
            parts.append(self.elapsed / (60 * config.max_minutes))
        return max(parts)

    def _control(self) -> bool:
        """Agree on progress; True if the run must stop. Process 0 decides, every `_CONTROL_EVERY` steps."""
        stop = bool(self._stop_reason) or self.progress >= 1
        if self._skipped_in_a_row >= self.config.max_skipped_steps:
            self._stop_reason = "diverged"
            stop = True
        if self.check_abort():
            self._stop_reason = "diverged"
            stop = True
        time_part = self.elapsed / (60 * self.config.max_minutes) if self.config.max_minutes else 0.0
        self._time_progress, stop_flag, diverged = broadcast_floats(
            [time_part, float(stop), float(self._stop_reason == "diverged")]
        )
        if diverged:
            self._stop_reason = "diverged"
        return bool(stop_flag)

    def _update_schedule(self) -> None:
        """Tell the schedule how far the run is: exact in steps, agreed now and then in time."""
        if hasattr(self.lr_scheduler, "set_progress"):
            steps = self.step / self.config.max_steps if self.config.max_steps else 0.0
            self.lr_scheduler.set_progress(max(steps, self._time_progress))

    def run(self) -> None:
        """Train until max_steps, the time limit or SIGTERM; always ends with a checkpoint.

        Raises RuntimeError after the final checkpoint if the run diverged (non-finite gradients only).
        """
        config = self.config
        with self._signals():
            if config.num_snapshot_samples > 0 and self.is_master:
                self.snapshot_dataset(config.num_snapshot_samples, config.snapshot_batch_size)
            bar = tqdm(
                total=config.max_steps, initial=self.step, disable=not self.is_master, mininterval=2.0, desc="train"
            )
            begin, elapsed_before, first_step = time.monotonic(), self.elapsed, self.step
            saved_step = -1
            shown = begin
            batches = iter(self.loader)
            stop = self._control()
            while not stop and (config.max_steps is None or self.step < config.max_steps):
                step_begin = time.monotonic()
                data_list, position = next(batches)
                self._update_schedule()
                entry = self.run_step(data_list)
                self._data_position = position
                self.step += 1
                now = time.monotonic()
                self.elapsed = elapsed_before + now - begin
                entry["time"] = {"step": now - step_begin, "elapsed": self.elapsed}
                if self._log is not None:
                    self._log.add(self.step, entry)
                    bar.update()
                    if now - shown > 5:
                        shown = now
                        speed = (self.step - first_step) * self.loader.batch_size * self.world_size / (now - begin)
                        bar.set_postfix(loss=f"{float(entry['loss']['loss']):.4g}", samples_s=f"{speed:.0f}")
                    if self.step % config.i_print == 0:
                        log.info("%s", self._progress_line(now - begin, self.step - first_step))
                    if self.step % config.i_log == 0:
                        self._log.flush()
                if self.world_size > 1 and config.i_ddpcheck and self.step % config.i_ddpcheck == 0:
                    self.check_ddp()
                if config.num_snapshot_samples > 0 and self.step % config.i_sample == 0:
                    self.snapshot()
                if self.step % config.i_save == 0:
                    self.save()
                    saved_step = self.step
                if self.step % _CONTROL_EVERY == 0:
                    stop = self._control()
            bar.close()
            self.loader.close()
            if saved_step != self.step:
                self.save()
            if config.num_snapshot_samples > 0 and self._stop_reason == "":
                self.snapshot("final")
            barrier()
            if self._log is not None:
                self._log.close()
        self._control()
        if self._stop_reason == "diverged":
            raise RuntimeError(f"training diverged: non-finite gradients up to step {self.step}; the state was saved")
        log.info("training finished at step %d%s", self.step, f" ({self._stop_reason})" if self._stop_reason else "")

    def _progress_line(self, seconds: float, steps: int) -> str:
        hours = seconds / 3600
        speed = steps / max(hours, 1e-9)
        total = self.config.max_steps
        fields = [
            f"Step: {self.step}/{total} ({100 * self.progress:.2f}%)",
            f"Elapsed: {self.elapsed / 3600:.2f} h",
            f"Speed: {speed:.2f} steps/h",
            f"ETA: {(total - self.step) / speed:.2f} h" if total and speed > 0 else "ETA: -",
        ]
        return " | ".join(field.ljust(25) for field in fields)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM asks the loop to stop after the current step."""

        def handler(signum: int, frame: Any) -> None:
            self._stop_reason = "SIGTERM"

        try:
            previous = signal.signal(signal.SIGTERM, handler)
        except ValueError:  # not in the main thread
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)

    def check_ddp(self) -> None:
        """Raise RuntimeError if a parameter differs between processes."""
        if self.world_size == 1:
            return
        for param in self.precision.master_params:
            for part in param.detach().reshape(-1).split(10_000_000):
                reference = part.clone()
                dist.broadcast(reference, src=0)
                same = torch.tensor([float(torch.equal(reference, part))], device=part.device)
                dist.all_reduce(same, op=dist.ReduceOp.MIN)
                if same.item() == 0:
                    raise RuntimeError(f"parameters differ between processes at step {self.step}")

    def check_abort(self) -> bool:
        """True if the loss scale fell below 1."""
        return self.precision.log_scale is not None and self.precision.log_scale < 0

    def load_data(self) -> list[dict[str, Any]]:
        """Micro-batches of the next step."""
        data_list, position = next(iter(self.loader))
        self._data_position = position
        return data_list

    def profile(self, wait: int = 2, warmup: int = 3, active: int = 5) -> None:
        """Profile real steps; trace and a text table go to `<output_dir>/profile`."""
        from torch.profiler import profile, schedule, tensorboard_trace_handler

        folder = self.output_dir / "profile"
        batches = iter(self.loader)
        with profile(
            schedule=schedule(wait=wait, warmup=warmup, active=active, repeat=1),
            on_trace_ready=tensorboard_trace_handler(str(folder), worker_name=f"rank{self.rank}"),
            profile_memory=True,
            with_stack=True,
        ) as profiler:
            for _ in range(wait + warmup + active):
                self.run_step(next(batches)[0])
                profiler.step()
        self.loader.close()
        if self.is_master:
            order = "cuda_time_total" if self.device.type == "cuda" else "cpu_time_total"
            (folder / "summary.txt").write_text(profiler.key_averages().table(sort_by=order, row_limit=60))

    def update_ema(self) -> None:
        """Average the current masters in (the loop does this after every step)."""
        if self.ema is not None:
            self.ema.update(self.precision.master_params, self.step)

    def save_logs(self) -> None:
        """Write pending log entries."""
        if self._log is not None:
            self._log.flush()


def _to_host(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in state.items()}


def _detach(terms: Mapping[str, Any]) -> dict[str, Any]:
    return {
        k: _detach(v) if isinstance(v, Mapping) else v.detach() if isinstance(v, Tensor) else v
        for k, v in terms.items()
    }


def _mean(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else sum(values) / len(values)


def _min(values: list[Any]) -> Any:
    return min(float(v) for v in values)


def _max(values: list[Any]) -> Any:
    return max(float(v) for v in values)
