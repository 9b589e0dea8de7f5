"""Measured limits of a GPU, beside which benchmark figures are read."""

from __future__ import annotations

import torch
from measure import milliseconds

__all__ = ["gpu_ceilings"]


def gpu_ceilings(device: torch.device) -> dict[str, float]:
    """fp16 matrix product of random data in TFLOP/s; device copy in TB/s, bytes read and written counted."""
    a = torch.randn(8192, 8192, device=device, dtype=torch.float16)
    product = milliseconds(lambda: a @ a, device)
    source = torch.randn(1 << 30, device=device)
    target = torch.empty_like(source)
    copy = milliseconds(lambda: target.copy_(source), device)
    return {
        "matmul_tflops": 2 * a.shape[0] ** 3 / product / 1e9,
        "copy_tbs": 2 * source.numel() * source.element_size() / copy / 1e9,
    }
