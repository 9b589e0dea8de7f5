"""What the dense and the sparse flow transformer share: sizes, time embedding, precision, initialisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..modules.attention.condition import ConditionCache
from ..modules.attention.modules import MultiHeadAttention
from ..modules.embedding import TimestepEmbedder
from ..modules.sparse.attention import SparseMultiHeadAttention
from ..modules.utils import convert_module_to, manual_cast, require_choice, str_to_dtype
from .graphed import GraphedForward, can_graph

__all__ = ["FlowTransformer"]


class FlowTransformer(nn.Module):
    """Base of the flow models, which say what their linear layers, blocks and positions are.

    The torso (linear layers inside `blocks`) is stored in `dtype`; everything else stays float32.
    """

    LINEAR: ClassVar[Any]
    BLOCK: ClassVar[Any]

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
        super().__init__()
        require_choice("pe_mode", pe_mode, ("ape", "rope"))
        require_choice("initialization", initialization, ("vanilla", "scaled", "torch"))
        self.resolution = resolution
        self.in_channels = in_channels
        self.model_channels = model_channels
        self.cond_channels = cond_channels
        self.out_channels = out_channels
        self.num_blocks = num_blocks
        self.num_heads = num_heads if num_heads is not None else model_channels // num_head_channels
        if self.num_heads < 1 or model_channels % self.num_heads:
            raise ValueError(f"model_channels must be divisible by num_heads, got {model_channels}, {self.num_heads}")
        self.head_dim = model_channels // self.num_heads
        self.mlp_ratio = mlp_ratio
        self.pe_mode = pe_mode
        self.rope_freq = (float(rope_freq[0]), float(rope_freq[1]))
        self.use_checkpoint = use_checkpoint
        self.share_mod = share_mod
        self.initialization = initialization
        self.qk_rms_norm = qk_rms_norm
        self.qk_rms_norm_cross = qk_rms_norm_cross
        self.dtype = torch.float32
        self.t_embedder = TimestepEmbedder(model_channels)
        if share_mod:
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(model_channels, 6 * model_channels))
        self.add_positions()
        self.input_layer = self.LINEAR(in_channels, model_channels)
        self.blocks = nn.ModuleList(
            self.BLOCK(
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
        self.out_layer = self.LINEAR(model_channels, out_channels)
        self.initialize_weights()
        self.convert_to(dtype)

    def add_positions(self) -> None:
        """Create what encodes positions outside the blocks, if anything does."""

    @property
    def device(self) -> torch.device:
        """Device of the first parameter."""
        return next(self.parameters()).device

    def convert_to(self, dtype: torch.dtype | str) -> None:
        """Cast the torso."""
        self.dtype = str_to_dtype(dtype)
        self.blocks.apply(lambda m: convert_module_to(m, self.dtype))

    def time_modulation(self, t: Tensor) -> Tensor:
        """Times [N] (1000·t) -> [N, C], or [N, 6C] if the modulation is shared; in the torso's dtype."""
        embedding = self.t_embedder(t)
        if self.share_mod:
            embedding = self.adaLN_modulation(embedding)
        return manual_cast(embedding, self.dtype)

    def prepare_condition(self, cond: Any) -> ConditionCache:
        """A condition for many calls, to be passed as `cond`: its keys and values are computed at the first one.

        cond as in `forward`, of the batch that the calls will have. Use it without gradients, and make a new one when
        the weights, their type or their device have changed.
        """
        return ConditionCache(manual_cast(cond, self.dtype), self.num_blocks, self.dtype)

    def for_sampling(self) -> Callable[..., Any]:
        """A callable like the model, for the calls of one sampling run; small batches are replayed as CUDA graphs."""
        return GraphedForward(self) if can_graph(self) else self

    def contexts(self, cond: Any, num_samples: int) -> Sequence[Any]:
        """What the cross attention of each block gets. Raises ValueError when the condition does not fit."""
        cached = isinstance(cond, ConditionCache)
        rows = cond.cond if cached else cond
        if len(rows) != num_samples:
            raise ValueError(f"cond must have {num_samples} samples, got {len(rows)}")
        if rows.shape[-1] != self.cond_channels:
            raise ValueError(f"cond must have {self.cond_channels} channels, got {rows.shape[-1]}")
        if not cached:
            return [manual_cast(rows, self.dtype)] * self.num_blocks
        if len(cond.layers) != self.num_blocks or cond.dtype != self.dtype:
            raise ValueError(
                f"cond was prepared for {len(cond.layers)} blocks in {cond.dtype}, the model has {self.num_blocks} in "
                f"{self.dtype}; use this model's prepare_condition"
            )
        return cond.layers

    def check_times(self, num_samples: int, t: Tensor) -> None:
        """Raise ValueError when the times do not fit the batch."""
        if t.shape != (num_samples,):
            raise ValueError(f"t must be [{num_samples}], one time per sample, got {tuple(t.shape)}")

    def initialize_weights(self) -> None:
        """`vanilla` Xavier, `scaled` normal by depth and width, or `torch` defaults; outputs start at zero."""
        width, depth = self.model_channels, self.num_blocks
        if self.initialization == "torch":
            return
        for module in self.modules():
            if isinstance(module, nn.Linear):
                if self.initialization == "vanilla":
                    nn.init.xavier_uniform_(module.weight)
                else:
                    nn.init.normal_(module.weight, std=(2.0 / (5.0 * width)) ** 0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.initialization == "scaled":
            std = 1.0 / (5.0 * depth * width) ** 0.5
            for module in self.blocks.modules():
                if isinstance(module, (MultiHeadAttention, SparseMultiHeadAttention)):
                    nn.init.normal_(module.to_out.weight, std=std)
            for block in self.blocks:
                nn.init.normal_(block.mlp.mlp[2].weight, std=std)  # type: ignore[union-attr,index]
            nn.init.normal_(self.input_layer.weight, std=1.0 / self.in_channels**0.5)
        for i in (0, 2):
            nn.init.normal_(self.t_embedder.mlp[i].weight, std=0.02)  # type: ignore[arg-type]
        owners = [self] if self.share_mod else list(self.blocks)
        for owner in owners:
            nn.init.zeros_(owner.adaLN_modulation[-1].weight)  # type: ignore[union-attr,index]
            nn.init.zeros_(owner.adaLN_modulation[-1].bias)  # type: ignore[union-attr,index]
        nn.init.zeros_(self.out_layer.weight)
        nn.init.zeros_(self.out_layer.bias)
