"""Activation checkpointing of one block, switched by its `use_checkpoint` attribute."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

__all__ = ["run_block"]


def run_block(block: nn.Module, *args: Any) -> Any:
    """Call `block._forward(*args)`, recomputing its activations in the backward pass if `block.use_checkpoint`."""
    forward: Any = block._forward
    if block.use_checkpoint and torch.is_grad_enabled():
        return checkpoint(forward, *args, use_reentrant=False)
    return forward(*args)
