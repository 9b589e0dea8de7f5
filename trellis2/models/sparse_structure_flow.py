"""Dense flow transformer over the sparse-structure latent grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..modules.attention import ConditionCache, RotaryPositionEmbedder
from ..modules.norm import layer_norm_32
from ..modules.transformer import AbsolutePositionEmbedder, ModulatedTransformerCrossBlock
from ..modules.utils import manual_cast
from .configurable import configurable
from .flow_common import FlowTransformer

__all__ = ["SparseStructureFlowModel"]


@configurable
class SparseStructureFlowModel(FlowTransformer):
    """Velocity of a latent grid [N, in_channels, R, R, R] at time t under an image condition.

    Positions (`rope_phases`, or `pos_emb` for ape) are recomputed, not stored; files that hold them still load.
    """

    LINEAR = nn.Linear
    BLOCK = ModulatedTransformerCrossBlock

    def add_positions(self) -> None:
        axis = torch.arange(self.resolution)
        positions = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
        if self.pe_mode == "rope":
            phases = RotaryPositionEmbedder(self.head_dim, 3, self.rope_freq)(positions)
            self.register_buffer("rope_phases", phases, persistent=False)
        else:
            embedding = AbsolutePositionEmbedder(self.model_channels)(positions)
            self.register_buffer("pos_emb", embedding, persistent=False)

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | ConditionCache) -> Tensor:
        """x [N, in_channels, R, R, R], t [N] (1000·t), cond [N, L, cond_channels] -> [N, out_channels, R, R, R].

        cond may be what `prepare_condition` made of it.
        """
        size = (self.in_channels, self.resolution, self.resolution, self.resolution)
        if x.ndim != 5 or tuple(x.shape[1:]) != size:
            raise ValueError(f"x must be [N, {', '.join(map(str, size))}], got {tuple(x.shape)}")
        if isinstance(cond, Tensor) and (cond.ndim != 3 or cond.shape[0] != x.shape[0]):
            raise ValueError(f"cond must be [{x.shape[0]}, L, {self.cond_channels}], got {tuple(cond.shape)}")
        self.check_times(x.shape[0], t)
        contexts = self.contexts(cond, x.shape[0])
        h = self.input_layer(x.flatten(2).transpose(1, 2))  # [N, C, X, Y, Z] -> [N, X·Y·Z, C]
        phases = None
        if self.pe_mode == "ape":
            h = h + self.pos_emb
        else:
            phases = self.rope_phases
        mod = self.time_modulation(t)
        h = manual_cast(h, self.dtype)
        for block, context in zip(self.blocks, contexts):
            h = block(h, mod, context, phases)
        h = self.out_layer(layer_norm_32(h.to(x.dtype)))
        return h.transpose(1, 2).reshape(x.shape[0], self.out_channels, *x.shape[2:])
