"""The published 4B layout: every file of the repository, as data.

Widths are arguments so that the same layout can be written small; `FULL` holds the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "DINOV3_REPOSITORY",
    "FULL",
    "PUBLISHED_REMBG",
    "TINY",
    "Widths",
    "dinov3_config",
    "model_configs",
    "model_stems",
    "pipeline_json",
    "texturing_json",
]

DINOV3_REPOSITORY = "facebook/dinov3-vitl16-pretrain-lvd1689m"
_STRUCTURE_STEM = "microsoft/TRELLIS-image-large/ckpts/ss_dec_conv3d_16l8_fp16"
_STEMS = {
    "sparse_structure_flow_model": "ckpts/ss_flow_img_dit_1_3B_64_bf16",
    "sparse_structure_decoder": _STRUCTURE_STEM,
    "shape_slat_flow_model_512": "ckpts/slat_flow_img2shape_dit_1_3B_512_bf16",
    "shape_slat_flow_model_1024": "ckpts/slat_flow_img2shape_dit_1_3B_1024_bf16",
    "shape_slat_decoder": "ckpts/shape_dec_next_dc_f16c32_fp16",
    "tex_slat_flow_model_512": "ckpts/slat_flow_imgshape2tex_dit_1_3B_512_bf16",
    "tex_slat_flow_model_1024": "ckpts/slat_flow_imgshape2tex_dit_1_3B_1024_bf16",
    "tex_slat_decoder": "ckpts/tex_dec_next_dc_f16c32_fp16",
    "shape_slat_encoder": "ckpts/shape_enc_next_dc_f16c32_fp16",
}
_TEXTURING = ("shape_slat_encoder", "tex_slat_decoder", "tex_slat_flow_model_512", "tex_slat_flow_model_1024")

_SHAPE_MEAN = (
    0.781296, 0.018091, -0.495192, -0.558457, 1.060530, 0.093252, 1.518149, -0.933218,
    -0.732996, 2.604095, -0.118341, -2.143904, 0.495076, -2.179512, -2.130751, -0.996944,
    0.261421, -2.217463, 1.260067, -0.150213, 3.790713, 1.481266, -1.046058, -1.523667,
    -0.059621, 2.220780, 1.621212, 0.877230, 0.567247, -3.175944, -3.186688, 1.578665,
)  # fmt: skip
_SHAPE_STD = (
    5.972266, 4.706852, 5.445010, 5.209927, 5.320220, 4.547237, 5.020802, 5.444004,
    5.226681, 5.683095, 4.831436, 5.286469, 5.652043, 5.367606, 5.525084, 4.730578,
    4.805265, 5.124013, 5.530808, 5.619001, 5.103930, 5.417670, 5.269677, 5.547194,
    5.634698, 5.235274, 6.110351, 5.511298, 6.237273, 4.879207, 5.347008, 5.405691,
)  # fmt: skip
_TEX_MEAN = (
    3.501659, 2.212398, 2.226094, 0.251093, -0.026248, -0.687364, 0.439898, -0.928075,
    0.029398, -0.339596, -0.869527, 1.038479, -0.972385, 0.126042, -1.129303, 0.455149,
    -1.209521, 2.069067, 0.544735, 2.569128, -0.323407, 2.293000, -1.925608, -1.217717,
    1.213905, 0.971588, -0.023631, 0.106750, 2.021786, 0.250524, -0.662387, -0.768862,
)  # fmt: skip
_TEX_STD = (
    2.665652, 2.743913, 2.765121, 2.595319, 3.037293, 2.291316, 2.144656, 2.911822,
    2.969419, 2.501689, 2.154811, 3.163343, 2.621215, 2.381943, 3.186697, 3.021588,
    2.295916, 3.234985, 3.233086, 2.260140, 2.874801, 2.810596, 3.292720, 2.674999,
    2.680878, 2.372054, 2.451546, 2.353556, 2.995195, 2.379849, 2.786195, 2.775190,
)  # fmt: skip


@dataclass(frozen=True)
class Widths:
    """Everything about the networks that may shrink without changing the layout."""

    flow_channels: int
    flow_blocks: int
    flow_heads: int
    mlp_ratio: float
    structure_channels: tuple[int, ...]  # of the structure decoder, coarse to fine
    vae_channels: tuple[int, ...]  # of the SC-VAE decoders, coarse to fine
    vae_blocks: tuple[int, ...]
    encoder_blocks: tuple[int, ...]  # of the SC-VAE encoder, fine to coarse
    cond_channels: int  # of the image encoder
    cond_layers: int
    cond_heads: int
    half: bool  # 16-bit torsos, as published


FULL = Widths(
    flow_channels=1536,
    flow_blocks=30,
    flow_heads=12,
    mlp_ratio=5.3334,
    structure_channels=(512, 128, 32),
    vae_channels=(1024, 512, 256, 128, 64),
    vae_blocks=(4, 16, 8, 4, 0),
    encoder_blocks=(0, 4, 8, 16, 4),
    cond_channels=1024,
    cond_layers=24,
    cond_heads=16,
    half=True,
)
TINY = Widths(
    flow_channels=32,
    flow_blocks=1,
    flow_heads=2,
    mlp_ratio=2.0,
    structure_channels=(16, 16, 16),
    vae_channels=(32, 16, 16, 16, 16),
    vae_blocks=(1, 1, 0, 0, 0),
    encoder_blocks=(0, 0, 0, 1, 1),
    cond_channels=32,
    cond_layers=1,
    cond_heads=2,
    half=False,
)


def model_stems() -> dict[str, str]:
    """Key of a network to the stem of its files, both pipelines together."""
    return dict(_STEMS)


def _flow(widths: Widths, resolution: int, channels: int, out: int) -> dict[str, Any]:
    return {
        "resolution": resolution,
        "in_channels": channels,
        "out_channels": out,
        "model_channels": widths.flow_channels,
        "cond_channels": widths.cond_channels,
        "num_blocks": widths.flow_blocks,
        "num_heads": widths.flow_heads,
        "mlp_ratio": widths.mlp_ratio,
        "pe_mode": "rope",
        "share_mod": True,
        "initialization": "scaled",
        "qk_rms_norm": True,
        "qk_rms_norm_cross": True,
        "dtype": "bfloat16" if widths.half else "float32",
    }


def _vae(widths: Widths, decoder: bool) -> dict[str, Any]:
    channels = list(widths.vae_channels if decoder else reversed(widths.vae_channels))
    levels = len(channels)
    resample = ("up_block_type", "SparseResBlockC2S3d") if decoder else ("down_block_type", "SparseResBlockS2C3d")
    return {
        "model_channels": channels,
        "latent_channels": 32,
        "num_blocks": list(widths.vae_blocks if decoder else widths.encoder_blocks),
        "block_type": ["SparseConvNeXtBlock3d"] * levels,
        resample[0]: [resample[1]] * (levels - 1),
        "block_args": [{} for _ in range(levels)],
        "use_fp16": widths.half,
    }


def model_configs(widths: Widths = FULL) -> dict[str, dict[str, Any]]:
    """Content of the JSON file of every network, by key."""
    return {
        "sparse_structure_flow_model": {"name": "SparseStructureFlowModel", "args": _flow(widths, 16, 8, 8)},
        "sparse_structure_decoder": {
            "name": "SparseStructureDecoder",
            "args": {
                "out_channels": 1,
                "latent_channels": 8,
                "num_res_blocks": 2,
                "num_res_blocks_middle": 2,
                "channels": list(widths.structure_channels),
                "use_fp16": widths.half,
            },
        },
        "shape_slat_flow_model_512": {"name": "SLatFlowModel", "args": _flow(widths, 32, 32, 32)},
        "shape_slat_flow_model_1024": {"name": "SLatFlowModel", "args": _flow(widths, 64, 32, 32)},
        "shape_slat_decoder": {
            "name": "FlexiDualGridVaeDecoder",
            "args": {"resolution": 256, **_vae(widths, decoder=True)},
        },
        "tex_slat_flow_model_512": {"name": "SLatFlowModel", "args": _flow(widths, 32, 64, 32)},
        "tex_slat_flow_model_1024": {"name": "SLatFlowModel", "args": _flow(widths, 64, 64, 32)},
        "tex_slat_decoder": {
            "name": "SparseUnetVaeDecoder",
            "args": {"out_channels": 6, **_vae(widths, decoder=True), "pred_subdiv": False},
        },
        "shape_slat_encoder": {"name": "FlexiDualGridVaeEncoder", "args": _vae(widths, decoder=False)},
    }


def dinov3_config(widths: Widths = FULL) -> dict[str, Any]:
    """`config.json` of the image encoder."""
    return {
        "architectures": ["DINOv3ViTModel"],
        "model_type": "dinov3_vit",
        "patch_size": 16,
        "hidden_size": widths.cond_channels,
        "intermediate_size": 4 * widths.cond_channels,
        "num_hidden_layers": widths.cond_layers,
        "num_attention_heads": widths.cond_heads,
        "num_register_tokens": 4,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "rope_theta": 100.0,
        "image_size": 224,
        "num_channels": 3,
        "query_bias": True,
        "key_bias": False,
        "value_bias": True,
        "proj_bias": True,
        "mlp_bias": True,
        "use_gated_mlp": False,
    }


def _sampler(strength: float, rescale: float, high: float, rescale_t: float) -> dict[str, Any]:
    return {
        "name": "FlowEulerGuidanceIntervalSampler",
        "args": {"sigma_min": 1e-5},
        "params": {
            "steps": 12,
            "guidance_strength": strength,
            "guidance_rescale": rescale,
            "guidance_interval": [0.6, high],
            "rescale_t": rescale_t,
        },
    }


def _helpers(rembg: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "shape_slat_normalization": {"mean": list(_SHAPE_MEAN), "std": list(_SHAPE_STD)},
        "tex_slat_normalization": {"mean": list(_TEX_MEAN), "std": list(_TEX_STD)},
        "image_cond_model": {"name": "DinoV3FeatureExtractor", "args": {"model_name": DINOV3_REPOSITORY}},
        "rembg_model": dict(rembg),
    }


PUBLISHED_REMBG: Mapping[str, Any] = {"name": "BiRefNet", "args": {"model_name": "briaai/RMBG-2.0"}}


def pipeline_json(rembg: Mapping[str, Any] = PUBLISHED_REMBG) -> dict[str, Any]:
    """Content of `pipeline.json`."""
    return {
        "name": "Trellis2ImageTo3DPipeline",
        "args": {
            "models": {key: stem for key, stem in _STEMS.items() if key != "shape_slat_encoder"},
            "sparse_structure_sampler": _sampler(7.5, 0.7, 1.0, 5.0),
            "shape_slat_sampler": _sampler(7.5, 0.5, 1.0, 3.0),
            "tex_slat_sampler": _sampler(1.0, 0.0, 0.9, 3.0),
            **_helpers(rembg),
            "default_pipeline_type": "1024_cascade",
        },
    }


def texturing_json(rembg: Mapping[str, Any] = PUBLISHED_REMBG) -> dict[str, Any]:
    """Content of `texturing_pipeline.json`."""
    return {
        "name": "Trellis2TexturingPipeline",
        "args": {
            "models": {key: _STEMS[key] for key in _TEXTURING},
            "tex_slat_sampler": _sampler(1.0, 0.0, 0.9, 3.0),
            **_helpers(rembg),
        },
    }
