"""A complete small pipeline folder with random weights, for tests of the way from image to asset.

The structure decoder's weights are set so that its output holds a block of cells whatever the latent, and the shape
decoder's so that every cell has voxels: the later stages then have something to work on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from trellis2 import models as zoo
from trellis2.pipelines.export import assemble_pipeline

LATENT, WIDTH, COND, LEVELS = 4, 32, 32, 3
FLOW: dict[str, Any] = {
    "model_channels": WIDTH,
    "cond_channels": COND,
    "num_blocks": 1,
    "num_heads": 2,
    "mlp_ratio": 2,
    "pe_mode": "rope",
    "share_mod": True,
    "qk_rms_norm": True,
    "qk_rms_norm_cross": True,
}
SAMPLER = {
    "name": "FlowEulerGuidanceIntervalSampler",
    "args": {"sigma_min": 1e-5},
    "params": {
        "steps": 2,
        "guidance_strength": 2.0,
        "guidance_rescale": 0.5,
        "guidance_interval": [0.6, 1.0],
        "rescale_t": 3.0,
    },
}


def blob_decoder() -> nn.Module:
    """A structure decoder that answers any latent with a block of cells, nibbled at differently by each latent.

    The output features are nearly constant and the output kernel is uniform, so that a cell's value is its share of
    neighbours inside the grid: 1 in the middle, 2/3 at a face. The last bias cuts between the two.
    """
    decoder = zoo.SparseStructureDecoder(1, LATENT, num_res_blocks=1, channels=[32, 32], num_res_blocks_middle=1)
    norm, conv = decoder.out_layer[0], decoder.out_layer[2]
    with torch.no_grad():
        norm.weight.fill_(0.2)
        norm.bias.fill_(1.0)
        conv.weight.fill_(1 / (27 * 32 * torch.sigmoid(torch.tensor(1.0)).item()))
        conv.weight[:, :16] += 0.002
        conv.weight[:, 16:] -= 0.002
        conv.bias.fill_(-1.015)
    return decoder


def dense_shape_decoder(**kwargs: Any) -> nn.Module:
    """A shape decoder that fills every cell with voxels and marks about a third of their edges."""
    decoder = zoo.FlexiDualGridVaeDecoder(**kwargs)
    with torch.no_grad():
        for name, value in decoder.named_parameters():
            if name.endswith("to_subdiv.bias"):
                value.fill_(10.0)
        decoder.output_layer.bias[3:6] = -0.6
    return decoder


def speak(model: nn.Module) -> nn.Module:
    """Give weights that start at zero (output layers, mostly) small random values, so that inputs matter."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("weight") and value.ndim > 1 and not value.any():
                nn.init.normal_(value, std=0.5 / value[0].numel() ** 0.5)
    return model


def models(seed: int) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    vae = {
        "model_channels": [32, 16, 16],
        "latent_channels": LATENT,
        "num_blocks": [1, 0, 0],
        "block_type": ["SparseConvNeXtBlock3d"] * LEVELS,
        "up_block_type": ["SparseResBlockC2S3d"] * (LEVELS - 1),
        "block_args": [{}] * LEVELS,
    }
    down = {
        "model_channels": [16, 16, 32],
        "latent_channels": LATENT,
        "num_blocks": [0, 0, 1],
        "block_type": ["SparseConvNeXtBlock3d"] * LEVELS,
        "down_block_type": ["SparseResBlockS2C3d"] * (LEVELS - 1),
        "block_args": [{}] * LEVELS,
    }
    networks = {
        "sparse_structure_flow_model": zoo.SparseStructureFlowModel(
            resolution=4, in_channels=LATENT, out_channels=LATENT, **FLOW
        ),
        "sparse_structure_decoder": blob_decoder(),
        "shape_slat_flow_model": zoo.SLatFlowModel(resolution=8, in_channels=LATENT, out_channels=LATENT, **FLOW),
        "shape_slat_encoder": zoo.FlexiDualGridVaeEncoder(**down),
        "shape_slat_decoder": dense_shape_decoder(resolution=32, **vae),
        "tex_slat_flow_model": zoo.SLatFlowModel(resolution=8, in_channels=2 * LATENT, out_channels=LATENT, **FLOW),
        "tex_slat_decoder": zoo.SparseUnetVaeDecoder(out_channels=6, pred_subdiv=False, **vae),
        "image_cond_model": zoo.ImageEncoder(image_size=32, patch_size=8, channels=COND, num_blocks=1, num_heads=2),
    }
    return {key: model if key == "sparse_structure_decoder" else speak(model) for key, model in networks.items()}


def pipeline_config() -> dict[str, Any]:
    """Content of `pipeline.json`: a plain type and a cascade."""
    shape, tex = "shape_slat_flow_model", "tex_slat_flow_model"
    stats = {"mean": [0.1 * i for i in range(LATENT)], "std": [1.0 + 0.5 * i for i in range(LATENT)]}
    common = {"ss_cond_resolution": 32, "tex_cond_resolution": 32, "tex_model": tex}
    return {
        "name": "Trellis2ImageTo3DPipeline",
        "args": {
            "sparse_structure_sampler": SAMPLER,
            "shape_slat_sampler": SAMPLER,
            "tex_slat_sampler": SAMPLER,
            "shape_slat_normalization": stats,
            "tex_slat_normalization": stats,
            "image_cond_model": {"name": "ImageEncoder", "args": {}},
            "rembg_model": {"name": "GrabCut", "args": {}},
            "default_pipeline_type": "32",
            "pipeline_types": {
                "32": {
                    **common,
                    "ss_resolution": 8,
                    "shape_stages": [{"model": shape, "resolution": 32, "cond_resolution": 32}],
                    "resolution": 32,
                },
                "64_cascade": {
                    **common,
                    "ss_resolution": 4,
                    "shape_stages": [
                        {"model": shape, "resolution": 16, "cond_resolution": 32},
                        {"model": shape, "resolution": 64, "cond_resolution": 64},
                    ],
                    "resolution": 64,
                    "token_ladder": [64, 48, 32],
                },
            },
        },
    }


def texturing_config() -> dict[str, Any]:
    """Content of `texturing_pipeline.json`."""
    args = pipeline_config()["args"]
    keep = ("tex_slat_sampler", "shape_slat_normalization", "tex_slat_normalization", "image_cond_model", "rembg_model")
    return {
        "name": "Trellis2TexturingPipeline",
        "args": {
            **{key: args[key] for key in keep},
            "texture_types": {"32": {"tex_model": "tex_slat_flow_model", "cond_resolution": 32}},
        },
    }


def make_untrained_pipeline(folder: str | Path, seed: int = 0) -> Path:
    """Write `pipeline.json`, `texturing_pipeline.json` and `ckpts/` with random weights; returns the folder."""
    networks = models(seed)
    image_keys = [key for key in networks if key != "shape_slat_encoder"]
    texture_keys = ["shape_slat_encoder", "tex_slat_decoder", "tex_slat_flow_model", "image_cond_model"]
    assemble_pipeline(folder, pipeline_config(), {key: networks[key] for key in image_keys})
    assemble_pipeline(
        folder,
        texturing_config(),
        {key: networks[key] for key in texture_keys},
        config_file="texturing_pipeline.json",
    )
    return Path(folder)
