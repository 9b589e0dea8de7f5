"""Rotary position embedding for integer 3-D positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...ops.fused_rope import rotate_pairs

__all__ = ["RotaryPositionEmbedder", "rope_angles"]


def rope_angles(positions: Tensor, head_dim: int, rope_freq: tuple[float, float] = (1.0, 10000.0)) -> Tensor:
    """Rotation angles [..., head_dim / 2] float32 of positions [..., d].

    Per axis F = ⌊head_dim / 2 / d⌋ angles p·f0 / f1^(j/F), axes one after another; left-over pairs get angle zero.
    """
    dim = positions.shape[-1]
    num_freqs = head_dim // 2 // dim
    steps = torch.arange(num_freqs, dtype=torch.float32, device="cpu")
    theta = (rope_freq[0] / (rope_freq[1] ** (steps / max(1, num_freqs)))).to(positions.device)  # same on every device
    angles = (positions[..., None].float() * theta).flatten(-2)  # [..., d, F] -> [..., d·F]
    return nn.functional.pad(angles, (0, head_dim // 2 - angles.shape[-1]))


class RotaryPositionEmbedder(nn.Module):
    """Unit complex phases of positions [..., dim], and their application to interleaved channel pairs."""

    def __init__(self, head_dim: int, dim: int = 3, rope_freq: tuple[float, float] = (1.0, 10000.0)) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"head_dim must be even, got {head_dim}")
        self.head_dim = head_dim
        self.dim = dim
        self.rope_freq = (float(rope_freq[0]), float(rope_freq[1]))

    def forward(self, positions: Tensor) -> Tensor:
        """[..., dim] -> complex64 [..., head_dim / 2] of modulus 1."""
        if positions.shape[-1] != self.dim:
            raise ValueError(f"positions must be [..., {self.dim}], got {tuple(positions.shape)}")
        angles = rope_angles(positions, self.head_dim, self.rope_freq)
        return torch.polar(torch.ones_like(angles), angles)

    @staticmethod
    def apply_rotary_embedding(x: Tensor, phases: Tensor) -> Tensor:
        """Rotate pairs (2m, 2m+1) of x [..., L, H, D] by phases [..., L, D/2]; float32 maths, type of x out."""
        return rotate_pairs(x, phases)
