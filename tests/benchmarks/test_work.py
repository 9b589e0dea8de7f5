"""The operations that the benchmarks of networks count are those that are computed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

BENCHMARKS = str(Path(__file__).resolve().parents[2] / "benchmarks")


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setattr(sys, "path", [BENCHMARKS, *sys.path])


@torch.no_grad()
def test_flops_of_a_flow_model_are_those_of_its_products():
    from flow_models import forward_flops, shell_latent

    from trellis2.models import SLatFlowModel

    model = SLatFlowModel(8, 4, 128, 64, 4, 3, num_heads=2, mlp_ratio=5.3334, pe_mode="rope", share_mod=True)
    for module in model.modules():
        if hasattr(module, "backend"):
            module.backend = "naive"  # the counter does not know PyTorch's attention on the CPU
    x = shell_latent(300, 4, 16, torch.device("cpu"))
    cond, t = torch.randn(1, 70, 64), torch.tensor([500.0])
    prepared = model.prepare_condition(cond)
    model(x, t, prepared)
    for given, cached in ((cond, False), (prepared, True)):
        with FlopCounterMode(display=False) as counter:
            model(x, t, given)
        # Input, output and time layers are not counted: less than 2 % here.
        assert counter.get_total_flops() == pytest.approx(forward_flops(model, 300, 70, cached), rel=0.02)


@torch.no_grad()
def test_work_of_a_decoder_is_that_of_every_voxel_and_neighbour():
    from bench_decoder import decoder_work

    from trellis2.models import SparseUnetVaeDecoder

    levels = {"num_blocks": [1, 0], "block_type": ["SparseConvNeXtBlock3d"] * 2, "block_args": [{}] * 2}
    model = SparseUnetVaeDecoder(6, [32, 16], 4, up_block_type=["SparseResBlockC2S3d"], pred_subdiv=False, **levels)
    fine = torch.tensor([[0, 2, 2, 2], [0, 2, 2, 3], [0, 4, 2, 2]], dtype=torch.int32)  # two parents, side by side
    convnext = 4 * 32 * 32 + 2 * 2 * 4 * 32 * 32  # four pairs; two rows through the MLP
    up = (2 + 2 + 2) * 32 * 16 + (2 + 2 + 1) * 16 * 16  # every child has two parents' rows; one fine voxel is alone
    flop, moved = decoder_work(model, fine)
    assert flop == 2 * (convnext + up)
    assert moved == 2 * (5 * 2 * 32 + 4 * 2 * 32 + 7 * 3 * 16)
