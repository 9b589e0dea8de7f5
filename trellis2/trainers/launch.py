"""Starting a run: command line, processes, building what the experiment names."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from .. import datasets, models, trainers
from ..utils.dist_utils import broadcast_floats, setup_dist
from .checkpoint import find_latest_step
from .config import ExperimentConfig, apply_overrides, load_experiment, validate_experiment
from .rng_state import seed_everything

__all__ = ["build_models", "build_trainer", "launch", "main", "make_parser", "model_summary"]

log = logging.getLogger("trellis2.train")
# Failures worth another attempt; everything else is a fact about the code, the data or the configuration.
_TRANSIENT = (OSError, torch.cuda.OutOfMemoryError, dist.DistBackendError)


def make_parser() -> argparse.ArgumentParser:
    """Published flags, then ours."""
    parser = argparse.ArgumentParser(prog="train.py", description="Train a model of TRELLIS.2.")
    parser.add_argument("--config", required=True, help="experiment JSON")
    parser.add_argument("--output_dir", required=True, help="run folder")
    parser.add_argument("--load_dir", default="", help="run folder to resume from (default: output_dir)")
    parser.add_argument("--ckpt", default="latest", help="latest, none, or a step")
    parser.add_argument(
        "--data_dir", default="./data/", help="JSON object {label: {role: folder}}, a JSON file, or folders"
    )
    parser.add_argument("--auto_retry", type=int, default=3, help="attempts after passing failures; 0: one attempt")
    parser.add_argument("--tryrun", action="store_true", help="build everything, report, and stop before training")
    parser.add_argument("--profile", action="store_true", help="profile a few steps instead of training")
    group = parser.add_argument_group("processes")
    group.add_argument("--num_nodes", type=int, default=1)
    group.add_argument("--node_rank", type=int, default=0)
    group.add_argument("--num_gpus", type=int, default=-1, help="processes on this node; -1: all GPUs")
    group.add_argument("--master_addr", default="localhost")
    group.add_argument("--master_port", default="12345")
    group = parser.add_argument_group("additions")
    group.add_argument("--device", default=None, help="cuda, cpu, …; default: cuda if there is one")
    group.add_argument("--seed", type=int, default=0, help="seed of data order, initial weights and noise")
    group.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="PATH=VALUE",
        help="override a value, e.g. --set trainer.max_steps=100",
    )  # fmt: skip
    group.add_argument("--max_minutes", type=float, default=None, help="wall-clock limit, ends with a checkpoint")
    return parser


def model_summary(model: nn.Module) -> str:
    """Table of parameters in the published layout."""
    lines = ["Parameters:", "=" * 128, f"{'Name':<72}{'Shape':<32}{'Type':<16}{'Grad'}"]
    for name, param in model.named_parameters():
        lines.append(f"{name:<72}{param.shape!s:<32}{param.dtype!s:<16}{param.requires_grad}")
    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return "\n".join([*lines, "", f"Number of parameters: {total}", f"Number of trainable parameters: {trainable}", ""])


def build_models(config: ExperimentConfig, device: torch.device | str) -> dict[str, nn.Module]:
    """Instances in the order of the file."""
    return {key: getattr(models, spec.name)(**spec.args).to(device).train() for key, spec in config.models.items()}


def build_trainer(
    config: ExperimentConfig,
    *,
    data_dir: Any,
    output_dir: str,
    load_dir: str | None = None,
    step: int | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Any:
    """Dataset, models and trainer of a validated experiment."""
    dataset = getattr(datasets, config.dataset.name)(data_dir, **config.dataset.args)
    built = build_models(config, device)
    return getattr(trainers, config.trainer.name)(
        built, dataset, **config.trainer.args, output_dir=output_dir, load_dir=load_dir, step=step, device=device,
        seed=seed,
    )  # fmt: skip


def _resolve_step(ckpt: str, load_dir: str) -> int | None:
    """Step to resume, decided by process 0."""
    step: int | None
    if ckpt == "none":
        step = None
    elif ckpt == "latest":
        step = find_latest_step(Path(load_dir) / "ckpts")
    else:
        try:
            step = int(ckpt)
        except ValueError:
            raise ValueError(f"--ckpt must be latest, none or a step, got {ckpt!r}") from None
    value = broadcast_floats([-1.0 if step is None else float(step)])[0]
    return None if value < 0 else int(value)


def _worker(local_rank: int, args: argparse.Namespace, config: ExperimentConfig, num_procs: int) -> None:
    """One process of the run."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    world_size = args.num_nodes * num_procs
    rank = args.node_rank * num_procs + local_rank
    external = "RANK" in os.environ and "WORLD_SIZE" in os.environ and args.torchrun
    if external:
        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    on_cuda = torch.device(args.device).type == "cuda"
    device = torch.device("cuda", local_rank) if on_cuda and args.device == "cuda" else torch.device(args.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    if world_size > 1:
        address = os.environ.get("MASTER_ADDR", args.master_addr) if external else args.master_addr
        port = os.environ.get("MASTER_PORT", args.master_port) if external else args.master_port
        setup_dist(rank, local_rank, world_size, address, port, backend="nccl" if on_cuda else "gloo")
    try:
        if rank > 0:
            logging.getLogger().setLevel(logging.WARNING)
        load_dir = args.load_dir or args.output_dir
        step = _resolve_step(args.ckpt, load_dir)
        seed_everything(args.seed)  # the same initial weights everywhere
        trainer = build_trainer(
            config, data_dir=args.data_dir, output_dir=args.output_dir, load_dir=load_dir, step=step, device=device,
            seed=args.seed,
        )  # fmt: skip
        if rank == 0:
            for key, model in trainer.models.items():
                Path(args.output_dir, f"{key}_model_summary.txt").write_text(model_summary(model))
        if step is None:
            seed_everything(args.seed + rank)
        if args.tryrun:
            log.info("try run: everything was built, nothing is trained\n%s", json.dumps(config.to_dict(), indent=4))
        elif args.profile:
            trainer.profile()
        else:
            trainer.run()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def launch(args: argparse.Namespace, config: ExperimentConfig) -> None:
    """Run in this process, or in one process per GPU."""
    num_procs = args.num_gpus
    if num_procs < 0:
        num_procs = max(1, torch.cuda.device_count()) if args.device == "cuda" else 1
    args.torchrun = "TORCHELASTIC_RUN_ID" in os.environ or ("SLURM_PROCID" in os.environ and "RANK" in os.environ)
    if args.torchrun or num_procs == 1:
        _worker(0, args, config, num_procs)
    else:
        torch.multiprocessing.spawn(_worker, args=(args, config, num_procs), nprocs=num_procs, join=True)


def _failed(error: Exception, output_dir: str) -> int:
    """Report a failed run in one line; the traceback goes to `traceback.txt` in the run folder. Exit status 1."""
    path = Path(output_dir, "traceback.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(traceback.format_exception(error)))
    lines = [line for line in str(error).splitlines() if line.strip()]
    # A process of a run over several devices hands on its whole traceback, whose last line is the error itself.
    spawned = isinstance(error, torch.multiprocessing.ProcessRaisedException) and len(lines) > 1
    text = lines[-1] if spawned else f"{type(error).__name__}: {' '.join(lines)}"
    log.error("training failed: %s (traceback in %s)", text, path)
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of train.py; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args = make_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    overrides = list(args.overrides)
    if args.max_minutes is not None:
        overrides.append(f"trainer.max_minutes={args.max_minutes}")
    try:
        config = apply_overrides(load_experiment(args.config), overrides)
        validate_experiment(config)
    except (ValueError, TypeError, OSError) as error:
        log.error("%s", error)
        return 2
    if args.node_rank == 0 and int(os.environ.get("RANK", "0")) == 0:
        folder = Path(args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "command.txt").write_text(f"python train.py {' '.join(argv)}\n")
        temporary = folder / ".config.json.tmp"
        temporary.write_text(json.dumps(config.to_dict(), indent=4))
        temporary.replace(folder / "config.json")
    attempts = max(1, args.auto_retry)
    for attempt in range(1, attempts + 1):
        try:
            launch(args, config)
            return 0
        except _TRANSIENT as error:
            if attempt == attempts or isinstance(error, FileNotFoundError):
                return _failed(error, args.output_dir)
            log.warning("%s: %s. Retrying (%d/%d)...", type(error).__name__, error, attempt, attempts)
            time.sleep(min(60, 2**attempt))
        except Exception as error:
            return _failed(error, args.output_dir)
    return 1
