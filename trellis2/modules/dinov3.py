"""The DINOv3 vision transformer, and its weights in the layouts in which they are published.

Source: Siméoni et al., DINOv3, 2025; the layout is that of `DINOv3ViTModel` in transformers 4.
Letters: B images, P patches (rows h, columns w), L tokens = 1 + registers + P, C channels, H heads, D head dim.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.attention import attention

__all__ = ["DinoV3", "DinoV3Config", "dinov3_config_from_weights", "to_dinov3_keys"]


@dataclass(frozen=True)
class DinoV3Config:
    """Sizes; the names and defaults are those of `config.json`."""

    hidden_size: int = 384
    intermediate_size: int = 1536
    num_hidden_layers: int = 12
    num_attention_heads: int = 6
    num_register_tokens: int = 0
    patch_size: int = 16
    num_channels: int = 3
    layer_norm_eps: float = 1e-5
    rope_theta: float = 100.0
    use_gated_mlp: bool = False

    def __post_init__(self) -> None:
        if self.hidden_size % (4 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size must be divisible by 4 times num_attention_heads, got {self.hidden_size} and "
                f"{self.num_attention_heads}"
            )
        if self.use_gated_mlp:
            raise ValueError("use_gated_mlp is not supported; use a DINOv3 model with a plain MLP")

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DinoV3Config:
        """Read `config.json` (what is no size is passed over; newer files keep rope_theta under rope_parameters)."""
        values = {f.name: content[f.name] for f in fields(cls) if content.get(f.name) is not None}
        rope = content.get("rope_parameters")
        if isinstance(rope, Mapping) and "rope_theta" in rope:
            values["rope_theta"] = rope["rope_theta"]
        return cls(**values)


class _Embeddings(nn.Module):
    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        width, patch = config.hidden_size, config.patch_size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.register_tokens = nn.Parameter(torch.zeros(1, config.num_register_tokens, width))
        self.patch_embeddings = nn.Conv2d(config.num_channels, width, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, L, C]."""
        patches = self.patch_embeddings(images).flatten(2).transpose(1, 2)  # [B, C, h, w] -> [B, P, C]
        batch = images.shape[0]
        return torch.cat([self.cls_token.expand(batch, -1, -1), self.register_tokens.expand(batch, -1, -1), patches], 1)


class _Attention(nn.Module):
    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads = (self.num_heads, x.shape[-1] // self.num_heads)
        q, k, v = (layer(x).unflatten(-1, heads) for layer in (self.q_proj, self.k_proj, self.v_proj))
        return self.o_proj(attention(_rotate(q, cos, sin), _rotate(k, cos, sin), v).flatten(-2))


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.lambda1


class _Mlp(nn.Module):
    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.gelu(self.up_proj(x)))


class _Layer(nn.Module):
    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.attention = _Attention(config)
        self.layer_scale1 = _Scale(config.hidden_size)
        self.norm2 = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = _Mlp(config)
        self.layer_scale2 = _Scale(config.hidden_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.layer_scale1(self.attention(self.norm1(x), cos, sin))
        return x + self.layer_scale2(self.mlp(self.norm2(x)))


class DinoV3(nn.Module):
    """Images [B, 3, H, W], normalised, to tokens [B, L, C] before the final norm: class, registers, patches by rows."""

    def __init__(self, config: DinoV3Config) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config)
        self.layer = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)  # part of the files, not of the tokens

    def forward(self, images: Tensor) -> Tensor:
        patch = self.config.patch_size
        if images.ndim != 4 or images.shape[2] % patch or images.shape[3] % patch:
            raise ValueError(f"images must be [B, 3, H, W] with sides divisible by {patch}, got {tuple(images.shape)}")
        x = self.embeddings(images)
        cos, sin = _rotations(self.config, images.shape[2] // patch, images.shape[3] // patch, x)
        for layer in self.layer:
            x = layer(x, cos, sin)
        return x


def _rotations(config: DinoV3Config, rows: int, columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [L, 1, D] of all tokens; class token and registers are not turned.

    Patch centres in -1…1 along rows and columns; D/4 frequencies each, laid out [rows, columns] twice.
    """
    quarter = config.hidden_size // config.num_attention_heads // 4
    exponents = torch.arange(quarter, dtype=torch.float32, device=like.device) / quarter
    frequencies = config.rope_theta**-exponents
    centres = [2 * (torch.arange(n, dtype=torch.float32, device=like.device) + 0.5) / n - 1 for n in (rows, columns)]
    grid = torch.stack(torch.meshgrid(*centres, indexing="ij"), dim=-1).reshape(-1, 2, 1)  # [P, 2, 1]
    angles = (2 * math.pi * grid * frequencies).flatten(1).repeat(1, 2)  # [P, 2, D/4] -> [P, D]
    angles = F.pad(angles, (0, 0, 1 + config.num_register_tokens, 0))
    return angles.cos().to(like.dtype)[:, None], angles.sin().to(like.dtype)[:, None]


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (i, i + D/2) of x [B, L, H, D]."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


_TIMM = (
    (r"^reg_token$|^storage_tokens$", "embeddings.register_tokens"),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^mask_token$", "embeddings.mask_token"),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"^fc_norm\.", "norm."),
    (r"^blocks\.", "layer."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.gamma_1$|\.ls1\.gamma$", ".layer_scale1.lambda1"),
    (r"\.gamma_2$|\.ls2\.gamma$", ".layer_scale2.lambda1"),
    (r"\.mlp\.fc1\.", ".mlp.up_proj."),
    (r"\.mlp\.fc2\.", ".mlp.down_proj."),
    (r"\.attn\.q_bias$", ".attention.q_proj.bias"),
    (r"\.attn\.v_bias$", ".attention.v_proj.bias"),
)


def to_dinov3_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the keys of `DinoV3`, from any of the layouts they come in.

    Known: `DINOv3ViTModel` of transformers 4 and 5, timm (with and without biases of q and v, which are then zero) and
    the original one. What a layout leaves out and the tokens do not need (mask token, final norm) is filled in.
    """
    out: dict[str, Tensor] = {}
    for name, value in state.items():
        key = name.removeprefix("model.")
        if "rope" in key or key.endswith((".bias_mask", ".inv_freq", ".k_bias")):
            continue
        for pattern, replacement in _TIMM:
            key = re.sub(pattern, replacement, key)
        if ".attn.qkv." in key:
            kind = key.rsplit(".", 1)[1]
            for part, rows in zip("qkv", value.chunk(3)):
                if (part, kind) != ("k", "bias"):
                    out[key.replace(f".attn.qkv.{kind}", f".attention.{part}_proj.{kind}")] = rows
            continue
        out[key] = value
    for key in [key for key in out if key.endswith((".q_proj.weight", ".v_proj.weight"))]:
        bias = key.replace(".weight", ".bias")
        if bias not in out:
            out[bias] = out[key].new_zeros(out[key].shape[0])
    cls = out.get("embeddings.cls_token")
    if cls is not None:
        out.setdefault("embeddings.mask_token", torch.zeros_like(cls))
        out["embeddings.mask_token"] = out["embeddings.mask_token"].reshape(cls.shape)
        out.setdefault("norm.weight", cls.new_ones(cls.shape[-1]))
        out.setdefault("norm.bias", cls.new_zeros(cls.shape[-1]))
    return out


def dinov3_config_from_weights(state: Mapping[str, Tensor], head_dim: int = 64) -> DinoV3Config:
    """The sizes that weights (under the keys of `DinoV3`) have; every published model has heads of 64 channels.

    Raises ValueError if the weights are not those of a DINOv3 transformer with a plain MLP.
    """
    try:
        patch = state["embeddings.patch_embeddings.weight"]
        width = patch.shape[0]
        layers = {int(match.group(1)) for key in state if (match := re.match(r"layer\.(\d+)\.", key))}
        return DinoV3Config(
            hidden_size=width,
            intermediate_size=state["layer.0.mlp.up_proj.weight"].shape[0],
            num_hidden_layers=max(layers) + 1,
            num_attention_heads=max(1, width // head_dim),
            num_register_tokens=state["embeddings.register_tokens"].shape[1],
            patch_size=patch.shape[-1],
            num_channels=patch.shape[1],
        )
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(f"these are not the weights of a DINOv3 transformer with a plain MLP: {error}") from None
