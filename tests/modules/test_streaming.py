"""Streamed weights: same results, few blocks on the device at a time."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from trellis2 import models
from trellis2.modules import streaming
from trellis2.modules.streaming import SwappedModel, WeightStream, block_weights, stream_units, streamed


class CopyLane:
    """Stands in for the copies to a CUDA device: clones on the host, and counts what is alive."""

    fetched: int = 0

    def __init__(self, device):
        type(self).fetched = 0

    def fetch(self, packed):
        type(self).fetched += 1
        return packed.clone(), object()

    def wait(self, event):
        assert event is not None


@pytest.fixture
def host_lane(monkeypatch):
    """Let a stream to 'cuda' run on the host."""
    monkeypatch.setattr(WeightStream, "_make_lane", CopyLane)
    monkeypatch.setattr(streaming, "_move_own_tensors", lambda module, device: None)
    return CopyLane


def _flow(dtype="float32"):
    torch.manual_seed(0)
    model = models.SparseStructureFlowModel(
        4, 3, 48, 20, 5, 3, num_heads=3, mlp_ratio=2.0, pe_mode="rope", share_mod=True, qk_rms_norm=True, dtype=dtype
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def _inputs(device="cpu"):
    generator = torch.Generator().manual_seed(1)
    x, cond = torch.randn(2, 3, 4, 4, 4, generator=generator), torch.randn(2, 7, 20, generator=generator)
    return x.to(device), torch.tensor([300.0, 700.0], device=device), cond.to(device)


def _resident(stream):
    return [i for i, unit in enumerate(stream._units) if unit.on_device]


@torch.no_grad()
def test_results_are_bit_identical_and_repeatable(host_lane):
    model = _flow()
    plain = model(*_inputs())
    stream = WeightStream(model, "cuda")
    stream.attach()
    first, second = model(*_inputs()), model(*_inputs())
    stream.detach()
    assert torch.equal(first, plain) and torch.equal(second, plain)
    assert host_lane.fetched == 2 * 3 + 1  # every block once a pass, and one ahead for a third pass
    assert torch.equal(model(*_inputs()), plain)
    assert all(p.device.type == "cpu" for p in model.parameters())


@torch.no_grad()
def test_at_most_two_blocks_are_on_the_device(host_lane):
    model = _flow()
    stream = WeightStream(model, "cuda")
    stream.attach()
    seen = []
    for block in model.blocks:
        block.register_forward_hook(lambda *_: seen.append(_resident(stream)))
    model(*_inputs())
    assert [sorted(s) for s in seen] == [[1], [2], [0]]  # seen after the block has left
    assert stream.streamed_bytes >= sum(p.numel() * p.element_size() for p in model.blocks.parameters())
    stream.detach()
    assert _resident(stream) == []


def test_weights_outside_a_call_need_block_weights(host_lane):
    model = _flow()
    stream = WeightStream(model, "cuda")
    stream.attach()
    weight = model.blocks[2].mlp.mlp[0].weight
    host = weight.data_ptr()
    with block_weights(model.blocks[2]):
        assert weight.data_ptr() != host
        with block_weights(model.blocks[2]):
            pass
        assert weight.data_ptr() != host, "an inner user must not send the weights away"
    assert weight.data_ptr() == host
    stream.detach()
    with block_weights(model.blocks[2]):
        assert weight.data_ptr() == host


@torch.no_grad()
def test_an_error_inside_a_block_gives_it_back(host_lane):
    model = _flow()
    stream = WeightStream(model, "cuda")
    stream.attach()
    handle = model.blocks[1].mlp.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(KeyError("stop")))
    with pytest.raises(KeyError):
        model(*_inputs())
    assert 1 not in _resident(stream)
    handle.remove()
    model(*_inputs())
    stream.detach()


@torch.no_grad()
def test_other_orders_and_changed_weights(host_lane):
    model = _flow()
    stream = WeightStream(model, "cuda")
    stream.attach()
    for index in (2, 0, 0, 1):
        with block_weights(model.blocks[index]):
            assert index in _resident(stream) and len(_resident(stream)) <= 2
    stream.detach()
    other = _flow()
    for parameter in other.parameters():
        parameter.add_(0.01)
    model.load_state_dict(other.state_dict())
    stream.attach()
    assert torch.equal(model(*_inputs()), other(*_inputs()))
    stream.detach()
    model.load_state_dict(copy.deepcopy(other.state_dict()), assign=True)  # replaces the packed tensors
    stream.attach()
    assert all(unit.intact() for unit in stream._units)
    assert torch.equal(model(*_inputs()), other(*_inputs()))
    stream.detach()


@torch.no_grad()
def test_layers_replaced_between_two_runs_are_streamed_too(host_lane):
    model = _flow("bfloat16")
    stream = WeightStream(model, "cuda")
    stream.attach()
    stream.detach()
    models.quantize(model, "int8")
    plain = model(*_inputs())
    stream.attach()
    assert stream.streamed_bytes >= sum(b.numel() * b.element_size() for b in model.blocks.buffers())
    assert torch.equal(model(*_inputs()), plain)
    stream.detach()
    assert torch.equal(model(*_inputs()), plain)


def test_units_of_decoders_are_the_blocks_of_all_levels():
    decoder = models.SparseUnetVaeDecoder(
        6, [32, 16, 8], 4, [2, 1, 0], ["SparseConvNeXtBlock3d"] * 3, ["SparseResBlockC2S3d"] * 2, [{}] * 3
    )
    assert [type(u).__name__ for u in stream_units(decoder)] == [
        "SparseConvNeXtBlock3d", "SparseConvNeXtBlock3d", "SparseResBlockC2S3d", "SparseConvNeXtBlock3d",
        "SparseResBlockC2S3d",
    ]  # fmt: skip
    assert stream_units(nn.Linear(2, 2)) == []


@torch.no_grad()
def test_on_the_cpu_the_model_just_runs():
    model = _flow()
    plain = model(*_inputs())
    with streamed(model, "cpu") as same:
        assert same is model
        assert torch.equal(model(*_inputs()), plain)
    stream = WeightStream(model, "cpu")
    stream.attach()
    stream.attach()
    assert stream.streamed_bytes == 0


def test_attaching_twice_is_an_error(host_lane):
    stream = WeightStream(_flow(), "cuda")
    with pytest.raises(RuntimeError, match="not attached"):
        stream.enter(0)
    stream.attach()
    with pytest.raises(RuntimeError, match="attached already"):
        stream.attach()
    stream.detach()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.no_grad()
def test_cuda_results_are_bit_identical_with_a_fraction_of_the_memory(dtype):
    torch.manual_seed(0)
    sizes = {"mlp_ratio": 4.0, "pe_mode": "rope", "share_mod": True, "qk_rms_norm": True, "dtype": dtype}
    model = models.SparseStructureFlowModel(8, 8, 512, 64, 8, 12, num_heads=8, **sizes).eval().requires_grad_(False)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    x, cond = torch.randn(1, 8, 8, 8, 8, device="cuda"), torch.randn(1, 33, 64, device="cuda")
    t = torch.tensor([500.0], device="cuda")
    model.cuda()
    plain = [model(x, t, cond), model(x * 0.5, t, cond)]
    model.cpu()
    blocks = sum(p.numel() * p.element_size() for p in model.blocks.parameters())
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    with streamed(model, "cuda"):
        torch.cuda.reset_peak_memory_stats()
        outs = [model(x, t, cond), model(x * 0.5, t, cond)]
        peak = torch.cuda.max_memory_allocated() - before
    assert all(torch.equal(a, b) for a, b in zip(plain, outs))
    assert peak < 0.5 * blocks, (peak, blocks)
    del outs
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() - before < 0.05 * blocks
    with streamed(model, "cuda"):
        assert torch.equal(model(x, t, cond), plain[0])


@torch.no_grad()
def test_swapped_model_is_pinned_at_its_first_leave_and_visits_again(monkeypatch):
    monkeypatch.setattr(SwappedModel, "_make_lane", CopyLane)
    model = _flow()
    expected = model(*_inputs())
    swapped = SwappedModel(model, "cpu")
    assert swapped.num_bytes == sum(t.numel() * t.element_size() for t in [*model.parameters(), *model.buffers()])
    swapped.prefetch()
    swapped.enter()
    assert CopyLane.fetched == 0  # the first visit goes straight from where the model was
    swapped.leave()
    home = [p.data_ptr() for p in model.parameters()]
    for fetched in (1, 2):
        swapped.prefetch()
        swapped.prefetch()
        swapped.enter()
        assert CopyLane.fetched == fetched
        assert [p.data_ptr() for p in model.parameters()] != home
        assert torch.equal(model(*_inputs()), expected)
        swapped.leave()
        assert [p.data_ptr() for p in model.parameters()] == home
    swapped.prefetch()
    swapped.release()  # what was fetched ahead is dropped
    assert [p.data_ptr() for p in model.parameters()] == home
    assert torch.equal(model(*_inputs()), expected)


@torch.no_grad()
def test_swapped_model_notices_new_weights(monkeypatch):
    monkeypatch.setattr(SwappedModel, "_make_lane", CopyLane)
    model = _flow()
    swapped = SwappedModel(model, "cpu")
    swapped.enter()
    swapped.leave()
    for parameter in model.parameters():
        parameter.data = parameter.data * 2
    expected = model(*_inputs())
    swapped.enter()
    assert torch.equal(model(*_inputs()), expected)
    swapped.release()
    assert torch.equal(model(*_inputs()), expected)
