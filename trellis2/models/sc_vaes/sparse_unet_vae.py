"""Sparse U-Net shaped encoder and decoder of the sparse-compression VAE (Deep-Compression style).

Letters: T fine rows, M latent rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...modules import sparse as sp
from ...modules.norm import layer_norm_32
from ...modules.sparse.spatial.structure import FineStructure, fine_structure, refine
from ...modules.streaming import block_weights
from ...modules.utils import convert_module_to, manual_cast, zero_module
from ...ops.row_mlp import norm_linear
from ...utils.memory import MemoryBudget
from ..configurable import configurable
from .blocks import SparseConvNeXtBlock3d, SparseResBlockC2S3d, SparseResBlockS2C3d, values_only
from .resample_blocks import SparseResBlock3d, SparseResBlockDownsample3d, SparseResBlockUpsample3d
from .row_chunks import row_chunks

__all__ = ["BLOCKS", "SparseUnetVaeDecoder", "SparseUnetVaeEncoder"]

BLOCKS: dict[str, type[nn.Module]] = {
    "SparseConvNeXtBlock3d": SparseConvNeXtBlock3d,
    "SparseResBlock3d": SparseResBlock3d,
    "SparseResBlockC2S3d": SparseResBlockC2S3d,
    "SparseResBlockDownsample3d": SparseResBlockDownsample3d,
    "SparseResBlockS2C3d": SparseResBlockS2C3d,
    "SparseResBlockUpsample3d": SparseResBlockUpsample3d,
}


def _block_class(name: str) -> type[nn.Module]:
    if name not in BLOCKS:
        raise ValueError(f"unknown block type {name!r}, choose from: {', '.join(BLOCKS)}")
    return BLOCKS[name]


def _check_levels(levels: int, resampling: int, **lists: Sequence[Any]) -> None:
    for name, values in lists.items():
        if len(values) != levels:
            raise ValueError(f"{name} must have {levels} entries, one per width, got {len(values)}")
    if resampling != levels - 1:
        raise ValueError(f"there must be {levels - 1} resampling blocks for {levels} widths, got {resampling}")


class _Torso(nn.Module):
    """What encoder and decoder share: dtype of the torso, initialisation."""

    blocks: nn.ModuleList
    dtype: torch.dtype
    use_fp16: bool

    @property
    def device(self) -> torch.device:
        """Device of the first parameter."""
        return next(self.parameters()).device

    @property
    def downsampling(self) -> int:
        """Factor between the fine grid and the latent grid, 2^(levels − 1)."""
        return 2 ** (len(self.blocks) - 1)

    def convert_to(self, dtype: torch.dtype) -> None:
        """Cast the linear and convolution layers of the torso; the rest stays float32."""
        self.dtype = dtype
        self.use_fp16 = dtype == torch.float16
        self.blocks.apply(lambda m: convert_module_to(m, dtype))

    def convert_to_fp16(self) -> None:
        self.convert_to(torch.float16)

    def convert_to_fp32(self) -> None:
        self.convert_to(torch.float32)

    def initialize_weights(self, zero_last_mlp: bool = True) -> None:
        """Xavier-uniform linear layers with zero bias; convolutions keep theirs.

        The last layer of every ConvNeXt MLP starts at zero, so that the blocks start as the identity. The published
        code means that too but overwrites it; zero_last_mlp=False reproduces what it does.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if zero_last_mlp:
            for module in self.modules():
                if isinstance(module, SparseConvNeXtBlock3d):
                    zero_module(module.mlp[-1])


@configurable
class SparseUnetVaeEncoder(_Torso):
    """Voxel features [T, in_channels] to a latent [M, latent_channels] on a grid 2^(levels−1) times coarser."""

    def __init__(
        self,
        in_channels: int,
        model_channels: list[int],
        latent_channels: int,
        num_blocks: list[int],
        block_type: list[str],
        down_block_type: list[str],
        block_args: list[dict[str, Any]],
        use_fp16: bool = False,
    ) -> None:
        super().__init__()
        levels = len(model_channels)
        _check_levels(levels, len(down_block_type), num_blocks=num_blocks, block_type=block_type, block_args=block_args)
        self.in_channels = in_channels
        self.model_channels = list(model_channels)
        self.latent_channels = latent_channels
        self.num_blocks = list(num_blocks)
        self.input_layer = sp.SparseLinear(in_channels, model_channels[0])
        self.to_latent = sp.SparseLinear(model_channels[-1], 2 * latent_channels)
        self.blocks = nn.ModuleList()
        for i, width in enumerate(model_channels):
            level = nn.ModuleList(_block_class(block_type[i])(width, **block_args[i]) for _ in range(num_blocks[i]))
            if i < levels - 1:
                level.append(_block_class(down_block_type[i])(width, model_channels[i + 1], **block_args[i]))
            self.blocks.append(level)
        self.initialize_weights()
        self.convert_to(torch.float16 if use_fp16 else torch.float32)

    def forward(self, x: sp.SparseTensor, sample_posterior: bool = False, return_raw: bool = False) -> Any:
        """z, or (z, mean [M, latent], logvar [M, latent]) with return_raw; z is the mean unless sampled."""
        h = manual_cast(self.input_layer(x), self.dtype)
        for level in self.blocks:
            for block in level:  # type: ignore[attr-defined]
                h = block(h)
        h = h.type(x.dtype)
        mean, logvar = self.to_latent(h.replace(layer_norm_32(h.feats))).feats.chunk(2, dim=-1)
        z = mean
        if sample_posterior:
            z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        latent = h.replace(z)
        return (latent, mean, logvar) if return_raw else latent


def _without_cache(x: sp.SparseTensor) -> sp.SparseTensor:
    """x without the neighbour maps of its grid, unless they belong to a structure that an encoder recorded."""
    recorded = ("channel2spatial_2", "spatial2channel_2")
    if any(x.get_spatial_cache(key) is not None for key in recorded):
        return x
    out = x.replace(x.feats, x.coords)
    layout = x.get_spatial_cache("layout")
    if layout is not None:
        out.register_spatial_cache("layout", layout)
    return out


@configurable
class SparseUnetVaeDecoder(_Torso):
    """Latent [M, latent_channels] to voxel features [T, out_channels], growing the structure level by level.

    Children come from the cached structure of an encoder, else from the decoder's own prediction (pred_subdiv) or
    from `guide_subs`, the logits of another decoder.
    memory_budget: bytes that decoding may allocate beyond what is allocated when it starts, its result included; None
    (default) for all that is free. Levels that would pass it are up-sampled in tiles.
    """

    def __init__(
        self,
        out_channels: int,
        model_channels: list[int],
        latent_channels: int,
        num_blocks: list[int],
        block_type: list[str],
        up_block_type: list[str],
        block_args: list[dict[str, Any]],
        use_fp16: bool = False,
        pred_subdiv: bool = True,
    ) -> None:
        super().__init__()
        levels = len(model_channels)
        _check_levels(levels, len(up_block_type), num_blocks=num_blocks, block_type=block_type, block_args=block_args)
        self.out_channels = out_channels
        self.model_channels = list(model_channels)
        self.latent_channels = latent_channels
        self.num_blocks = list(num_blocks)
        self.pred_subdiv = pred_subdiv
        self.low_vram = False  # published and never read; memory_budget does what its name says
        self.memory_budget: int | None = None
        self.output_layer = sp.SparseLinear(model_channels[-1], out_channels)
        self.from_latent = sp.SparseLinear(latent_channels, model_channels[0])
        self.blocks = nn.ModuleList()
        for i, width in enumerate(model_channels):
            level = nn.ModuleList(_block_class(block_type[i])(width, **block_args[i]) for _ in range(num_blocks[i]))
            if i < levels - 1:
                up = _block_class(up_block_type[i])
                level.append(up(width, model_channels[i + 1], pred_subdiv=pred_subdiv, **block_args[i]))
            self.blocks.append(level)
        self.initialize_weights()
        self.convert_to(torch.float16 if use_fp16 else torch.float32)

    def _check_latent(self, x: sp.SparseTensor) -> None:
        if x.feats.ndim != 2 or x.feats.shape[1] != self.latent_channels:
            raise ValueError(f"x must have feats [M, {self.latent_channels}], got {tuple(x.feats.shape)}")

    def decode(
        self,
        x: sp.SparseTensor,
        guide_subs: Sequence[sp.SparseTensor] | None = None,
        return_subs: bool = False,
    ) -> Any:
        """See `forward`; subclasses with a head of their own call this for the raw features."""
        self._check_latent(x)
        if guide_subs is not None:
            if self.pred_subdiv:
                raise ValueError("guide_subs needs a decoder with pred_subdiv=False")
            if len(guide_subs) != len(self.blocks) - 1:
                raise ValueError(f"guide_subs must have {len(self.blocks) - 1} entries, got {len(guide_subs)}")
        if return_subs and not self.pred_subdiv:
            raise ValueError("return_subs needs a decoder with pred_subdiv=True")
        bounded: dict[str, Any] = {}
        if values_only(x):
            bounded["budget"] = MemoryBudget(self.memory_budget, x.device)
        h = manual_cast(self.from_latent(x), self.dtype)
        subs: list[sp.SparseTensor] = []
        subs_gt: list[sp.SparseTensor] = []
        finished = False
        structures = self._guided_structures(h, guide_subs) if bounded else {}
        for i, level in enumerate(self.blocks):
            blocks: list[nn.Module] = list(level.children())
            last = i == len(self.blocks) - 1
            for block in blocks if last else blocks[:-1]:
                h = block(h)
            if last:
                break
            if self.pred_subdiv and self.training:
                subs_gt.append(self._recorded_subdivision(h))
            arguments: dict[str, Any] = {}
            if bounded and isinstance(blocks[-1], SparseResBlockC2S3d):
                arguments = {**bounded, "structure": structures.pop(i, None)}
                if i == len(self.blocks) - 2 and len(self.blocks[-1]) == 0:  # type: ignore[arg-type]
                    arguments["finish"] = partial(self._head, dtype=x.dtype)
                    finished = True
            if self.pred_subdiv:
                h, logits = blocks[-1](h, **arguments)
                subs.append(_without_cache(logits) if bounded else logits)
            else:
                h = blocks[-1](h, subdiv=guide_subs[i] if guide_subs is not None else None, **arguments)
        out = h if finished else h.replace(self._head(h.feats, x.dtype))
        if bounded:
            out = _without_cache(out)
        if self.training and self.pred_subdiv:
            return out, subs_gt, subs
        return (out, subs) if return_subs else out

    def _guided_structures(
        self, h: sp.SparseTensor, guide_subs: Sequence[sp.SparseTensor] | None
    ) -> dict[int, FineStructure]:
        """Children of every level that guides name, found before the features are computed.

        Their counts must be known on the host: asked for here, the device does not run dry between levels. Not where
        memory is bounded, nor beyond a guide that does not fit, which the block then reports.
        """
        structures: dict[int, FineStructure] = {}
        if guide_subs is None or self.memory_budget is not None or h.get_spatial_cache("channel2spatial_2") is not None:
            return structures
        coords = h.coords
        for i, guide in enumerate(guide_subs):
            if guide.feats.shape != (coords.shape[0], 8):
                break
            structures[i] = refine(coords, guide.feats > 0, 2)
            coords = structures[i].coords
        return structures

    def _head(self, feats: Tensor, dtype: torch.dtype) -> Tensor:
        """Torso output [T, C] -> raw features [T, out_channels] in `dtype`."""
        return norm_linear(feats, self.output_layer.weight, self.output_layer.bias, dtype=dtype)

    @staticmethod
    def _recorded_subdivision(h: sp.SparseTensor) -> sp.SparseTensor:
        recorded = h.get_spatial_cache("subdivision")
        if recorded is None:
            raise ValueError(
                "training needs the subdivision that an encoder in training mode records: "
                "pass its output with its spatial cache"
            )
        return h.replace(recorded)

    def forward(
        self,
        x: sp.SparseTensor,
        guide_subs: Sequence[sp.SparseTensor] | None = None,
        return_subs: bool = False,
    ) -> Any:
        """out [T, out_channels].

        Training with pred_subdiv: (out, subs_gt, subs), coarsest first, subs_gt bool [M_i, 8], subs logits [M_i, 8].
        Otherwise (out, subs) with return_subs, else out. guide_subs[i] [M_i, 8] are logits aligned by row with
        the tensor at level i. Raises ValueError when guides do not fit the decoder or the structure is unknown.
        """
        return self.decode(x, guide_subs, return_subs)

    @torch.no_grad()
    def upsample(self, x: sp.SparseTensor, upsample_times: int) -> Tensor:
        """Coordinates [T, 4] int32 after `upsample_times` doublings (0: those of x), features not computed last.

        Raises ValueError outside 0 … levels − 1, and for decoders that predict no subdivision.
        """
        self._check_latent(x)
        if not 0 <= upsample_times <= len(self.blocks) - 1:
            raise ValueError(f"upsample_times must be in [0, {len(self.blocks) - 1}], got {upsample_times}")
        if not self.pred_subdiv:
            raise ValueError("upsample needs a decoder with pred_subdiv=True")
        h = manual_cast(self.from_latent(x), self.dtype)
        for i in range(upsample_times):
            level = list(self.blocks[i])  # type: ignore[call-overload]
            for block in level[:-1]:
                h = block(h)
            if i < upsample_times - 1:
                h, _ = level[-1](h)
            else:
                return self._child_coords(level[-1], h)
        return h.coords

    @staticmethod
    def _child_coords(up_block: nn.Module, h: sp.SparseTensor) -> Tensor:
        """Only the structure decision of an up-sampling block: its convolutions are not run."""
        with block_weights(up_block):
            logits: sp.SparseTensor = up_block.to_subdiv(h)  # type: ignore[operator]
        if h.get_spatial_cache("channel2spatial_2") is not None:
            return fine_structure(h, None, 2)[0].coords
        parts = row_chunks(len(h.feats), 32)  # eight children of four values each
        return torch.cat([refine(h.coords[rows], logits.feats[rows] > 0, 2).coords for rows in parts] or [h.coords])
