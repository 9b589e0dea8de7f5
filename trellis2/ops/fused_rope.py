"""Root-mean-square norm per head and rotary embedding of queries and keys, in place where nothing needs gradients.

Letters: T tokens, L tokens of one sample, J heads (queries and keys together), D head dim.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from . import backends
from .inference import inference_only
from .triton_support import triton_unavailable

__all__ = ["norm_rope", "norm_rope_reference", "norm_rope_triton", "rms_norm", "rotate_pairs"]

OP = "norm_rope"


def rms_norm(x: Tensor, gamma: Tensor) -> Tensor:
    """x / max(‖x‖₂, 1e-12) · gamma · √D over the last dim of [..., D], float32 maths, type of x out."""
    dim = x.shape[-1]
    # ‖x‖ / √D is the root mean square; the bound on the norm becomes a tiny eps that keeps zero at zero.
    return (F.rms_norm(x.float(), (dim,), eps=_eps(dim)) * gamma.float()).to(x.dtype)


def _eps(dim: int) -> float:
    return 1e-24 / dim


def rotate_pairs(x: Tensor, phases: Tensor) -> Tensor:
    """Rotate pairs (2m, 2m+1) of x [..., L, H, D] by complex phases [..., L, D/2]; float32 maths, type of x out."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * phases.unsqueeze(-2)).flatten(-2).to(x.dtype)


def norm_rope_reference(x: Tensor, gammas: Sequence[Tensor], phases: Tensor | None) -> Tensor:
    """See `norm_rope`."""
    if gammas:
        x = rms_norm(x, torch.cat(list(gammas)))
    if phases is not None:
        x = rotate_pairs(x, phases)
    return x


def norm_rope_triton(x: Tensor, gammas: Sequence[Tensor], phases: Tensor | None) -> Tensor:
    """As the reference, in float32 with one rounding; changes x in place and returns it."""
    from .triton_kernels.norm_rope import launch_norm_rope

    heads, dim = x.shape[-2:]
    if x.stride(-1) != 1 or x.stride(-2) != dim or not _flat_tokens(x):
        x = x.contiguous()
    flat = x.as_strided((x[..., 0, 0].numel(), heads, dim), (x.stride(-3), dim, 1))
    turns = None if phases is None else torch.view_as_real(phases.resolve_conj()).contiguous()
    launch_norm_rope(flat, [g.float().contiguous() for g in gammas], turns, _eps(dim))
    return x


def _flat_tokens(x: Tensor) -> bool:
    """Whether the leading dims of [..., L, J, D] are one run of tokens at a constant stride."""
    step = x.stride(-3)
    for size, stride, inner in zip(x.shape[-4::-1], x.stride()[-4::-1], x.shape[-3:0:-1]):
        step *= inner
        if size != 1 and stride != step:
            return False
    return True


def norm_rope(
    x: Tensor,  # [..., L, J, D]
    gammas: Sequence[Tensor],  # none, one [J, D], or two [J/2, D] (queries, keys)
    phases: Tensor | None,  # [L, D/2] complex64
) -> Tensor:
    """x / max(‖x‖₂, 1e-12) · gamma · √D per head, then pairs (2m, 2m+1) turned by the phase of their token.

    float32 maths, type of x out. Where no gradient is recorded the result may take the place of x, which the caller
    must not need any more; phases are shared by the leading dims.
    """
    run = norm_rope_reference
    if inference_only(x, *gammas):
        run = backends.selected(OP, x.device).run
    return run(x, gammas, phases)


def _register() -> None:
    backends.register(OP, backends.REFERENCE, lambda device: None, norm_rope_reference)
    backends.register(OP, "triton", triton_unavailable, norm_rope_triton, priority=10)


_register()
