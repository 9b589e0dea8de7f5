"""Export averaged weights of a run as the released pair NAME.json + NAME.safetensors.

    python -m trellis2.trainers.export RUN_DIR OUT_STEM --ema 0.999 --dtype float16 [--model decoder] [--step N]

Several models in one run (encoder and decoder): OUT_STEM gets the model's key appended unless `--model` picks one.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from .. import models
from .checkpoint import ema_name, find_latest_step, load_torch_file, model_name
from .config import ExperimentConfig, parse_experiment
from .loop_config import str_to_dtype

__all__ = ["export_model", "main"]

log = logging.getLogger(__name__)
_RENAME = {"ElasticSLatFlowModel": "SLatFlowModel"}  # the released files name the plain class


def _rates(config: ExperimentConfig) -> list[float]:
    rate = config.trainer.args.get("ema_rate", 0.9999)
    return [float(rate)] if isinstance(rate, (int, float)) else [float(r) for r in rate]


def export_model(
    run_dir: str | Path,
    key: str,
    stem: str | Path,
    *,
    ema: float | None = None,
    raw: bool = False,
    step: int | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write `stem`.json and `stem`.safetensors from model `key` of a run; returns the weights' path.

    `ema` picks the rate (default: the run's first); `raw` takes the weights that were trained instead.
    """
    run_dir = Path(run_dir)
    config = parse_experiment(json.loads((run_dir / "config.json").read_text()))
    if key not in config.models:
        raise ValueError(f"the run has no model {key!r}, only {', '.join(config.models)}")
    step = find_latest_step(run_dir / "ckpts") if step is None else step
    if step is None:
        raise ValueError(f"{run_dir} holds no complete checkpoint")
    rate = _rates(config)[0] if ema is None else ema
    name = model_name(key, step) if raw else ema_name(key, rate, step)
    path = run_dir / "ckpts" / name
    if not path.is_file():
        raise ValueError(f"{path} does not exist; averages of this run: {_rates(config)}")
    spec = config.models[key]
    class_name = _RENAME.get(spec.name, spec.name)
    model = models.build_model(class_name, spec.args)
    models.load_weights(model, load_torch_file(path), source=str(path))
    Path(stem).parent.mkdir(parents=True, exist_ok=True)
    models.save_pretrained(model, stem, dtype=dtype)
    return Path(f"{stem}.safetensors")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m trellis2.trainers.export", description=__doc__)
    parser.add_argument("run_dir")
    parser.add_argument("out_stem", help="path without suffix")
    parser.add_argument("--model", default=None, help="model key; default: all of the run")
    parser.add_argument("--ema", type=float, default=None, help="rate; default: the first of the run")
    parser.add_argument("--raw", action="store_true", help="the trained weights instead of an average")
    parser.add_argument("--step", type=int, default=None, help="default: the newest complete checkpoint")
    parser.add_argument("--dtype", default=None, help="float16, bfloat16 or float32; default: as trained")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config = parse_experiment(json.loads((Path(args.run_dir) / "config.json").read_text()))
        keys = [args.model] if args.model else list(config.models)
        dtype = None if args.dtype is None else str_to_dtype(args.dtype)
        for key in keys:
            stem = args.out_stem if len(keys) == 1 else f"{args.out_stem}_{key}"
            path = export_model(args.run_dir, key, stem, ema=args.ema, raw=args.raw, step=args.step, dtype=dtype)
            log.info("wrote %s (%.2f MB)", path, path.stat().st_size / 1e6)
    except (ValueError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
