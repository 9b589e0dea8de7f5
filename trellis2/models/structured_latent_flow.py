"""Sparse flow transformer over structured latents (shape and texture)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..modules import sparse as sp
from ..modules.attention import ConditionCache
from ..modules.elastic import SparseTransformerElasticMixin
from ..modules.norm import layer_norm_32
from ..modules.sparse.transformer import ModulatedSparseTransformerCrossBlock
from ..modules.transformer import AbsolutePositionEmbedder
from ..modules.utils import manual_cast
from .configurable import configurable
from .flow_common import FlowTransformer

__all__ = ["ElasticSLatFlowModel", "SLatFlowModel"]


def _ragged(cond: Any) -> Any:
    """A list of samples as a ragged container; anything else as it is."""
    return sp.VarLenTensor.from_tensor_list(cond) if isinstance(cond, (list, tuple)) else cond


@configurable
class SLatFlowModel(FlowTransformer):
    """Velocity of a sparse latent at time t under an image condition and, optionally, another latent."""

    LINEAR = sp.SparseLinear
    BLOCK = ModulatedSparseTransformerCrossBlock

    def add_positions(self) -> None:
        if self.pe_mode == "ape":
            self.pos_embedder = AbsolutePositionEmbedder(self.model_channels)

    def prepare_condition(self, cond: Any) -> ConditionCache:
        return super().prepare_condition(_ragged(cond))

    def forward(
        self,
        x: sp.SparseTensor,
        t: Tensor,
        cond: Tensor | sp.VarLenTensor | Sequence[Tensor] | ConditionCache,
        concat_cond: sp.SparseTensor | None = None,
        **ignored: Any,
    ) -> sp.SparseTensor:
        """x feats [T, C]; t [N] (1000·t); cond [N, L, cond_channels], or a list of [L_i, cond_channels], or
        what `prepare_condition` made of it.

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
        self.check_times(len(x), t)
        contexts = self.contexts(_ragged(cond), len(x))
        h = manual_cast(self.input_layer(inputs), self.dtype)
        mod = self.time_modulation(t)
        if self.pe_mode == "ape":
            h = h + manual_cast(self.pos_embedder(x.coords[:, 1:]), self.dtype)
        for block, context in zip(self.blocks, contexts):
            h = block(h, mod, context)
        feats = layer_norm_32(h.feats.to(x.dtype))
        return x.replace(self.out_layer(h.replace(feats)).feats)


class ElasticSLatFlowModel(SparseTransformerElasticMixin, SLatFlowModel):
    """SLatFlowModel whose activation checkpointing follows a memory controller while training."""
