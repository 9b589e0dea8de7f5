"""Low precision on request: what is replaced, what it costs, and that nothing happens unasked."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from trellis2 import models
from trellis2.modules.quantized import Fp8Linear, Int8Linear, QuantizedLinear

ARGS = {
    "resolution": 4,
    "in_channels": 3,
    "model_channels": 48,
    "cond_channels": 32,
    "out_channels": 5,
    "num_blocks": 2,
    "num_heads": 3,
    "mlp_ratio": 2.6667,
    "pe_mode": "rope",
    "share_mod": True,
    "qk_rms_norm": True,
    "qk_rms_norm_cross": True,
    "initialization": "torch",
}
#: Of one forward against the same weights in float32: 8 bits of a row's range; 4 bits of each weight and input.
ERROR = {"int8": 0.01, "fp8": 0.06}


def _model(**extra):
    torch.manual_seed(0)
    return models.build_model("SparseStructureFlowModel", {**ARGS, **extra}).eval()


def _inputs():
    g = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 4, 4, 4, generator=g), torch.tensor([500.0, 20.0]), torch.randn(2, 7, 32, generator=g)


@pytest.mark.parametrize("precision", ERROR)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.no_grad()
def test_forward_stays_close_and_memory_shrinks(precision, dtype):
    model = _model(dtype=dtype)
    x, t, cond = _inputs()
    want = _model()(x, t, cond)
    report = models.quantize(model, precision)
    got = model(x, t, cond)
    assert (got - want).norm() / want.norm() < ERROR[precision] + (0.02 if dtype == "bfloat16" else 0)
    assert torch.equal(model(x, t, model.prepare_condition(cond)), got)
    linear = [
        p for n, p in _model().named_parameters() if n.startswith("blocks.") and n.endswith("weight") and p.ndim == 2
    ]
    saved = sum(p.numel() for p in linear) * ((4 if dtype == "float32" else 2) - 1)
    scales = sum(p.shape[0] for p in linear) * 4
    assert report.bytes_before - report.bytes_after == saved - scales
    assert report.num_layers == len(linear) == 2 * 7
    assert 0 < report.weight_error <= report.worst_error < ERROR[precision]


def test_only_the_torso_is_replaced():
    model = _model()
    models.quantize(model, "int8")
    changed = {name.split(".")[0] for name, m in model.named_modules() if isinstance(m, QuantizedLinear)}
    assert changed == {"blocks"}
    assert not any(type(m) is nn.Linear for m in model.blocks.modules())
    assert type(model.input_layer) is type(model.out_layer) is type(model.t_embedder.mlp[0]) is nn.Linear
    assert not any(p.requires_grad for p in model.parameters())


def test_models_are_not_quantised_unasked():
    assert not any(isinstance(m, QuantizedLinear) for m in _model(dtype="bfloat16").modules())


@pytest.mark.parametrize("kind", [Int8Linear, Fp8Linear])
def test_casting_the_model_leaves_codes_and_scales_alone(kind):
    layer = kind.of(nn.Linear(32, 16))
    weight = layer.weight()
    moved = copy.deepcopy(layer).to(torch.bfloat16)
    assert moved.weight_scale.dtype == torch.float32 and torch.equal(moved.weight(), weight)
    assert moved.bias.dtype == torch.bfloat16
    x = torch.randn(3, 32)
    assert moved(x.bfloat16()).dtype == torch.bfloat16 and layer(x).dtype == torch.float32


def test_state_dict_round_trip():
    first, second = _model(), _model()
    models.quantize(first, "fp8")
    models.quantize(second, "fp8")
    with torch.no_grad():
        for buffer in second.buffers():
            if buffer.is_floating_point() and buffer.ndim == 2:
                buffer.zero_()
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        assert torch.equal(first(*_inputs()), second(*_inputs()))


def test_misuse_is_refused():
    with pytest.raises(ValueError, match="precision must be one of int8, fp8, got 'int4'"):
        models.quantize(_model(), "int4")
    with pytest.raises(ValueError, match="quantize needs a model with blocks, got Linear"):
        models.quantize(nn.Linear(2, 2), "int8")
    model = _model()
    models.quantize(model, "int8")
    with pytest.raises(ValueError, match="quantised already"):
        models.quantize(model, "fp8")
    with pytest.raises(ValueError, match="missing"):
        models.load_weights(model, _model().state_dict())
