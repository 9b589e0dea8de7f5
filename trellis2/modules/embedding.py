"""Timestep and absolute position embeddings."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["AbsolutePositionEmbedder", "TimestepEmbedder"]


class TimestepEmbedder(nn.Module):
    """Sinusoids of t (cosines first) through a two-layer MLP; callers pass 1000·t."""

    def __init__(self, hidden_size: int, frequency_embedding_size: int = 256) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(frequency_embedding_size, hidden_size), nn.SiLU(), nn.Linear(hidden_size, hidden_size)
        )
        self.frequency_embedding_size = frequency_embedding_size
        self._frequencies = _frequencies(frequency_embedding_size, 10000)  # on the device of the last call

    @staticmethod
    def timestep_embedding(t: Tensor, dim: int, max_period: float = 10000) -> Tensor:
        """[N] -> [N, dim] float32: cos(t·ω_j), then sin(t·ω_j), ω_j = max_period^(−j/half); a zero if dim is odd."""
        return _sinusoids(t, _frequencies(dim, max_period).to(t.device), dim)

    def forward(self, t: Tensor) -> Tensor:
        if self._frequencies.device != t.device:
            self._frequencies = self._frequencies.to(t.device)
        embedding = _sinusoids(t, self._frequencies, self.frequency_embedding_size)
        return self.mlp(embedding.to(next(self.mlp.parameters()).dtype))


def _frequencies(dim: int, max_period: float) -> Tensor:
    """ω_j, [dim / 2] float32, computed on the CPU: a difference of one ulp between devices would grow with t."""
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device="cpu")
    return torch.exp(-math.log(max_period) * steps / half)


def _sinusoids(t: Tensor, frequencies: Tensor, dim: int) -> Tensor:
    angles = t[:, None].float() * frequencies[None]
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return nn.functional.pad(embedding, (0, dim % 2))


class AbsolutePositionEmbedder(nn.Module):
    """Sinusoids of integer positions: per axis all sines, then all cosines; zero padded to `channels`."""

    def __init__(self, channels: int, in_channels: int = 3) -> None:
        super().__init__()
        self.channels = channels
        self.in_channels = in_channels
        self.num_freqs = channels // in_channels // 2
        if self.num_freqs < 1:
            raise ValueError(f"channels must be at least {2 * in_channels}, got {channels}")

    def forward(self, positions: Tensor) -> Tensor:
        """[T, in_channels] -> [T, channels] float32."""
        if positions.shape[-1] != self.in_channels:
            raise ValueError(f"positions must be [T, {self.in_channels}], got {tuple(positions.shape)}")
        steps = torch.arange(self.num_freqs, dtype=torch.float32, device="cpu")
        frequencies = (10000.0 ** (-steps / self.num_freqs)).to(positions.device)  # the same on every device
        angles = positions[..., None].float() * frequencies  # [T, axes, F]
        embedding = torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
        return nn.functional.pad(embedding, (0, self.channels - embedding.shape[-1]))
