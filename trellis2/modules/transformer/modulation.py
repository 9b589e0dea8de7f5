"""Adaptive layer-norm modulation of a block: shift, scale and gate for its two gated branches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BlockModulation"]


class BlockModulation(nn.Module):
    """Base of the modulated blocks: owns the block's share of the modulation, in the published key names.

    share_mod=False: `adaLN_modulation` maps the time embedding [N, C] to [N, 6C].
    share_mod=True: the model computes [N, 6C] once and the block adds its own `modulation` [6C] in float32.
    """

    def __init__(self, channels: int, share_mod: bool) -> None:
        super().__init__()
        self.share_mod = share_mod
        if share_mod:
            self.modulation = nn.Parameter(torch.randn(6 * channels) / channels**0.5)

    def _add_modulation_layer(self, channels: int) -> None:
        """Create `adaLN_modulation`, after the other layers so that the state-dict order is the published one."""
        if not self.share_mod:
            self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(channels, 6 * channels))

    def modulation_vector(self, mod: Tensor) -> Tensor:
        """[N, C] (or [N, 6C] if shared) -> [N, 6C]: shift 1, scale 1, gate 1, shift 2, scale 2, gate 2."""
        if self.share_mod:
            return (self.modulation.float() + mod.float()).type(mod.dtype)
        return self.adaLN_modulation(mod)
