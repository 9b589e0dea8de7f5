"""Low precision for a whole pipeline, on request."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from trellis2.modules.quantized import Int8Linear, QuantizedLinear
from trellis2.pipelines import Trellis2ImageTo3DPipeline

MINI = Path(__file__).resolve().parent.parent.parent / "assets" / "models" / "mini"


def _quantized(model):
    return any(isinstance(m, QuantizedLinear) for m in model.modules())


def test_flow_models_are_converted_when_they_are_loaded_and_decoders_never():
    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(str(MINI))
    early = pipeline.models["sparse_structure_flow_model"]
    assert not _quantized(early)
    pipeline.quantize("int8")
    assert _quantized(early)
    for key in pipeline.models:
        assert _quantized(pipeline.models[key]) == ("flow_model" in key), key
    assert isinstance(pipeline.models["shape_slat_flow_model_64"].blocks[0].mlp.mlp[0], Int8Linear)


def test_misuse_is_refused():
    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(str(MINI))
    with pytest.raises(ValueError, match="precision must be one of int8, fp8, got 'int4'"):
        pipeline.quantize("int4")
    pipeline.models["sparse_structure_flow_model"]
    pipeline.quantize("fp8")
    with pytest.raises(ValueError, match="quantised already"):
        pipeline.quantize("fp8")


@torch.no_grad()
def test_structure_of_the_small_pipeline_barely_changes():
    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(str(MINI))
    picture = pipeline.preprocess_image(Image.open(MINI.parent.parent / "example_image" / "teapot.png"))
    cond = pipeline.get_cond([picture], 128)
    options = {"steps": 3, "guidance_strength": 1.0}

    def cells(lowered):
        torch.manual_seed(0)
        if lowered:
            pipeline.quantize("int8")
        found = pipeline.sample_sparse_structure(cond, 16, 1, options, verbose=False)
        return {tuple(c) for c in found.tolist()}

    exact, low = cells(False), cells(True)
    assert len(exact & low) / len(exact | low) > 0.9
