"""Start weights from another run or a released file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .checkpoint import load_torch_file

__all__ = ["load_finetune_weights", "read_weights"]

log = logging.getLogger(__name__)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """State dict from a `.pt` or `.safetensors` file, on the CPU."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"weights file {path} does not exist")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(str(path))
    return dict(load_torch_file(path))


def load_finetune_weights(models: Mapping[str, nn.Module], paths: Mapping[str, str]) -> None:
    """Load `paths[key]` into `models[key]`.

    Keys the model does not have are dropped and tensors of another shape keep their initial value, both with a
    warning; keys missing from the file raise ValueError. Models without a path keep their initial weights.
    """
    for key in paths:
        if key not in models:
            raise ValueError(f"finetune_ckpt names {key!r}, but the models are {sorted(models)}")
    for key, model in models.items():
        if key not in paths:
            log.warning("finetune_ckpt has no entry for %s: it keeps its initial weights", key)
            continue
        given = read_weights(paths[key])
        own = model.state_dict()
        unknown = [name for name in given if name not in own]
        if unknown:
            log.warning("%s: dropped keys the model does not have: %s", key, unknown)
        missing = [name for name in own if name not in given]
        buffers = {name for name, _ in model.named_buffers()}
        if any(name not in buffers for name in missing):
            raise ValueError(f"{paths[key]} lacks keys of {key}: {[n for n in missing if n not in buffers]}")
        state = dict(own)
        for name, value in given.items():
            if name not in own:
                continue
            if value.shape != own[name].shape:
                log.warning("%s.%s: shape %s in the file, %s in the model; kept the initial value",
                            key, name, tuple(value.shape), tuple(own[name].shape))  # fmt: skip
                continue
            state[name] = value
        with torch.no_grad():
            model.load_state_dict(state)
