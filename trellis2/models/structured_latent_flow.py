"""Sparse flow transformer over structured latents (shape and texture)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..modules import sparse as sp
from ..modules.elastic import SparseTransformerElasticMixin
from ..modules.norm import layer_norm_32
from ..modules.sparse.transformer import ModulatedSparseTransformerCrossBlock
from ..modules.transformer import AbsolutePositionEmbedder
from ..modules.utils import manual_cast
from .configurable import configurable
from .flow_common import FlowTransformer

__all__ = ["ElasticSLatFlowModel", "SLatFlowModel"]


@configurable
class SLatFlowModel(FlowTransformer):
    """Velocity of a sparse latent at time t under an image condition and, optionally, another latent."""

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        model_channels: int,
        cond_channels: int,
        out_channels: int,
        num_blocks: int,
        num_heads: int | None = None,
        num_head_channels: int = 64,
        mlp_ratio: float = 4,
        pe_mode: Literal["ape", "rope"] = "ape",
        rope_freq: tuple[float, float] = (1.0, 10000.0),
        dtype: str | torch.dtype = "float32",
        use_checkpoint: bool = False,
        share_mod: bool = False,
        initialization: str = "vanilla",
        qk_rms_norm: bool = False,
        qk_rms_norm_cross: bool = False,
    ) -> None:
        super().__init__(
            resolution,
            in_channels,
            model_channels,
            cond_channels,
            out_channels,
            num_blocks,
            num_heads,
            num_head_channels,
            mlp_ratio,
            pe_mode,
            rope_freq,
            use_checkpoint,
            share_mod,
            initialization,
            qk_rms_norm,
            qk_rms_norm_cross,
        )
        if pe_mode == "ape":
            self.pos_embedder = AbsolutePositionEmbedder(model_channels)
        self.input_layer = sp.SparseLinear(in_channels, model_channels)
        self.blocks = nn.ModuleList(
            ModulatedSparseTransformerCrossBlock(
                model_channels,
                cond_channels,
                num_heads=self.num_heads,
                mlp_ratio=mlp_ratio,
                use_checkpoint=use_checkpoint,
                use_rope=pe_mode == "rope",
                rope_freq=self.rope_freq,
                qk_rms_norm=qk_rms_norm,
                qk_rms_norm_cross=qk_rms_norm_cross,
                share_mod=share_mod,
            )
            for _ in range(num_blocks)
        )
        self.out_layer = sp.SparseLinear(model_channels, out_channels)
        self.initialize_weights()
        self.convert_to(dtype)

    def forward(
        self,
        x: sp.SparseTensor,
        t: Tensor,
        cond: Tensor | sp.VarLenTensor | Sequence[Tensor],
        concat_cond: sp.SparseTensor | None = None,
        **ignored: Any,
    ) -> sp.SparseTensor:
        """x feats [T, C]; t [N] (1000·t); cond [N, L, cond_channels], or a list of [L_i, cond_channels].

        concat_cond is aligned with x by row; its channels follow those of x, and in_channels counts both.
        """
        if concat_cond is not None:
            if concat_cond.feats.shape[0] != x.feats.shape[0]:
                raise ValueError(
                    f"concat_cond must have the {x.feats.shape[0]} rows of x, got {concat_cond.feats.shape[0]}"
                )
            inputs = sp.sparse_cat([x, concat_cond], dim=-1)
        else:
            inputs = x
        if inputs.feats.shape[1] != self.in_channels:
            raise ValueError(f"x with concat_cond must have {self.in_channels} channels, got {inputs.feats.shape[1]}")
        if not isinstance(cond, (Tensor, sp.VarLenTensor)):
            cond = sp.VarLenTensor.from_tensor_list(cond)
        if len(cond) != len(x):
            raise ValueError(f"cond must have {len(x)} samples, got {len(cond)}")
        self.check_inputs(len(x), t, cond.shape[-1])
        h = manual_cast(self.input_layer(inputs), self.dtype)
        mod = self.time_modulation(t)
        cond = manual_cast(cond, self.dtype)
        if self.pe_mode == "ape":
            h = h + manual_cast(self.pos_embedder(x.coords[:, 1:]), self.dtype)
        for block in self.blocks:
            h = block(h, mod, cond)
        feats = layer_norm_32(h.feats.to(x.dtype))
        return x.replace(self.out_layer(h.replace(feats)).feats)


class ElasticSLatFlowModel(SparseTransformerElasticMixin, SLatFlowModel):
    """SLatFlowModel whose activation checkpointing follows a memory controller while training."""
