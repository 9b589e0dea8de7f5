"""Put trained networks together into a pipeline folder.

    python -m trellis2.pipelines.export recipe.json OUT_DIR

A recipe is `{"pipeline": {"name": …, "args": {…}}, "models": {key: {"config": FILE, "role": ROLE, "weights": FILE}}}`:
the pipeline file without its `models`, and for each network the training configuration that built it, its role there
(`denoiser`, `encoder`, `decoder`) and a checkpoint of train.py. The key `image_cond_model` is the image encoder.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .config import ImageTo3DConfig, TexturingConfig
from .errors import PipelineConfigError

__all__ = ["assemble_pipeline", "load_trained", "main"]

_PARSERS: dict[str, Any] = {
    "Trellis2ImageTo3DPipeline": ImageTo3DConfig.parse,
    "Trellis2TexturingPipeline": TexturingConfig.parse,
}
#: Key of the image encoder among the models, and the stem of its files.
_ENCODER_KEY, _ENCODER_STEM = "image_cond_model", "ckpts/image_encoder"


def assemble_pipeline(
    out_dir: str | Path,
    config: Mapping[str, Any],
    models: Mapping[str, nn.Module | str | Path],
    dtype: torch.dtype | None = torch.float16,
    config_file: str = "pipeline.json",
) -> Path:
    """Write a pipeline folder that `from_pretrained` loads; returns the pipeline file.

    `config` is the content of the pipeline file. Each model (a network, or the stem of its files) is written to
    `ckpts/<key>`, or where `config["args"]["models"]` says, with floating-point weights cast to `dtype`. A model under
    the key `image_cond_model` becomes the image encoder. The pipeline file is written last.
    Raises PipelineConfigError for a bad configuration, ValueError for weights that `dtype` cannot hold.
    """
    from trellis2.models import from_pretrained, save_pretrained

    content = copy.deepcopy(dict(config))
    name, args = content.get("name"), content.get("args")
    if name not in _PARSERS or not isinstance(args, dict):
        raise PipelineConfigError(f"config must have a name ({', '.join(_PARSERS)}) and an object args, got {name!r}")
    stems = args.setdefault("models", {})
    targets: dict[str, str] = {}
    for key in models:
        if key == _ENCODER_KEY:
            encoder = args.setdefault(_ENCODER_KEY, {"name": "ImageEncoder", "args": {}})
            targets[key] = encoder.setdefault("args", {}).setdefault("model", _ENCODER_STEM)
        else:
            targets[key] = stems.setdefault(key, f"ckpts/{key}")
    _PARSERS[name](args)
    out = Path(out_dir)
    for key, stem in targets.items():
        model = models[key]
        network = model if isinstance(model, nn.Module) else from_pretrained(model)
        _check_range(key, network, dtype)
        save_pretrained(network, out / stem, dtype)
    out.mkdir(parents=True, exist_ok=True)
    path = out / config_file
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def _check_range(key: str, model: nn.Module, dtype: torch.dtype | None) -> None:
    """Raise ValueError if a weight is not finite, or too large for `dtype`."""
    limit = torch.finfo(dtype).max if dtype is not None else float("inf")
    for name, value in model.state_dict().items():
        if value.is_floating_point() and value.numel() and not bool((value.abs() <= limit).all()):
            raise ValueError(f"{key}: weight {name} is not finite or too large for {dtype}")


def load_trained(config_file: str | Path, role: str, weights: str | Path) -> nn.Module:
    """The network `role` of a training configuration, with the weights of a checkpoint (`.pt` or `.safetensors`).

    Raises ValueError if the configuration has no such role or the weights do not fit.
    """
    from trellis2.models import build_model, load_weights
    from trellis2.models.loading import read_safetensors

    models = json.loads(Path(config_file).read_text(encoding="utf-8")).get("models", {})
    if role not in models:
        raise ValueError(f"{config_file} has no model {role!r}, only: {', '.join(models) or 'none'}")
    model = build_model(models[role]["name"], models[role]["args"])
    if Path(weights).suffix == ".safetensors":
        state = read_safetensors(weights)
    else:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    load_weights(model, state, source=str(weights))
    return model


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: recipe and output folder."""
    parser = argparse.ArgumentParser(prog="python -m trellis2.pipelines.export", description=__doc__.split("\n")[0])
    parser.add_argument("recipe", type=Path, help="JSON file that names the pipeline and its networks")
    parser.add_argument("out_dir", type=Path, help="folder to write")
    parser.add_argument("--dtype", choices=["float16", "bfloat16", "float32"], default="float16", help="of the weights")
    parser.add_argument("--config-file", default="pipeline.json", help="name of the pipeline file in the folder")
    options = parser.parse_args(argv)
    try:
        recipe = json.loads(options.recipe.read_text(encoding="utf-8"))
        models: dict[str, nn.Module | str | Path] = {}
        for key, entry in recipe["models"].items():
            models[key] = entry if isinstance(entry, str) else load_trained(**{_FIELDS[k]: v for k, v in entry.items()})
        dtype = getattr(torch, options.dtype)
        path = assemble_pipeline(options.out_dir, recipe["pipeline"], models, dtype, options.config_file)
    except (OSError, ValueError, KeyError, TypeError) as error:
        text = f"missing {error}" if isinstance(error, KeyError) else str(error)
        sys.stderr.write(f"error: {text.splitlines()[0] if text else error!r}\n")
        return 1
    total = sum(file.stat().st_size for file in path.parent.rglob("*.safetensors"))
    sys.stdout.write(f"{path}: {len(models)} networks, {total / 2**20:.1f} MiB of weights\n")
    return 0


_FIELDS = {"config": "config_file", "role": "role", "weights": "weights"}

if __name__ == "__main__":
    raise SystemExit(main())
