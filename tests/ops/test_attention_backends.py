"""Every backend gives the same attention; names are checked; packages are called as they document it."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from trellis2.modules.attention import MultiHeadAttention
from trellis2.modules.attention import config as dense_config
from trellis2.modules.sparse import config as sparse_config
from trellis2.modules.sparse.attention import SparseMultiHeadAttention
from trellis2.ops import attention_backends as ab
from trellis2.ops import backends
from trellis2.ops.attention import RaggedIndex, attention, attention_reference

CUDA = [pytest.param("cuda", marks=pytest.mark.gpu)]
#: Half precision: the probabilities are rounded before they weigh the values (2^-9 and 2^-12 relative, summed up).
RELATIVE = {torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}
LENGTHS = ([5, 9, 2, 9], [7, 1, 12, 3])


@pytest.fixture
def fresh_config(monkeypatch):
    """The choices of this process, as if nothing had been chosen."""
    monkeypatch.setattr(dense_config, "_state", {})
    monkeypatch.setattr(sparse_config, "_state", {})
    for name in ("ATTN_BACKEND", "SPARSE_ATTN_BACKEND", "ATTN_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def _ragged(device, dtype, heads=2, dim=16, scale=1):
    g = torch.Generator().manual_seed(0)
    lengths = [[n * scale for n in part] for part in LENGTHS]
    rows = [torch.randn(sum(n), heads, dim, generator=g).to(device, dtype) for n in (lengths[0], *[lengths[1]] * 2)]
    return rows, [RaggedIndex.build(n, device) for n in lengths]


def _one_by_one(q, k, v, q_index, kv_index):
    parts = zip(q.split(q_index.lengths), k.split(kv_index.lengths), v.split(kv_index.lengths))
    return torch.cat([attention_reference(*(t[None].double() for t in part))[0] for part in parts])


def _error(got, want):
    return ((got.double() - want).norm() / want.norm()).item()


def _combinations():
    """(backend, type, device) that can compute: cuDNN's attention is for half precision on CUDA."""
    for device in ("cpu", "cuda"):
        for dtype in RELATIVE:
            names = ["auto", "sdpa", "naive"]
            names += ["cudnn"] if device == "cuda" and dtype != torch.float32 else []
            for name in names:
                yield pytest.param(name, dtype, device, marks=pytest.mark.gpu if device == "cuda" else ())


@pytest.mark.parametrize(("name", "dtype", "device"), list(_combinations()))
def test_backends_agree_on_dense_and_ragged(name, dtype, device):
    if name == "cudnn" and torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("cuDNN attention needs Ampere or newer")
    scales = {"cpu": (1,), "cuda": (1, 40)}[device]
    for scale in scales[-1:] if name == "cudnn" else scales:  # cuDNN has no kernel for a single key
        (q, k, v), index = _ragged(device, dtype, scale=scale)
        with torch.no_grad():
            assert _error(attention(q, k, v, *index, backend=name), _one_by_one(q, k, v, *index)) < RELATIVE[dtype]
            dense = [t[: 6 * scale].unflatten(0, (2, 3 * scale)) for t in (q, k, v)]
            want = attention_reference(*(t.double() for t in dense))
            assert _error(attention(*dense, backend=name), want) < RELATIVE[dtype]


@pytest.mark.parametrize("device", CUDA)
@pytest.mark.parametrize("name", ["auto", "sdpa"])
def test_gradients_on_a_gpu_are_those_of_the_formula(name, device):
    (q, k, v), index = _ragged(device, torch.bfloat16, scale=20)
    leaves = [t.requires_grad_() for t in (q, k, v)]
    wide = [t.detach().double().requires_grad_() for t in leaves]
    probe = torch.randn_like(q)
    attention(*leaves, *index, backend=name).backward(probe)
    _one_by_one(*wide, *index).backward(probe.double())
    for got, want in zip(leaves, wide):
        assert _error(got.grad, want.grad) < 2e-2


@pytest.mark.parametrize("device", CUDA)
@torch.no_grad()
def test_automatic_choice_serves_every_shape(device):
    for rows, keys, dim in ((1, 1, 128), (1, 5, 128), (5, 1, 128), (2000, 2000, 136), (7, 9, 20), (1030, 1, 64)):
        g = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(2, n, 3, dim, generator=g).to(device, torch.bfloat16) for n in (rows, keys, keys))
        assert _error(attention(q, k, v), attention_reference(q.double(), k.double(), v.double())) < 8e-3
        index = [RaggedIndex.build([n, 1], device) for n in (2 * rows - 1, 2 * keys - 1)]
        rows_of = [t.flatten(0, 1) for t in (q, k, v)]
        assert _error(attention(*rows_of, *index), _one_by_one(*rows_of, *index)) < 8e-3


def test_unknown_names_are_refused():
    for call in (ab.attention_backend, dense_config.set_backend, sparse_config.set_attn_backend):
        with pytest.raises(ValueError, match="unknown attention backend 'flash', choose from: auto"):
            call("flash")
    with pytest.raises(ValueError, match="unknown attention backend"):
        MultiHeadAttention(8, 2, backend="fast")


@pytest.mark.parametrize("name", ["flash_attn", "flash_attn_3", "xformers"])
def test_a_package_that_is_not_installed_is_named(name, fresh_config, monkeypatch):
    module = ab._PACKAGES[name][0]
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    monkeypatch.setitem(sys.modules, module, None)
    ab._from_package.cache_clear()
    with pytest.raises(ImportError, match=f"attention backend '{name}' needs the package"):
        MultiHeadAttention(8, 2, backend=name)
    monkeypatch.setenv("ATTN_BACKEND", name)
    with pytest.raises(ImportError, match="needs the package"):
        MultiHeadAttention(8, 2)
    with pytest.raises(ImportError, match="needs the package"):
        SparseMultiHeadAttention(8, 2)


def test_environment_and_argument_choose_at_construction(fresh_config, monkeypatch):
    assert MultiHeadAttention(8, 2).backend == SparseMultiHeadAttention(8, 2).backend == "auto"
    dense_config.set_backend("naive")
    assert MultiHeadAttention(8, 2).backend == "naive"
    assert MultiHeadAttention(8, 2, backend="sdpa").backend == "sdpa"
    monkeypatch.setattr(sparse_config, "_state", {})
    monkeypatch.setenv("ATTN_BACKEND", "sdpa")
    assert SparseMultiHeadAttention(8, 2).backend == "sdpa"
    monkeypatch.setattr(sparse_config, "_state", {})
    monkeypatch.setenv("SPARSE_ATTN_BACKEND", "naive")
    assert SparseMultiHeadAttention(8, 2).backend == "naive"


def test_registry_decides_what_auto_is(monkeypatch):
    assert ab.attention_backend("auto", torch.device("cpu")).name == "sdpa"
    backends.disable("attention", "sdpa", "test")
    try:
        assert ab.attention_backend("auto", torch.device("cpu")).name == "naive"
        (q, k, v), index = _ragged("cpu", torch.float32)
        assert _error(attention(q, k, v, *index), _one_by_one(q, k, v, *index)) < 1e-5
    finally:
        backends.enable("attention", "sdpa")


def _fake_flash(calls, with_lse):
    """A module with the documented calls of flash-attn, computed by the reference."""
    module = types.ModuleType("flash")

    def flash_attn_func(q, k, v):
        calls.append("dense")
        out = attention_reference(q, k, v)
        return (out, None) if with_lse else out

    def flash_attn_varlen_func(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k):
        calls.append("varlen")
        assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
        q_lengths, k_lengths = cu_seqlens_q.diff().tolist(), cu_seqlens_k.diff().tolist()
        assert (max_seqlen_q, max_seqlen_k) == (max(q_lengths), max(k_lengths))
        parts = zip(q.split(q_lengths), k.split(k_lengths), v.split(k_lengths))
        out = torch.cat([attention_reference(*(t[None] for t in part))[0] for part in parts])
        return (out, None) if with_lse else out

    module.flash_attn_func, module.flash_attn_varlen_func = flash_attn_func, flash_attn_varlen_func
    return module


@pytest.mark.parametrize(("name", "with_lse"), [("flash_attn", False), ("flash_attn_3", True), ("flash_attn_3", False)])
def test_flash_packages_get_offsets_and_lengths(name, with_lse, monkeypatch):
    calls: list[str] = []
    monkeypatch.setattr(ab, "_half_on_cuda", lambda name, q: None)
    backend = ab._flash_backend(name, _fake_flash(calls, with_lse))
    (q, k, v), index = _ragged("cpu", torch.float32)
    assert _error(backend.ragged(q, k, v, *index), _one_by_one(q, k, v, *index)) < 1e-5
    dense = [t[:6].view(2, 3, 2, 16) for t in (q, k, v)]
    assert _error(backend.dense(*dense), attention_reference(*dense).double()) < 1e-6
    assert calls == ["varlen", "dense"]


@pytest.mark.parametrize(
    ("dtype", "device"),
    [(torch.float32, "cpu"), (torch.bfloat16, "cpu"), pytest.param(torch.float32, "cuda", marks=pytest.mark.gpu)],
)
def test_cudnn_refuses_what_it_cannot_do(dtype, device):
    (q, k, v), index = _ragged(device, dtype)
    message = f"'cudnn' needs float16 or bfloat16 on a CUDA device, got {dtype} on {device}"
    for args in ((q, k, v, *index), (q[None], k[None], v[None])):
        with pytest.raises(ValueError, match=message):
            attention(*args, backend="cudnn")


def test_flash_packages_refuse_what_they_cannot_do():
    backend = ab._flash_backend("flash_attn", _fake_flash([], False))
    with pytest.raises(ValueError, match=r"needs float16 or bfloat16 on a CUDA device, got torch.float32 on cpu"):
        backend.dense(*[torch.zeros(1, 2, 2, 8)] * 3)


def test_xformers_gets_a_block_diagonal_mask():
    module = types.SimpleNamespace()
    module.fmha = types.SimpleNamespace(
        BlockDiagonalMask=types.SimpleNamespace(from_seqlens=lambda q, kv: ("mask", tuple(q), tuple(kv)))
    )

    def memory_efficient_attention(q, k, v, bias=None):
        if bias is None:
            return attention_reference(q, k, v)
        assert q.shape[0] == 1 and bias[0] == "mask"
        parts = zip(q[0].split(bias[1]), k[0].split(bias[2]), v[0].split(bias[2]))
        return torch.cat([attention_reference(*(t[None] for t in part))[0] for part in parts])[None]

    module.memory_efficient_attention = memory_efficient_attention
    backend = ab._xformers_backend(module)
    (q, k, v), index = _ragged("cpu", torch.float32)
    assert _error(backend.ragged(q, k, v, *index), _one_by_one(q, k, v, *index)) < 1e-5
    assert _error(backend.dense(q[None], q[None], q[None]), attention_reference(*[q[None]] * 3).double()) < 1e-6


def test_debug_switch_reports_values_that_are_not_finite(fresh_config):
    module = MultiHeadAttention(8, 2)
    x = torch.full((1, 3, 8), float("nan"))
    assert module(x).isnan().all()
    dense_config.set_debug(True)
    with pytest.raises(ValueError, match="not finite"):
        module(x)
