"""The libraries that can do softmax attention, each behind the same two calls: dense and ragged.

Letters: B batch / N samples, L tokens, T ragged tokens, H heads, D head dim.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import backends
from .inference import inference_only
from .ragged_index import RaggedIndex, pad, unpad

__all__ = ["ATTENTION_BACKENDS", "AttentionBackend", "attention_backend", "attention_reference", "installed_backends"]


OP = "attention"
_LONG_SAMPLE = 1000  # rows from which a sample is worth launches of its own
_HALF = (torch.float16, torch.bfloat16)

Dense = Callable[[Tensor, Tensor, Tensor], Tensor]
Ragged = Callable[[Tensor, Tensor, Tensor, RaggedIndex, RaggedIndex], Tensor]


@dataclass(frozen=True)
class AttentionBackend:
    """One way to compute attention; the result has the type of q, the softmax is in float32."""

    name: str
    dense: Dense  # q [B, L, H, D], k and v [B, L', H, D] -> [B, L, H, D]
    ragged: Ragged  # q [T, H, D], k and v [T', H, D] -> [T, H, D]; every sample has rows on both sides


def attention_reference(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √D) v in plain operations; q [B, L, H, D], k and v [B, L', H, D] -> [B, L, H, D].

    key_mask: [B, 1, 1, L'] bool, true for the keys to attend to. Computed in float32, or in float64 if that is given.
    """
    wide = torch.promote_types(q.dtype, torch.float32)
    scores = torch.einsum("blhd,bmhd->bhlm", q.to(wide), k.to(wide)) / q.shape[-1] ** 0.5
    if key_mask is not None:
        scores = scores.masked_fill(~key_mask, float("-inf"))
    return torch.einsum("bhlm,bmhd->blhd", scores.softmax(-1), v.to(wide)).to(q.dtype)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, key_mask: Tensor | None = None) -> Tensor:
    # [B, L, H, D] -> [B, H, L, D]
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=key_mask)
    return out.transpose(1, 2)


def _padded(call: Callable[..., Tensor]) -> Ragged:
    """Ragged attention as dense attention of samples padded to the longest, with masked keys."""

    def run(q: Tensor, k: Tensor, v: Tensor, q_index: RaggedIndex, kv_index: RaggedIndex) -> Tensor:
        return unpad(call(pad(q, q_index), pad(k, kv_index), pad(v, kv_index), kv_index.key_mask), q_index)

    return run


def _cudnn_unavailable(device: torch.device) -> str | None:
    if device.type != "cuda" or torch.version.cuda is None:
        return f"cuDNN needs an NVIDIA device, not {device.type}"
    if torch.cuda.get_device_capability(device) < (9, 0):
        return "before Hopper (compute capability 9.0) cuDNN's attention is not the fastest"
    return None if torch.backends.cuda.cudnn_sdp_enabled() else "cuDNN attention is switched off in PyTorch"


def _cudnn_dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    _half_on_cuda("cudnn", q)
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return _sdpa(q, k, v)


def _cudnn_fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    if q.dtype not in _HALF or q.shape[-1] % 8 or q.shape[-1] > 128 or not inference_only(q, k, v):
        return False
    return min(q.shape[-3], k.shape[-3]) > 1  # it has no kernel for a single key


def _cudnn_first_dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    # cuDNN builds a plan for every new shape, which pays when the shape comes back, as it does while sampling.
    if _cudnn_fits(q, k, v):
        return _cudnn_dense(q, k, v)
    return _sdpa(q, k, v)


_padded_sdpa = _padded(_sdpa)


def _flash_varlen(q: Tensor, k: Tensor, v: Tensor, q_index: RaggedIndex, kv_index: RaggedIndex) -> Tensor:
    """PyTorch's own flash attention over offsets: no padding, no loop over samples."""
    args = (q, k, v, q_index.offsets, kv_index.offsets, q_index.longest, kv_index.longest)
    varlen = _public_varlen()
    if varlen is not None:
        return varlen(*args)
    return torch.ops.aten._flash_attention_forward(*args, 0.0, False, False)[0]


@functools.cache
def _public_varlen() -> Callable[..., Any] | None:
    """`varlen_attn`, in PyTorch since 2.10."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


def _flash_fits(q: Tensor, q_index: RaggedIndex, kv_index: RaggedIndex) -> bool:
    return (
        q.device.type == "cuda"
        and torch.version.cuda is not None
        and q.dtype in _HALF
        and q.shape[-1] % 8 == 0
        and q.shape[-1] <= 256
        and not (q_index.has_empty or kv_index.has_empty)
        and torch.cuda.get_device_capability(q.device) >= (8, 0)
    )


def _sdpa_ragged(q: Tensor, k: Tensor, v: Tensor, q_index: RaggedIndex, kv_index: RaggedIndex) -> Tensor:
    if _flash_fits(q, q_index, kv_index):
        return _flash_varlen(q, k, v, q_index, kv_index)
    return _padded_sdpa(q, k, v, q_index, kv_index)


def _cudnn_ragged(q: Tensor, k: Tensor, v: Tensor, q_index: RaggedIndex, kv_index: RaggedIndex) -> Tensor:
    """Sample by sample: cuDNN is so much faster on long samples that a few launches more do not matter."""
    parts = zip(q.split(q_index.lengths), k.split(kv_index.lengths), v.split(kv_index.lengths))
    return torch.cat([_cudnn_dense(*(t[None] for t in part))[0] for part in parts])


def _cudnn_first_ragged(q: Tensor, k: Tensor, v: Tensor, q_index: RaggedIndex, kv_index: RaggedIndex) -> Tensor:
    # Measured on an H200: 531 against 315 TFLOP/s for four samples of 1,000 to 4,200 rows.
    if min(*q_index.lengths, *kv_index.lengths) >= _LONG_SAMPLE and _cudnn_fits(q, k, v):
        return _cudnn_ragged(q, k, v, q_index, kv_index)
    return _sdpa_ragged(q, k, v, q_index, kv_index)


def _half_on_cuda(name: str, q: Tensor) -> None:
    if q.device.type != "cuda" or q.dtype not in _HALF:
        raise ValueError(
            f"attention backend {name!r} needs float16 or bfloat16 on a CUDA device, got {q.dtype} on {q.device.type}; "
            "choose 'sdpa' or 'auto'"
        )


def _flash_backend(name: str, module: Any) -> AttentionBackend:
    """flash-attn 2 and 3 share their calls; version 3 returned (out, lse) in its first releases."""

    def first(out: Any) -> Tensor:
        return out[0] if isinstance(out, tuple) else out

    def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        _half_on_cuda(name, q)
        return first(module.flash_attn_func(q, k, v))

    def ragged(q: Tensor, k: Tensor, v: Tensor, q_index: RaggedIndex, kv_index: RaggedIndex) -> Tensor:
        _half_on_cuda(name, q)
        return first(
            module.flash_attn_varlen_func(
                q,
                k,
                v,
                q_index.offsets,
                kv_index.offsets,
                q_index.longest,
                kv_index.longest,
            )
        )

    return AttentionBackend(name, dense, ragged)


def _xformers_backend(module: Any) -> AttentionBackend:
    def dense(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return module.memory_efficient_attention(q, k, v)

    def ragged(q: Tensor, k: Tensor, v: Tensor, q_index: RaggedIndex, kv_index: RaggedIndex) -> Tensor:
        mask = module.fmha.BlockDiagonalMask.from_seqlens(list(q_index.lengths), list(kv_index.lengths))
        return module.memory_efficient_attention(q[None], k[None], v[None], mask)[0]

    return AttentionBackend("xformers", dense, ragged)


_BUILT_IN = {
    "sdpa": AttentionBackend("sdpa", _sdpa, _sdpa_ragged),
    "cudnn": AttentionBackend("cudnn", _cudnn_dense, _cudnn_ragged),
    "naive": AttentionBackend("naive", attention_reference, _padded(attention_reference)),
}
_PACKAGES = {  # backend: (module to import, what to install)
    "flash_attn": ("flash_attn", "flash-attn"),
    "flash_attn_3": ("flash_attn_interface", "flash-attn 3 (the hopper folder of the flash-attention project)"),
    "xformers": ("xformers.ops", "xformers"),
}
ATTENTION_BACKENDS = ("auto", *_BUILT_IN, *_PACKAGES)
"""`auto`: cuDNN where it is fastest and no gradient is recorded, else `sdpa`; `sdpa`: PyTorch's own choice; `cudnn`:
PyTorch's cuDNN attention or an error; `naive`: plain operations; the others: the package of that name."""


def _missing(name: str) -> bool:
    return importlib.util.find_spec(_PACKAGES[name][0].partition(".")[0]) is None


def installed_backends() -> list[str]:
    """The names that `attention_backend` accepts here."""
    return ["auto", *_BUILT_IN, *(name for name in _PACKAGES if not _missing(name))]


_AUTO = {
    backends.REFERENCE: _BUILT_IN["naive"],
    "sdpa": _BUILT_IN["sdpa"],
    "cudnn": AttentionBackend("cudnn", _cudnn_first_dense, _cudnn_first_ragged),
}


def attention_backend(name: str, device: torch.device | None = None) -> AttentionBackend:
    """The backend of this name; `auto` is decided by the registry `backends` for the device.

    Raises ValueError for unknown names, ImportError if the package of a backend is not installed.
    """
    if name == "auto":
        return _BUILT_IN["sdpa"] if device is None else _AUTO[backends.selected(OP, device).name]
    return _BUILT_IN[name] if name in _BUILT_IN else _from_package(name)


@functools.cache
def _from_package(name: str) -> AttentionBackend:
    if name not in _PACKAGES:
        raise ValueError(f"unknown attention backend {name!r}, choose from: {', '.join(ATTENTION_BACKENDS)}")
    module_name, package = _PACKAGES[name]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ImportError(
            f"attention backend {name!r} needs the package {package}, which cannot be imported ({error}); "
            f"installed here: {', '.join(installed_backends())}"
        ) from error
    return _xformers_backend(module) if name == "xformers" else _flash_backend(name, module)


def _register() -> None:
    backends.register(OP, backends.REFERENCE, lambda device: None, _AUTO[backends.REFERENCE].dense)
    backends.register(OP, "sdpa", lambda device: None, _AUTO["sdpa"].dense, priority=10)
    backends.register(OP, "cudnn", _cudnn_unavailable, _AUTO["cudnn"].dense, priority=20)


_register()
