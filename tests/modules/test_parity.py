"""Building blocks against the recorded outputs of the published implementation."""

from __future__ import annotations

import pytest
import torch

from trellis2.models.sc_vaes import blocks, resample_blocks
from trellis2.modules import attention, spatial, transformer
from trellis2.modules import sparse as sp
from trellis2.modules.attention.modules import MultiHeadRMSNorm
from trellis2.modules.embedding import AbsolutePositionEmbedder, TimestepEmbedder
from trellis2.modules.norm import ChannelLayerNorm32
from trellis2.modules.sparse import transformer as sparse_transformer


@pytest.fixture
def device(any_device):
    return any_device


def _load(module, file, case):
    module.load_state_dict(file.weights(case), strict=True)
    return module.eval().to(file.device)


def test_sparse_tensor_operations(vectors):
    file = vectors("sparse_tensor")
    x = sp.SparseTensor(file["in.feats"], file["in.coords"])
    per_batch = file["in.per_batch"]
    file.close((x + per_batch).feats, "out.add_per_batch")
    file.close((1 - x).feats, "out.rsub_1")
    file.close(x.mean(), "out.mean_all")
    file.close(x.mean(1), "out.mean_dim1")
    file.close(x.sum(1), "out.sum_dim1")
    file.close(x.std(1, keepdim=True), "out.std_dim1")
    file.close(sp.sparse_cat([x, x]).coords, "out.cat0.coords")
    file.close(sp.sparse_cat([x, x], dim=-1).feats, "out.catm1.feats")
    swapped = x[[1, 0]]
    file.close(swapped.coords, "out.index_1_0.coords")
    file.close(swapped.feats, "out.index_1_0.feats")
    file.close(sp.SparseTensor.full((0, 1, 0, 1, 2, 1), (2, 3), 1.0, device=file.device).coords, "out.full.coords")
    ragged = sp.VarLenTensor(x.feats, x.layout)
    dense, mask = ragged.to_dense(quirks="published")
    file.close(dense, "out.varlen_to_dense")
    assert torch.equal(mask, file["out.varlen_mask"].bool())


@pytest.mark.parametrize("backend", ["auto", "torch", "reference"])
@pytest.mark.parametrize("case", ["k333", "k333_dil212", "k315"])
def test_sparse_conv(vectors, case, backend):
    file = vectors("sparse_conv3d")
    conv = _load(sp.SparseConv3d(**file.spec["cases"][case], backend=backend), file, case)
    x = sp.SparseTensor(file[f"{case}.in.feats"], file[f"{case}.in.coords"])
    file.close(conv(x).feats, f"{case}.out.feats")


def test_spatial_operations(vectors):
    file = vectors("spatial_ops")
    x = sp.SparseTensor(file["in.feats"], file["in.coords"])
    down = sp.SparseDownsample(2).train()(x)
    file.close(down.coords, "down2.out.coords")
    file.close(down.feats, "down2.out.feats")
    file.close(down.get_spatial_cache("subdivision"), "down2.out.subdivision")
    up = sp.SparseUpsample(2)(down)
    file.close(up.coords, "down2_up2.out.coords")
    file.close(up.feats, "down2_up2.out.feats")
    fresh = sp.SparseTensor(file["in.feats"], file["in.coords"])
    file.close(sp.SparseDownsample(2, "max")(fresh).feats, "down2max.out.feats")
    third = sp.SparseDownsample(3)(fresh)
    file.close(third.coords, "down3.out.coords")
    file.close(third.feats, "down3.out.feats")
    moved = sp.SparseSpatial2Channel(2).train()(sp.SparseTensor(file["in.feats"], file["in.coords"]))
    file.close(moved.coords, "s2c.out.coords")
    file.close(moved.feats, "s2c.out.feats")
    file.close(moved.get_spatial_cache("subdivision"), "s2c.out.subdivision")

    coarse = sp.SparseTensor(file["c2s.in.feats"], file["c2s.in.coords"])
    subdivision = coarse.replace(file["c2s.in.subdivision"].bool())
    children = sp.SparseChannel2Spatial(2)(coarse, subdivision)
    file.close(children.coords, "c2s.out.coords")
    file.close(children.feats, "c2s.out.feats")
    copied = sp.SparseUpsample(2)(coarse, subdivision)
    file.close(copied.coords, "up2.out.coords")
    file.close(copied.feats, "up2.out.feats")

    file.close(spatial.pixel_shuffle_3d(file["pixel_shuffle_3d.in"], 2), "pixel_shuffle_3d.out")
    patches = spatial.patchify(file["patchify.in"], 2)
    file.close(patches, "patchify.out")
    file.close(spatial.unpatchify(patches, 2), "unpatchify.out")


@torch.no_grad()
def test_embeddings_and_norms(vectors):
    file = vectors("embeddings_norms")
    t, pos = file["timestep.in.t"], file["pos.in"]
    file.close(TimestepEmbedder.timestep_embedding(t, 256), "timestep.out.dim256")
    file.close(TimestepEmbedder.timestep_embedding(t, 7), "timestep.out.dim7")
    file.close(_load(TimestepEmbedder(24), file, "timestep_mlp24")(t), "timestep_mlp24.out")
    for channels in (20, 24, 1536):
        file.close(AbsolutePositionEmbedder(channels)(pos), f"ape{channels}.out")
    for dim in (12, 16, 128):
        phases = attention.RotaryPositionEmbedder(dim)(pos)
        assert phases.dtype == torch.complex64
        file.close(torch.view_as_real(phases), f"rope{dim}.out.phases")
    other = attention.RotaryPositionEmbedder(12, rope_freq=(2.0, 100.0))(pos)
    file.close(torch.view_as_real(other), "rope12_f2_100.out.phases")
    rotate = attention.RotaryPositionEmbedder.apply_rotary_embedding
    file.close(rotate(file["rope_apply.in.x"], attention.RotaryPositionEmbedder(16)(pos)), "rope_apply.out")
    file.close(_load(MultiHeadRMSNorm(16, 3), file, "rms")(file["rms.in"]), "rms.out")
    file.close(_load(ChannelLayerNorm32(6), file, "chan_ln")(file["chan_ln.in"]), "chan_ln.out")
    x = sp.SparseTensor(file["sparse_gn.in.feats"], file["sparse_gn.in.coords"])
    file.close(_load(sp.SparseGroupNorm32(4, 8), file, "sparse_gn")(x).feats, "sparse_gn.out.feats")


@torch.no_grad()
def test_attention(vectors):
    file = vectors("attention")
    for case in ("self_plain", "self_rope_rms", "self_nobias", "cross_rms"):
        name = f"dense.{case}"
        module = _load(attention.MultiHeadAttention(**file.spec[name]), file, name)
        context = file.get(f"{name}.in.context")
        phases = attention.RotaryPositionEmbedder(16)(file["rope_positions"])
        file.close(module(file[f"{name}.in.x"], context, phases), f"{name}.out")
    x = sp.SparseTensor(file["sparse.in.feats"], file["sparse.in.coords"])
    for case in ("full_rope_rms", "windowed", "double_windowed"):
        name = f"sparse.{case}"
        module = _load(sp.SparseMultiHeadAttention(**file.spec[name]), file, name)
        file.close(module(x).feats, f"{name}.out")
    cross = _load(sp.SparseMultiHeadAttention(**file.spec["sparse.cross"]), file, "sparse.cross")
    file.close(cross(x, file["sparse.cross.in.context_dense"]).feats, "sparse.cross.out_dense")
    ragged = sp.VarLenTensor.from_tensor_list([file[f"sparse.cross.in.context_list{i}"] for i in range(2)])
    file.close(cross(x, ragged).feats, "sparse.cross.out_varlen")


@torch.no_grad()
def test_transformer_blocks(vectors):
    file = vectors("transformer_blocks")
    common = dict(file.spec["common_args"])
    context_args = {k: common.pop(k) for k in ("ctx_channels", "qk_rms_norm_cross")}
    phases = attention.RotaryPositionEmbedder(16)(file["rope_positions"])
    x, context, mod, mod6 = (file[f"in.{k}"] for k in ("x", "context", "mod", "mod6"))
    sparse_x = sp.SparseTensor(file["sparse.in.feats"], file["sparse.in.coords"])
    cases = {
        "dense.TransformerBlock": ({}, (), {}),
        "dense.TransformerCrossBlock": ({"ln_affine": True}, (context,), {}),
        "dense.ModulatedTransformerBlock": ({}, (mod,), {}),
        "dense.ModulatedTransformerCrossBlock": ({}, (mod, context), {}),
        "dense.ModulatedTransformerCrossBlock.share_mod": ({"share_mod": True}, (mod6, context), {}),
        "sparse.SparseTransformerBlock": ({}, (), {}),
        "sparse.SparseTransformerCrossBlock": ({}, (context,), {}),
        "sparse.ModulatedSparseTransformerBlock": ({}, (mod,), {}),
        "sparse.ModulatedSparseTransformerCrossBlock.share_mod": ({"share_mod": True}, (mod6, context), {}),
    }
    for case, (extra, inputs, _) in cases.items():
        kind, name = case.split(".")[:2]
        args = {**common, **(context_args if "Cross" in name else {}), **extra}
        if kind == "dense":
            block = _load(getattr(transformer, name)(**args), file, case)
            file.close(block(x, *inputs, phases=phases), f"{case}.out")
        else:
            block = _load(getattr(sparse_transformer, name)(**args), file, case)
            file.close(block(sparse_x, *inputs).feats, f"{case}.out")


_BLOCKS = {
    "res_plain": lambda: resample_blocks.SparseResBlock3d(8, 12),
    "res_down_nearest": lambda: resample_blocks.SparseResBlock3d(8, 12, downsample=True),
    "res_down_s2c": lambda: resample_blocks.SparseResBlock3d(8, 16, downsample=True, resample_mode="spatial2channel"),
    "res_up_nearest": lambda: resample_blocks.SparseResBlock3d(8, 4, upsample=True),
    "res_up_c2s": lambda: resample_blocks.SparseResBlock3d(8, 4, upsample=True, resample_mode="spatial2channel"),
    "down_block": lambda: resample_blocks.SparseResBlockDownsample3d(8, 12),
    "up_block": lambda: resample_blocks.SparseResBlockUpsample3d(8, 4),
    "s2c_block": lambda: blocks.SparseResBlockS2C3d(8, 16),
    "c2s_block": lambda: blocks.SparseResBlockC2S3d(8, 4),
    "convnext": lambda: blocks.SparseConvNeXtBlock3d(8, mlp_ratio=3.5),
}


@pytest.mark.parametrize("case", sorted(_BLOCKS))
@torch.no_grad()
def test_sc_vae_block(vectors, case):
    file = vectors("sc_vae_blocks")
    block = _load(_BLOCKS[case](), file, case)
    out = block(sp.SparseTensor(file["in.feats"], file["in.coords"]))
    if isinstance(out, tuple):
        out, logits = out
        file.close(logits.feats, f"{case}.out.subdiv")
    if f"{case}.out" in file:
        file.close(out.feats, f"{case}.out")
    else:
        file.close(out.coords, f"{case}.out.coords")
        file.close(out.feats, f"{case}.out.feats")
