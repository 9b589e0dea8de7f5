"""Full-size flow models with random weights, and inputs of the published sizes, for benchmarks.

Letters: T tokens, L conditioning tokens, R cells a side.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trellis2.models import build_model
from trellis2.modules.sparse import SparseTensor

__all__ = [
    "COND_TOKENS",
    "CONFIGS",
    "forward_bytes",
    "forward_flops",
    "random_model",
    "shell_latent",
    "structure_latent",
]

REPO = Path(__file__).resolve().parent.parent
CONFIGS = {
    "structure": "ss_flow_img_dit_1_3B_64_bf16",
    "shape": "slat_flow_img2shape_dit_1_3B_512_bf16_ft1024",
    "texture": "slat_flow_imgshape2tex_dit_1_3B_512_bf16_ft1024",
}
COND_TOKENS = {512: 1029, 1024: 4101}
"""Tokens of the image encoder by image size: one class token, four registers, and patches of 16²."""


def random_model(kind: str, device: torch.device, dtype: str = "bfloat16", blocks: int | None = None) -> nn.Module:
    """A published architecture (`structure`, `shape`, `texture`) with random weights of about unit gain."""
    path = REPO / "configs" / "gen" / f"{CONFIGS[kind]}.json"
    config = json.loads(path.read_text(encoding="utf-8"))["models"]["denoiser"]
    name, args = config["name"].removeprefix("Elastic"), dict(config["args"])
    if blocks is not None:
        args["num_blocks"] = blocks
    with torch.device(device):
        torch.manual_seed(0)
        model = build_model(name, {**args, "initialization": "torch", "dtype": dtype})
        for key, parameter in model.named_parameters():
            if key.endswith("gamma"):
                parameter.data.uniform_(0.8, 1.2)
    return model.eval().requires_grad_(False)


def shell_latent(tokens: int, channels: int, resolution: int, device: torch.device, seed: int = 0) -> SparseTensor:
    """`tokens` cells nearest to a sphere in an R³ grid, lexicographic order, with Gaussian features."""
    axis = torch.arange(resolution)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    distance = ((grid.float() - (resolution - 1) / 2).norm(dim=1) - 0.4 * resolution).abs()
    cells = grid[distance.argsort(stable=True)[:tokens].sort().values].int()
    if len(cells) < tokens:
        raise ValueError(f"tokens must be at most {resolution**3} for resolution {resolution}, got {tokens}")
    generator = torch.Generator().manual_seed(seed)
    feats = torch.randn(tokens, channels, generator=generator)
    coords = torch.cat([torch.zeros(tokens, 1, dtype=torch.int32), cells], dim=1)
    return SparseTensor(feats.to(device), coords.to(device), torch.Size([1, channels]))


def structure_latent(model: Any, device: torch.device, batch: int = 1, seed: int = 0) -> Tensor:
    """Gaussian grid for the structure model."""
    generator = torch.Generator().manual_seed(seed)
    size = (model.resolution,) * 3
    return torch.randn(batch, model.in_channels, *size, generator=generator).to(device)


def forward_flops(model: Any, tokens: int, cond_tokens: int, cached: bool) -> float:
    """Multiply-adds times two of one forward of one sample: matrix products and attention of the blocks.

    cached: the keys and values of the condition are at hand. Without it their projection is counted.
    """
    width, cond = model.model_channels, model.cond_channels
    hidden = int(width * model.mlp_ratio)
    per_token = width * (3 * width + width + width + width + 2 * hidden)
    attention = 2 * width * tokens * (tokens + cond_tokens)
    keys = 0 if cached else cond_tokens * cond * 2 * width
    return 2.0 * model.num_blocks * (tokens * per_token + attention + keys)


def forward_bytes(model: Any, tokens: int, cond_tokens: int) -> float:
    """Bytes that one forward of one sample moves at least: the blocks' weights, and every operation's rows in and out.

    The keys and values of the condition are at hand. Tiles that are read again are not counted.
    """
    norms, packed, turned, own, cross = 2 + 4 + 4 + 3, 1 + 3, 4, 4 + 2, (2 + 2) + (2 + 2)
    per_token = model.model_channels * (norms + packed + turned + own + cross + 2 + 2 * model.mlp_ratio)
    keys = 2 * cond_tokens * model.model_channels
    weights = sum(p.numel() * p.element_size() for p in model.blocks.parameters())
    return model.num_blocks * (tokens * per_token + keys) * model.dtype.itemsize + weights
