"""Samplers on sparse tensors: per-sample statistics, batched branches, structure kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trellis2.modules.sparse import SparseTensor
from trellis2.samplers import FlowEulerCfgSampler, FlowEulerSampler
from trellis2.samplers.guidance import per_sample_std


def latent(seed: int = 0) -> SparseTensor:
    g = torch.Generator().manual_seed(seed)
    coords = torch.tensor([[0, i, 0, 0] for i in range(5)] + [[1, i, 1, 0] for i in range(3)], dtype=torch.int32)
    return SparseTensor(torch.randn(8, 4, generator=g) * 2 + 1, coords)


class SparseField:
    """v = 0.1 x + c + extra, per sample c; counts calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: SparseTensor, t: torch.Tensor, cond: torch.Tensor, concat_cond: Any = None) -> SparseTensor:
        self.calls += 1
        assert t.shape == cond.shape[:1] == (x.shape[0],)
        out = x * 0.1 + cond
        return out if concat_cond is None else out + concat_cond * 0.01


def test_std_is_the_population_value_over_tokens_and_channels_of_each_sample() -> None:
    x = latent()
    expected = [x.feats[:5].numpy().std(), x.feats[5:].numpy().std()]
    assert per_sample_std(x).flatten().tolist() == pytest.approx(expected, rel=1e-6)
    assert per_sample_std(x).shape == (2, 1)


def test_std_survives_a_large_mean() -> None:
    x = latent()
    assert per_sample_std(x + 1e4).flatten().tolist() == pytest.approx(per_sample_std(x).flatten().tolist(), rel=1e-3)


def test_dense_std_is_the_sample_value() -> None:
    x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    expected = x.flatten(1).numpy().std(axis=1, ddof=1)
    assert per_sample_std(x).flatten().tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_guided_run_treats_samples_of_a_batch_separately() -> None:
    noise = latent()
    cond, neg = torch.tensor([[0.7], [-0.3]]), torch.zeros(2, 1)
    options = {"steps": 4, "guidance_strength": 3.0, "guidance_rescale": 0.6, "verbose": False}
    both = FlowEulerCfgSampler(1e-5).sample(SparseField(), noise, cond, neg, **options).samples
    for i in (0, 1):
        alone = FlowEulerCfgSampler(1e-5).sample(SparseField(), noise[i], cond[i : i + 1], neg[i : i + 1], **options)
        assert torch.allclose(both[i].feats, alone.samples.feats, atol=1e-5)


def test_batched_branches_agree_with_two_calls() -> None:
    noise, extra = latent(), latent(1)
    cond, neg = torch.tensor([[0.5, 0.1, 0.2, 0.3]]), torch.zeros(1, 4)
    options = {"steps": 3, "guidance_strength": 5.0, "guidance_rescale": 0.5, "verbose": False, "concat_cond": extra}
    apart, together = SparseField(), SparseField()
    a = FlowEulerCfgSampler(1e-5).sample(apart, noise, cond, neg, **options).samples
    b = FlowEulerCfgSampler(1e-5, batch_guidance=True).sample(together, noise, cond, neg, **options).samples
    assert (apart.calls, together.calls) == (6, 3)
    assert torch.allclose(a.feats, b.feats, atol=1e-6)


@pytest.mark.parametrize("batch_guidance", [False, True])
def test_spatial_cache_travels_through_the_run(batch_guidance: bool) -> None:
    noise = latent()
    noise.register_spatial_cache("channel2spatial_2", "structure")
    sampler = FlowEulerCfgSampler(1e-5, batch_guidance=batch_guidance)
    out = sampler.sample(SparseField(), noise, torch.ones(1, 1), torch.zeros(1, 1), steps=2, verbose=False).samples
    assert out.get_spatial_cache("channel2spatial_2") == "structure"
    assert torch.equal(out.coords, noise.coords)


def test_constant_estimate_is_not_divided_by_its_zero_spread() -> None:
    noise = latent() * 0.0
    options = {"steps": 2, "guidance_strength": 2.0, "guidance_rescale": 1.0, "verbose": False}
    out = FlowEulerCfgSampler(1e-5).sample(SparseField(), noise, torch.ones(1, 1), torch.zeros(1, 1), **options)
    assert torch.isfinite(out.samples.feats).all()


def test_run_keeps_the_graph_out() -> None:
    noise = latent()
    weight = torch.ones(1, requires_grad=True)
    out = FlowEulerSampler(1e-5).sample(lambda x, t, c: x * weight, noise, None, steps=2, verbose=False).samples
    assert not out.feats.requires_grad
