"""Replayed calls give the results of the model, and only calls that may be replayed are."""

from __future__ import annotations

import pytest
import torch

from trellis2.models import build_model, graphed
from trellis2.models.graphed import GraphedForward, can_graph
from trellis2.modules import sparse as sp
from trellis2.samplers import FlowEulerGuidanceIntervalSampler

ARGS = {
    "model_channels": 64,
    "cond_channels": 16,
    "out_channels": 4,
    "in_channels": 4,
    "num_blocks": 2,
    "num_heads": 2,
    "pe_mode": "rope",
    "share_mod": True,
    "qk_rms_norm": True,
    "qk_rms_norm_cross": True,
    "initialization": "torch",
    "dtype": "bfloat16",
}
NAMES = ["SparseStructureFlowModel", "SLatFlowModel"]


def _model(name, device="cuda", **extra):
    torch.manual_seed(0)
    size = 4 if name == "SparseStructureFlowModel" else 8
    model = build_model(name, {**ARGS, "resolution": size, **extra})
    return model.to(device).eval().requires_grad_(False)


def _latent(name, samples, device="cuda", seed=0):
    g = torch.Generator().manual_seed(seed)
    if name == "SparseStructureFlowModel":
        return torch.randn(samples, 4, 4, 4, 4, generator=g).to(device)
    counts = [40, 23][:samples]
    cells = [torch.randperm(512, generator=g)[:n] for n in counts]
    cells = [torch.stack([c // 64, c // 8 % 8, c % 8], 1) for c in cells]
    return sp.SparseTensor.from_tensor_list([torch.randn(n, 4, generator=g) for n in counts], cells).to(device)


def _values(x):
    return x if isinstance(x, torch.Tensor) else x.feats


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [1, 2])
@torch.no_grad()
def test_replayed_calls_are_those_of_the_model(name, samples):
    model = _model(name)
    x = _latent(name, samples)
    conds = [model.prepare_condition(torch.randn(samples, 7, 16, device="cuda")) for _ in range(2)]
    run = GraphedForward(model)
    for step in range(5):
        x = x * 0.9 + 0.1
        t = torch.full((samples,), 1000.0 - 100 * step, device="cuda")
        results = [run(x, t, cond) for cond in conds]
        for cond, result in zip(conds, results):
            assert torch.equal(_values(result), _values(model(x, t, cond)))
    assert len(run._recorded) == 2


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_sampling_runs_agree_with_and_without_graphs(name):
    model = _model(name, in_channels=4)
    noise, cond = _latent(name, 2), torch.randn(2, 7, 16, device="cuda")
    options = {"steps": 6, "guidance_strength": 3.0, "guidance_interval": (0.3, 1.0), "verbose": False}
    runs = [
        FlowEulerGuidanceIntervalSampler(1e-5, use_graphs=use).sample(
            model, noise, cond, torch.zeros_like(cond), **options
        )
        for use in (True, False)
    ]
    assert torch.equal(_values(runs[0].samples), _values(runs[1].samples))
    for a, b in zip(runs[0].pred_x_t, runs[1].pred_x_t):
        assert torch.equal(_values(a), _values(b))  # earlier states are not overwritten


@pytest.mark.gpu
@torch.no_grad()
def test_extra_inputs_are_replayed_while_they_stay_the_same():
    model = _model("SLatFlowModel", in_channels=8)
    x, extra = _latent("SLatFlowModel", 1), _latent("SLatFlowModel", 1, seed=1)
    extra = x.replace(extra.feats)
    cond = model.prepare_condition(torch.randn(1, 7, 16, device="cuda"))
    run, t = GraphedForward(model), torch.tensor([300.0], device="cuda")
    for _ in range(3):
        assert torch.equal(run(x, t, cond, concat_cond=extra).feats, model(x, t, cond, concat_cond=extra).feats)
    assert len(run._recorded) == 1
    other = x.replace(extra.feats * 2)
    assert torch.equal(run(x, t, cond, concat_cond=other).feats, model(x, t, cond, concat_cond=other).feats)


@pytest.mark.gpu
@torch.no_grad()
def test_other_calls_go_to_the_model(monkeypatch, caplog):
    model = _model("SLatFlowModel")
    x, t = _latent("SLatFlowModel", 1), torch.tensor([300.0], device="cuda")
    cond = torch.randn(1, 7, 16, device="cuda")
    run = GraphedForward(model)
    for _ in range(3):
        run(x, t, cond)  # not prepared
    monkeypatch.setattr(graphed, "MAX_ROWS", 10)
    prepared = model.prepare_condition(cond)
    for _ in range(3):
        run(x, t, prepared)  # too large
    assert not run._recorded
    monkeypatch.setattr(graphed, "MAX_ROWS", 100)
    want = run(x, t, prepared).feats
    original = model.forward

    def stubborn(*args, **kwargs):
        torch.cuda.synchronize()  # not allowed while a graph is recorded
        return original(*args, **kwargs)

    monkeypatch.setattr(model, "forward", stubborn)
    with caplog.at_level("WARNING"):
        for _ in range(2):
            assert torch.equal(run(x, t, prepared).feats, want)
    assert not run._recorded and "could not be recorded" in caplog.text
    assert torch.isfinite(torch.randn(3, device="cuda")).all()  # the random generator is not left in a recording
    monkeypatch.setattr(model, "forward", original)
    again = GraphedForward(model)
    for _ in range(3):
        assert torch.equal(again(x, t, prepared).feats, want)
    assert len(again._recorded) == 1


@pytest.mark.gpu
def test_hooks_and_gradients_keep_graphs_away():
    model = _model("SLatFlowModel")
    assert not can_graph(model)  # gradients are on
    with torch.no_grad():
        assert can_graph(model) and isinstance(model.for_sampling(), GraphedForward)
        handle = model.blocks[0].register_forward_hook(lambda *_: None)
        assert not can_graph(model) and model.for_sampling() is model
        handle.remove()
        model.blocks[0].to("cpu")
        assert not can_graph(model)


@torch.no_grad()
def test_cpu_models_are_called_directly():
    model = _model("SparseStructureFlowModel", device="cpu")
    assert not can_graph(model) and model.for_sampling() is model


@torch.no_grad()
def test_sampler_uses_what_the_network_offers():
    class Network:
        def __init__(self):
            self.asked = 0

        def for_sampling(self):
            self.asked += 1
            return lambda x, t, cond: x * 0.5

        def __call__(self, x, t, cond):
            return x * 0.1

    noise = torch.ones(1, 2)
    network = Network()
    options = {"steps": 1, "guidance_strength": 1.0, "verbose": False}
    made = FlowEulerGuidanceIntervalSampler(0.0)
    assert made.sample(network, noise, noise, noise, **options).samples[0, 0] == 0.5
    for switches in ({"use_graphs": False}, {"cache_condition": False}):
        made = FlowEulerGuidanceIntervalSampler(0.0, **switches)
        assert made.sample(network, noise, noise, noise, **options).samples[0, 0] == pytest.approx(0.9)
    assert network.asked == 1
