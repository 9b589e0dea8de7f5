"""What models promise beyond parity: precision, structure, training, batches, bad input."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from trellis2 import models
from trellis2.modules import sparse as sp
from trellis2.modules.elastic import LinearMemoryController

FLOW = {
    "resolution": 8,
    "in_channels": 4,
    "model_channels": 24,
    "cond_channels": 6,
    "out_channels": 4,
    "num_blocks": 3,
    "num_heads": 2,
    "pe_mode": "rope",
    "share_mod": True,
    "initialization": "scaled",
    "qk_rms_norm": True,
    "qk_rms_norm_cross": True,
}
LEVELS = {
    "latent_channels": 4,
    "block_type": ["SparseConvNeXtBlock3d"] * 3,
    "block_args": [{}, {}, {}],
}
ENCODER = {
    **LEVELS,
    "model_channels": [8, 8, 16],
    "num_blocks": [0, 1, 1],
    "down_block_type": ["SparseResBlockS2C3d"] * 2,
}
DECODER = {
    **LEVELS,
    "model_channels": [16, 8, 8],
    "num_blocks": [1, 1, 0],
    "up_block_type": ["SparseResBlockC2S3d"] * 2,
}


def _randomised(model, seed=0):
    torch.manual_seed(seed)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


def _sparse(lengths=(20, 31), channels=4, size=8, seed=0):
    g = torch.Generator().manual_seed(seed)
    feats, coords = [], []
    for n in lengths:
        cells = torch.randperm(size**3, generator=g)[:n].sort().values
        coords.append(torch.stack([cells // size**2, cells // size % size, cells % size], 1).int())
        feats.append(torch.randn(n, channels, generator=g))
    return sp.SparseTensor.from_tensor_list(feats, coords)


@torch.no_grad()
def test_samples_of_a_batch_do_not_see_each_other():
    model = _randomised(models.SLatFlowModel(**FLOW))
    x, t, cond = _sparse(), torch.tensor([100.0, 900.0]), torch.randn(2, 5, 6)
    out = model(x, t, cond)
    for i in range(2):
        alone = model(x[i], t[i : i + 1], cond[i : i + 1])
        torch.testing.assert_close(out[i].feats, alone.feats, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_voxel_order_does_not_matter():
    model = _randomised(models.SLatFlowModel(**FLOW))
    x = _sparse((20,))
    order = torch.randperm(20)
    shuffled = sp.SparseTensor(x.feats[order], x.coords[order])
    cond, t = torch.randn(1, 5, 6), torch.tensor([3.0])
    torch.testing.assert_close(model(shuffled, t, cond).feats, model(x, t, cond).feats[order], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_dense_and_sparse_flow_are_one_function():
    dense, sparse = models.SparseStructureFlowModel(**FLOW), models.SLatFlowModel(**FLOW)
    _randomised(dense)
    sparse.load_state_dict(dense.state_dict())
    x, t, cond = torch.randn(2, 4, 8, 8, 8), torch.tensor([10.0, 700.0]), torch.randn(2, 5, 6)
    block = sp.SparseTensor.full((0, 0, 0, 7, 7, 7), (2, 4), 0.0)
    block = block.replace(x.permute(0, 2, 3, 4, 1).reshape(-1, 4))
    torch.testing.assert_close(sparse(block, t, cond).to_dense(), dense(x, t, cond), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("cls", ["SparseStructureFlowModel", "SLatFlowModel"])
def test_flow_starts_at_zero_and_rope_frequencies_count(cls):
    inputs = (torch.randn(1, 4, 8, 8, 8) if cls.startswith("Sparse") else _sparse((9,)),)
    inputs += (torch.tensor([5.0]), torch.randn(1, 5, 6))
    out = models.build_model(cls, FLOW)(*inputs)
    assert not (out.feats if isinstance(out, sp.SparseTensor) else out).any()
    outs = []
    for freq in ((1.0, 10000.0), (1.0, 10.0)):
        out = _randomised(models.build_model(cls, FLOW, rope_freq=freq))(*inputs)
        outs.append(out.feats if isinstance(out, sp.SparseTensor) else out)
    assert not torch.allclose(outs[0], outs[1])


def test_initial_scales():
    model = models.SparseStructureFlowModel(**{**FLOW, "model_channels": 96})
    assert abs(model.blocks[0].self_attn.to_qkv.weight.std().item() - (2 / (5 * 96)) ** 0.5) < 0.003
    assert abs(model.blocks[0].mlp.mlp[2].weight.std().item() - 1 / (5 * 3 * 96) ** 0.5) < 0.002
    assert not model.out_layer.weight.any() and not model.adaLN_modulation[1].weight.any()
    assert abs(model.blocks[1].modulation.std().item() - 96**-0.5) < 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pe_mode": "roap"}, "pe_mode must be one of"),
        ({"initialization": "xavier"}, "initialization must be one of"),
        ({"num_heads": 5}, "divisible by num_heads"),
        ({"dtype": "int8"}, "unknown dtype"),
    ],
)
def test_bad_flow_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        models.SLatFlowModel(**{**FLOW, **change})


def test_bad_flow_inputs():
    model, x, cond = models.SLatFlowModel(**FLOW), _sparse(), torch.randn(2, 5, 6)
    for args, message in (
        ((_sparse(channels=3), torch.zeros(2), cond), "must have 4 channels"),
        ((x, torch.zeros(3), cond), r"t must be \[2\]"),
        ((x, torch.zeros(2), cond[:1]), "cond must have 2 samples"),
        ((x, torch.zeros(2), cond[..., :5]), "cond must have 6 channels"),
        ((x, torch.zeros(2), cond, _sparse((3, 4))), "rows of x"),
    ):
        with pytest.raises(ValueError, match=message):
            model(*args)
    dense = models.SparseStructureFlowModel(**FLOW)
    with pytest.raises(ValueError, match=r"x must be \[N, 4, 8, 8, 8\]"):
        dense(torch.zeros(2, 4, 4, 4, 4), torch.zeros(2), cond)
    with pytest.raises(ValueError, match=r"cond must be \[2, L, 6\]"):
        dense(torch.zeros(2, 4, 8, 8, 8), torch.zeros(2), cond[:1])


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_training_step_of_every_network(device, dtype):
    torch.manual_seed(0)
    x = _sparse((200, 150)).to(device)
    cond, t = torch.randn(2, 5, 6, device=device), torch.rand(2, device=device) * 1000
    flags = (torch.rand(350, 3) < 0.5).to(device)
    encoder = models.FlexiDualGridVaeEncoder(**ENCODER).to(device)
    decoder = models.FlexiDualGridVaeDecoder(resolution=8, **DECODER).to(device)
    tex = models.SparseUnetVaeDecoder(6, **DECODER, pred_subdiv=False).to(device)
    flow = models.SLatFlowModel(**FLOW, use_checkpoint=True).to(device)
    dense = models.SparseStructureFlowModel(**FLOW).to(device)
    ss_enc = models.SparseStructureEncoder(1, 8, 1, [32, 128]).to(device)
    ss_dec = models.SparseStructureDecoder(1, 8, 1, [128, 32]).to(device)
    parts = (encoder, decoder, tex, flow, dense, ss_enc, ss_dec)
    for part in parts[3:5]:
        torch.nn.init.normal_(part.out_layer.weight)
        torch.nn.init.normal_(part.adaLN_modulation[1].weight, std=0.1)
    with torch.autocast(device, dtype or torch.float32, enabled=dtype is not None):
        vertices = x.replace(x.feats[:, :3].sigmoid())
        z, mean, logvar = encoder(vertices, x.replace(flags), sample_posterior=True, return_raw=True)
        raw, subs_gt, subs = decoder.decode(z)
        assert torch.equal(raw.coords, x.coords)
        losses = [raw.feats.float().square().mean(), mean.float().square().mean(), logvar.float().square().mean()]
        for truth, logits in zip(subs_gt, subs):
            losses.append(
                torch.nn.functional.binary_cross_entropy_with_logits(logits.feats.float(), truth.feats.float())
            )
        losses.append(tex(z).feats.float().square().mean())
        losses.append(flow(x, t, cond).feats.float().square().mean())
        losses.append(dense(torch.randn(2, 4, 8, 8, 8, device=device), t, cond).float().square().mean())
        occupancy = (torch.rand(2, 1, 16, 16, 16, device=device) < 0.1).float()
        latent = ss_enc(occupancy)
        assert latent.shape == (2, 8, 8, 8, 8)
        logits = ss_dec(latent)
        assert logits.shape == occupancy.shape
        losses.append(bce(logits.float(), occupancy))
    torch.stack(losses).sum().backward()
    for part in parts:
        for name, p in part.named_parameters():
            assert p.grad is not None and p.grad.isfinite().all(), name


def _fake_mesher(calls):
    def mesher(
        coords, dual_vertices, intersected_flag, split_weight, aabb, voxel_size=None, grid_size=None, train=False
    ):
        calls.append((coords, dual_vertices, intersected_flag, split_weight, aabb, grid_size, train))
        return dual_vertices, torch.zeros(1, 3, dtype=torch.int32)

    return mesher


def test_decoder_hands_each_sample_to_the_mesher(monkeypatch):
    import o_voxel.convert

    calls = []
    monkeypatch.setattr(o_voxel.convert, "flexible_dual_grid_to_mesh", _fake_mesher(calls))
    decoder = _randomised(models.FlexiDualGridVaeDecoder(resolution=8, **DECODER))
    decoder.set_resolution(32)
    x = _sparse((9, 6))
    meshes, subs = decoder(x, return_subs=True)
    assert len(meshes) == 2 and len(subs) == 2
    assert [c[0].shape[0] for c in calls] == [m.vertices.shape[0] for m in meshes]
    coords, vertices, flags, weights, aabb, grid_size, train = calls[0]
    assert coords.shape[1] == 3 and flags.dtype == torch.bool and weights.shape[1] == 1 and not train
    assert grid_size == 32 and vertices.min() > -0.5 and vertices.max() < 1.5 and (weights > 0).all()
    assert len(decoder(x)) == 2
    with pytest.raises(ValueError, match="pred_subdiv=False"):
        decoder(x, guide_subs=subs)


def test_decoded_meshes_of_the_real_mesher():
    decoder = _randomised(models.FlexiDualGridVaeDecoder(resolution=32, **DECODER))
    meshes = decoder(_sparse((30, 12)))
    assert len(meshes) == 2
    for mesh in meshes:
        assert mesh.faces.shape[1] == 3 and mesh.vertices.isfinite().all()
        assert mesh.vertices.abs().max() <= 0.5 + 1 / 32
        assert mesh.faces.numel() == 0 or mesh.faces.max() < mesh.vertices.shape[0]


def test_training_forward_returns_meshes_that_carry_gradients():
    encoder = models.FlexiDualGridVaeEncoder(**ENCODER)
    decoder = _randomised(models.FlexiDualGridVaeDecoder(resolution=8, **DECODER)).train()
    x = _sparse((300,))
    flags = x.replace(torch.ones(300, 3, dtype=torch.bool))
    z = encoder(x.replace(x.feats[:, :3].sigmoid()), flags)
    meshes, vertices, logits, subs_gt, subs = decoder(z, gt_intersected=flags)
    assert vertices.feats.shape == logits.feats.shape == (300, 3) and len(subs_gt) == len(subs) == 2
    assert meshes[0].vertices.shape[0] > 300
    meshes[0].vertices.square().sum().backward()
    assert decoder.output_layer.weight.grad[6].abs().sum() > 0
    with pytest.raises(ValueError, match="gt_intersected"):
        decoder(encoder(x.replace(x.feats[:, :3]), flags))
    with pytest.raises(ValueError, match="encoder in training mode"):
        decoder(sp.SparseTensor(z.feats, z.coords), gt_intersected=flags)


@torch.no_grad()
def test_nothing_decodes_to_nothing():
    decoder = _randomised(models.FlexiDualGridVaeDecoder(resolution=8, **DECODER))
    torch.nn.init.constant_(decoder.blocks[0][-1].to_subdiv.bias, -1e4)
    raw, subs = decoder.decode(_sparse((5, 7)), return_subs=True)
    assert raw.feats.shape == (0, 7) and len(raw) == 2 and raw.lengths == [0, 0]
    assert subs[1].feats.shape == (0, 8)
    empty = sp.SparseTensor(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int32), torch.Size([2, 4]))
    assert decoder.decode(empty).feats.shape == (0, 7)
    flow = _randomised(models.SLatFlowModel(**FLOW))
    assert flow(empty, torch.zeros(2), torch.randn(2, 5, 6)).feats.shape == (0, 4)


@torch.no_grad()
def test_texture_follows_a_cached_structure_through_arithmetic():
    encoder = _randomised(models.SparseUnetVaeEncoder(6, **ENCODER))
    decoder = _randomised(models.SparseUnetVaeDecoder(6, **DECODER, pred_subdiv=False))
    x = _sparse((60, 45), channels=6)
    z = encoder(x)
    noise = z.replace(torch.randn_like(z.feats))
    latent = ((z - torch.ones(1, 4)) / torch.ones(1, 4) + noise * 0.1) * torch.ones(1, 4) + torch.ones(1, 4)
    out = decoder(latent)
    assert torch.equal(out.coords, x.coords) and out.feats.shape == x.feats.shape


@torch.no_grad()
def test_upsample_reaches_the_decoded_structure():
    decoder = _randomised(models.FlexiDualGridVaeDecoder(resolution=8, **DECODER))
    x = _sparse((9, 6))
    assert torch.equal(decoder.upsample(x, 2), decoder.decode(x).coords)
    assert torch.equal(decoder.upsample(x, 0), x.coords)
    assert decoder.downsampling == 4
    tex = models.SparseUnetVaeDecoder(6, **DECODER, pred_subdiv=False)
    with pytest.raises(ValueError, match="pred_subdiv=True"):
        tex.upsample(x, 1)


@torch.no_grad()
def test_precision_can_be_switched_back_and_forth():
    decoder = _randomised(models.FlexiDualGridVaeDecoder(resolution=8, **DECODER))
    x = _sparse((9,))
    exact = decoder.decode(x).feats
    decoder.convert_to(torch.bfloat16)
    assert decoder.blocks[0][0].conv.weight.dtype == torch.bfloat16 and not decoder.use_fp16
    assert decoder.decode(sp.SparseTensor(x.feats, x.coords)).feats.dtype == torch.float32
    decoder.convert_to_fp32()
    assert decoder.decode(sp.SparseTensor(x.feats, x.coords)).feats.shape == exact.shape
    encoder = models.SparseStructureEncoder(1, 2, 1, [4, 8], use_fp16=True)
    assert encoder(torch.rand(1, 1, 4, 4, 4)).dtype == torch.float32


def test_initial_convnext_blocks():
    decoder = models.SparseUnetVaeDecoder(6, **DECODER)
    assert not decoder.blocks[0][0].mlp[2].weight.any()
    decoder.initialize_weights(zero_last_mlp=False)
    assert decoder.blocks[0][0].mlp[2].weight.any()
    assert not decoder.blocks[0][1].conv2.weight.any()


def test_bad_level_lists_are_named():
    with pytest.raises(ValueError, match="num_blocks must have 3 entries"):
        models.SparseUnetVaeEncoder(6, **{**ENCODER, "num_blocks": [1]})
    with pytest.raises(ValueError, match="2 resampling blocks"):
        models.SparseUnetVaeEncoder(6, **{**ENCODER, "down_block_type": []})
    with pytest.raises(ValueError, match="unknown block type 'Conv'"):
        models.SparseUnetVaeEncoder(6, **{**ENCODER, "block_type": ["Conv"] * 3})
    with pytest.raises(ValueError, match=r"feats \[M, 4\]"):
        models.SparseUnetVaeDecoder(6, **DECODER)(_sparse(channels=5))
    with pytest.raises(ValueError, match="vertices and intersected"):
        x = _sparse()
        models.FlexiDualGridVaeEncoder(**ENCODER)(x, x)
    with pytest.raises(ValueError, match="norm_type must be one of"):
        models.SparseStructureDecoder(1, 2, 1, [4], norm_type="batch")
    with pytest.raises(ValueError, match=r"x must be \[N, 2"):
        models.SparseStructureDecoder(1, 2, 1, [4])(torch.zeros(1, 3, 2, 2, 2))


def test_elastic_model_checkpoints_and_restores():
    model = models.ElasticSLatFlowModel(**FLOW)
    controller = LinearMemoryController(available_memory=1.0, update_every=2, params=(1e-2, 0.0))
    model.register_memory_controller(controller)
    model.blocks[2].use_checkpoint = True
    x, t, cond = _sparse((100, 60)), torch.zeros(2), torch.randn(2, 5, 6)
    with controller.record():
        model(x, t, cond).feats.sum().backward()
    assert [b.use_checkpoint for b in model.blocks] == [False, False, True]
    assert controller.get_mem_ratio(160) == pytest.approx(0.5)
    log = controller.log()
    assert log["input_size"] == 160 and 0 < log["mem_ratio"] < 1
    with model.with_mem_ratio(0.5) as exact:
        assert [b.use_checkpoint for b in model.blocks] == [True, True, True]
        assert exact == pytest.approx(1 / 3)
    with pytest.raises(RuntimeError), model.with_mem_ratio(0.1):
        raise RuntimeError("inside")
    assert [b.use_checkpoint for b in model.blocks] == [False, False, True]


def test_memory_model_is_fitted_and_saved():
    controller = LinearMemoryController(
        available_memory=10.0, target_ratio=0.8, update_every=4, max_mem_ratio_start=1.0
    )
    for size in (100.0, 200.0, 300.0, 400.0):
        controller.add_sample(0.01 * size * 0.5 + 2.0, [(size, 0.5)])
    assert controller.params == pytest.approx((0.01, 2.0))
    assert controller.get_mem_ratio(1200) == pytest.approx(0.5)
    other = LinearMemoryController(available_memory=10.0)
    other.load_state_dict(controller.state_dict())
    assert other.params == controller.params
    with pytest.raises(ValueError, match="one input size"):
        controller.add_sample(1.0, [(1.0, 1.0), (2.0, 1.0)])
