"""Keys and values of a fixed condition, computed once: same results, fewer computations, less memory for constants."""

from __future__ import annotations

import pytest
import torch

from trellis2.models import build_model
from trellis2.modules import sparse as sp
from trellis2.modules.attention import ConditionCache
from trellis2.samplers import FlowEulerCfgSampler, FlowEulerGuidanceIntervalSampler

ARGS = {
    "model_channels": 24,
    "cond_channels": 10,
    "out_channels": 4,
    "in_channels": 4,
    "num_blocks": 2,
    "num_heads": 2,
    "pe_mode": "rope",
    "share_mod": True,
    "qk_rms_norm": True,
    "qk_rms_norm_cross": True,
    "initialization": "torch",
}


def _model(name, **extra):
    torch.manual_seed(0)
    size = 4 if name == "SparseStructureFlowModel" else 8
    return build_model(name, {**ARGS, "resolution": size, **extra}).eval().requires_grad_(False)


def _latent(lengths):
    g = torch.Generator().manual_seed(1)
    coords = [
        torch.cat([torch.full((n, 1), i), torch.randint(0, 8, (n, 3), generator=g)], 1) for i, n in enumerate(lengths)
    ]
    return sp.SparseTensor(torch.randn(sum(lengths), 4, generator=g), torch.cat(coords).int())


def _case(name, samples):
    g = torch.Generator().manual_seed(2)
    x = (
        torch.randn(samples, 4, 4, 4, 4, generator=g)
        if name == "SparseStructureFlowModel"
        else _latent([9, 5][:samples])
    )
    return x, torch.full((samples,), 300.0), torch.randn(samples, 7, 10, generator=g)


def _values(out):
    return out if isinstance(out, torch.Tensor) else out.feats


NAMES = ["SparseStructureFlowModel", "SLatFlowModel"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_prepared_condition_gives_the_same_bits(name, samples, dtype):
    model = _model(name, dtype=dtype)
    x, t, cond = _case(name, samples)
    prepared = model.prepare_condition(cond)
    assert prepared.num_bytes == 0
    want = _values(model(x, t, cond))
    for _ in range(2):
        assert torch.equal(_values(model(x, t, prepared)), want)
    width = 4 if dtype == "float32" else 2
    assert prepared.num_bytes == 2 * samples * 7 * 2 * 24 * width  # blocks, tokens, keys and values


def test_projection_runs_once(monkeypatch):
    model = _model("SLatFlowModel")
    x, t, cond = _case("SLatFlowModel", 1)
    calls = []
    for block in model.blocks:
        block.cross_attn.to_kv.register_forward_hook(lambda *_: calls.append(1))
    prepared = model.prepare_condition(cond)
    for _ in range(3):
        model(x, t, prepared)
    assert len(calls) == 2


@pytest.mark.parametrize("name", NAMES)
def test_condition_of_equal_tokens_is_one_row(name):
    model = _model(name)
    x, t, cond = _case(name, 2)
    for constant in (torch.zeros_like(cond), cond[:, :1].expand(-1, 7, -1)):
        prepared = model.prepare_condition(constant)
        got = _values(model(x, t, prepared))
        torch.testing.assert_close(got, _values(model(x, t, constant)), rtol=1e-5, atol=1e-5)
        assert prepared.num_bytes == 2 * 2 * 24 * 4  # one row a block and sample
        assert torch.equal(got, _values(model(x, t, prepared)))


def test_ragged_conditions_are_kept_too():
    model = _model("SLatFlowModel")
    x, t, cond = _case("SLatFlowModel", 2)
    ragged = [cond[0], cond[1, :3]]
    prepared = model.prepare_condition(ragged)
    want = model(x, t, ragged).feats
    assert torch.equal(model(x, t, prepared).feats, want)
    assert torch.equal(model(x, t, prepared).feats, want)


def test_conditions_that_do_not_fit_are_refused():
    model = _model("SLatFlowModel")
    x, t, cond = _case("SLatFlowModel", 1)
    with pytest.raises(ValueError, match="cond must have 1 samples, got 2"):
        model(x, t, model.prepare_condition(cond.expand(2, -1, -1)))
    with pytest.raises(ValueError, match="prepared for 3 blocks"):
        model(x, t, ConditionCache(cond, 3, torch.float32))
    with pytest.raises(ValueError, match=r"in torch.bfloat16, the model has 2 in torch.float32"):
        model(x, t, ConditionCache(cond, 2, torch.bfloat16))
    with pytest.raises(ValueError, match="cond must have 10 channels"):
        model(x, t, model.prepare_condition(cond[..., :9]))


@pytest.mark.parametrize("sampler", [FlowEulerCfgSampler, FlowEulerGuidanceIntervalSampler])
@pytest.mark.parametrize("name", NAMES)
def test_sampling_runs_agree_with_and_without_the_cache(name, sampler):
    model = _model(name)
    x, _, cond = _case(name, 2)
    options = {"steps": 3, "guidance_strength": 3.0, "guidance_rescale": 0.5, "verbose": False}
    calls = []
    model.blocks[0].cross_attn.to_kv.register_forward_hook(lambda *_: calls.append(1))
    runs = []
    for cache in (True, False):
        calls.clear()
        made = sampler(1e-5, cache_condition=cache)
        runs.append(_values(made.sample(model, x, cond[:1], cond[1:], **options).samples))
        assert len(calls) == (2 if cache else 6)
    assert torch.equal(*runs)


def test_unguided_run_does_not_touch_the_negative_condition():
    model = _model("SLatFlowModel")
    x, _, cond = _case("SLatFlowModel", 1)
    made = FlowEulerCfgSampler(1e-5)
    out = made.sample(model, x, cond, torch.zeros(0), steps=2, guidance_strength=1.0, verbose=False)
    assert torch.isfinite(out.samples.feats).all()


def test_networks_without_preparation_get_the_condition_itself():
    seen = []

    def field(x, t, cond):
        seen.append(cond)
        return x * 0.1

    cond = torch.ones(1, 2)
    FlowEulerCfgSampler(1e-5).sample(
        field, torch.ones(1, 3), cond, cond * 0, steps=1, guidance_strength=2.0, verbose=False
    )
    assert all(isinstance(c, torch.Tensor) for c in seen) and len(seen) == 2
