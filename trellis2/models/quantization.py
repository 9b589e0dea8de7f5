"""Low precision on request: the linear layers of a model's torso in 8 bits.

Norms, embeddings, modulation and the input and output layers keep their type.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ..modules.quantized import Fp8Linear, Int8Linear, QuantizedLinear
from ..modules.utils import require_choice

__all__ = ["QuantizationReport", "quantize"]

_log = logging.getLogger(__name__)
_KINDS: dict[str, type[Int8Linear] | type[Fp8Linear]] = {"int8": Int8Linear, "fp8": Fp8Linear}


@dataclass(frozen=True)
class QuantizationReport:
    """What `quantize` did."""

    precision: str
    num_layers: int  # replaced
    bytes_before: int  # of all parameters and buffers of the model
    bytes_after: int
    weight_error: float  # relative L2 error of the replaced weights, all together
    worst_error: float  # that of the worst layer
    worst_layer: str


def _model_bytes(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


@torch.no_grad()
def quantize(model: nn.Module, precision: Literal["int8", "fp8"]) -> QuantizationReport:
    """Replace the linear layers inside `model.blocks` by layers with 8-bit weights, in place; for inference.

    `int8`: weights rounded to integers, one scale per output channel; they are widened for each product, which costs a
    little time and halves the memory of 16-bit weights. `fp8`: weights and inputs in e4m3, a scale per output channel
    and per row, products in the fp8 tensor cores (Hopper, Ada) and widened elsewhere. Load the weights before; a
    quantised model has another state dict and cannot be trained or loaded into. Raises ValueError for an unknown
    precision, for models without blocks, and for models that are quantised already.
    """
    require_choice("precision", precision, _KINDS)
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.Module):
        raise ValueError(f"quantize needs a model with blocks, got {type(model).__name__}")
    if any(isinstance(m, QuantizedLinear) for m in blocks.modules()):
        raise ValueError("the model is quantised already; load it again for another precision")
    before = _model_bytes(model)
    targets = [
        (f"{path}.{name}".lstrip("."), owner, name, layer)
        for path, owner in blocks.named_modules()
        for name, layer in owner.named_children()
        if type(layer) is nn.Linear
    ]
    if not targets:
        raise ValueError(f"the blocks of {type(model).__name__} hold no linear layers")
    error = total = 0.0
    worst, worst_layer = -1.0, ""
    for path, owner, name, layer in targets:
        packed = _KINDS[precision].of(layer)
        wrong = float((packed.weight() - layer.weight.float()).square().sum(dtype=torch.float64))
        size = float(layer.weight.float().square().sum(dtype=torch.float64))
        error, total = error + wrong, total + size
        if wrong > worst * max(size, 1e-30):
            worst, worst_layer = wrong / max(size, 1e-30), f"blocks.{path}"
        setattr(owner, name, packed)
    model.requires_grad_(False)
    report = QuantizationReport(
        precision,
        len(targets),
        before,
        _model_bytes(model),
        (error / max(total, 1e-30)) ** 0.5,
        max(worst, 0.0) ** 0.5,
        worst_layer,
    )
    _log.info(
        "%s: %d layers in %s, %.2f -> %.2f GB, relative error of the weights %.2g (worst %.2g in %s)",
        type(model).__name__,
        report.num_layers,
        precision,
        report.bytes_before / 1e9,
        report.bytes_after / 1e9,
        report.weight_error,
        report.worst_error,
        report.worst_layer,
    )
    return report
