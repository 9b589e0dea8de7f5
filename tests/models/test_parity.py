"""Every model against the recorded outputs of the published implementation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from trellis2 import models
from trellis2.models.loading import load_weights
from trellis2.modules import sparse as sp


@pytest.fixture
def device(any_device):
    return any_device


def _build(file, **extra):
    model = models.build_model(file.spec["class"], file.spec["args"], **extra)
    load_weights(model, file.weights())
    return model.eval().to(file.device)


@pytest.mark.parametrize("stem", ["ss_flow_rope_sharemod_fp32", "ss_flow_rope_sharemod_bf16", "ss_flow_ape_fp32"])
@torch.no_grad()
def test_sparse_structure_flow_matches(vectors, stem):
    file = vectors(stem)
    file.close(_build(file)(file["in.x"], file["in.t"], file["in.cond"]), "out")


@pytest.mark.parametrize("stem", ["slat_flow_rope_sharemod_fp32", "slat_flow_rope_sharemod_bf16", "slat_flow_ape_fp32"])
@torch.no_grad()
def test_structured_latent_flow_matches(vectors, stem):
    file = vectors(stem)
    model = _build(file)
    x = sp.SparseTensor(file["in.feats"], file["in.coords"])
    concat = x.replace(file["in.concat_feats"])
    file.close(model(x, file["in.t"], file["in.cond"], concat_cond=concat).feats, "out.dense_cond")
    ragged = [file["in.cond_list0"], file["in.cond_list1"]]
    file.close(model(x, file["in.t"], ragged, concat_cond=concat).feats, "out.list_cond")


@torch.no_grad()
def test_elastic_flow_has_the_same_weights_and_output(vectors):
    file = vectors("slat_flow_rope_sharemod_fp32")
    model = models.build_model("ElasticSLatFlowModel", file.spec["args"])
    load_weights(model, file.weights())
    x = sp.SparseTensor(file["in.feats"], file["in.coords"])
    out = model.eval().to(file.device)(x, file["in.t"], file["in.cond"], concat_cond=x.replace(file["in.concat_feats"]))
    file.close(out.feats, "out.dense_cond")


@torch.no_grad()
def test_sparse_structure_vae_matches(vectors):
    file = vectors("ss_vae_encoder")
    z, mean, logvar = _build(file)(file["in.x"], return_raw=True)
    file.close(mean, "out.mean")
    file.close(logvar, "out.logvar")
    assert torch.equal(z, mean)
    for stem in ("ss_vae_decoder", "ss_vae_decoder_groupnorm"):
        file = vectors(stem)
        file.close(_build(file)(file["in.z"]), "out")


@pytest.mark.parametrize("stem", ["shape_vae_encoder_fp32", "shape_vae_encoder_fp16"])
@torch.no_grad()
def test_shape_encoder_matches(vectors, stem):
    file = vectors(stem)
    vertices = sp.SparseTensor(file["in.vertices"], file["in.coords"])
    z, mean, logvar = _build(file)(vertices, vertices.replace(file["in.intersected"].bool()), return_raw=True)
    assert torch.equal(z.coords, file["out.coords"])
    file.close(mean, "out.mean")
    file.close(logvar, "out.logvar")
    assert z.scale == (4, 4, 4)


@torch.no_grad()
def test_texture_encoder_matches(vectors):
    file = vectors("tex_vae_encoder_fp32")
    z, mean, logvar = _build(file)(sp.SparseTensor(file["in.feats"], file["in.coords"]), return_raw=True)
    assert torch.equal(z.coords, file["out.coords"])
    file.close(mean, "out.mean")
    file.close(logvar, "out.logvar")


@torch.no_grad()
def test_shape_decoder_matches(vectors):
    file = vectors("shape_vae_decoder_fp32")
    model = _build(file)
    x = sp.SparseTensor(file["in.feats"], file["in.coords"])
    raw, subs = model.decode(x, return_subs=True)
    assert torch.equal(raw.coords, file["out.raw.coords"])
    file.close(raw.feats, "out.raw.feats")
    for i, logits in enumerate(subs):
        assert torch.equal(logits.coords, file[f"out.subs{i}.coords"])
        file.close(logits.feats, f"out.subs{i}.logits")
    vertices, edges, weights = model.head(raw)
    for b, rows in enumerate(raw.layout):
        assert torch.equal(raw.coords[rows, 1:], file[f"out.mesh_in{b}.coords"])
        file.close(vertices.feats[rows], f"out.mesh_in{b}.vertices")
        file.close(weights.feats[rows], f"out.mesh_in{b}.quad_lerp")
        assert torch.equal((edges.feats[rows] > 0), file[f"out.mesh_in{b}.intersected"].bool())
    for k in range(3):
        assert torch.equal(model.upsample(x, k), file[f"out.upsample{k}.coords"])
    with pytest.raises(ValueError, match="upsample_times"):
        model.upsample(x, 3)


@torch.no_grad()
def test_texture_decoder_follows_the_guides(vectors):
    file = vectors("tex_vae_decoder_fp32")
    x = sp.SparseTensor(file["in.feats"], file["in.coords"])
    guides = [sp.SparseTensor(file[f"in.guide_subs{i}.logits"], file[f"in.guide_subs{i}.coords"]) for i in range(2)]
    model = _build(file)
    out = model(x, guide_subs=guides)
    assert torch.equal(out.coords, file["out.coords"])
    file.close(out.feats, "out.feats")
    with pytest.raises(ValueError, match="guide_subs must have 2"):
        model(x, guide_subs=guides[:1])
    with pytest.raises(ValueError, match="return_subs"):
        model(x, guide_subs=guides, return_subs=True)
    with pytest.raises(ValueError, match="cached structure or a subdivision"):
        model(x)


@torch.no_grad()
def test_training_round_trip_matches(vectors, monkeypatch):
    encoder_file, decoder_file = vectors("shape_vae_encoder_fp32"), vectors("shape_vae_decoder_fp32")
    file = vectors("shape_vae_roundtrip_train")
    encoder, decoder = _build(encoder_file).train(), _build(decoder_file).train()
    monkeypatch.setattr(type(decoder), "_extract", lambda *args, **kwargs: [])
    vertices = sp.SparseTensor(file["in.vertices"], file["in.coords"])
    flags = vertices.replace(file["in.intersected"].bool())
    z = encoder(vertices, flags)
    file.close(z.feats, "out.z.feats")
    assert torch.equal(z.coords, file["out.z.coords"])
    meshes, out_vertices, edges, subs_gt, subs = decoder(z, gt_intersected=flags)
    assert meshes == []
    assert torch.equal(out_vertices.coords, file["out.vertices.coords"])
    file.close(out_vertices.feats, "out.vertices.feats")
    file.close(edges.feats, "out.intersected_logits")
    for i in range(2):
        assert torch.equal(subs[i].coords, file[f"out.subs{i}.coords"])
        file.close(subs[i].feats, f"out.subs{i}.logits")
        assert torch.equal(subs_gt[i].feats, file[f"out.subs_gt{i}"].bool())


# Tolerances of the vectors that were recorded in these types.
_HALF = {torch.bfloat16: 0.02, torch.float16: 0.01}


@pytest.mark.parametrize("dtype", list(_HALF))
@pytest.mark.parametrize("stem", ["ss_flow_rope_sharemod_fp32", "slat_flow_rope_sharemod_fp32"])
@torch.no_grad()
def test_flow_in_half_precision_is_near_the_float32_vector(vectors, stem, dtype):
    file = vectors(stem)
    model = _build(file, dtype=dtype)
    if stem.startswith("ss"):
        file.close(model(file["in.x"], file["in.t"], file["in.cond"]), "out", rel_l2=_HALF[dtype])
        return
    x = sp.SparseTensor(file["in.feats"], file["in.coords"])
    out = model(x, file["in.t"], file["in.cond"], concat_cond=x.replace(file["in.concat_feats"]))
    assert out.dtype == torch.float32
    file.close(out.feats, "out.dense_cond", rel_l2=_HALF[dtype])


@pytest.mark.parametrize("dtype", list(_HALF))
@torch.no_grad()
def test_decoders_in_half_precision_are_near_the_float32_vectors(vectors, dtype):
    shape, texture = vectors("shape_vae_decoder_fp32"), vectors("tex_vae_decoder_fp32")
    decoder, painter = _build(shape), _build(texture)
    decoder.convert_to(dtype)
    painter.convert_to(dtype)
    raw, subs = decoder.decode(sp.SparseTensor(shape["in.feats"], shape["in.coords"]), return_subs=True)
    shape.close(subs[0].feats, "out.subs0.logits", rel_l2=_HALF[dtype])
    if dtype == torch.float16:  # bfloat16 moves the logits nearest to zero, which are 0.005, to the other side
        assert torch.equal(raw.coords, shape["out.raw.coords"])
        shape.close(subs[1].feats, "out.subs1.logits", rel_l2=_HALF[dtype])
        shape.close(raw.feats, "out.raw.feats", rel_l2=_HALF[dtype])
    guides = [
        sp.SparseTensor(texture[f"in.guide_subs{i}.logits"], texture[f"in.guide_subs{i}.coords"]) for i in range(2)
    ]
    out = painter(sp.SparseTensor(texture["in.feats"], texture["in.coords"]), guide_subs=guides)
    texture.close(out.feats, "out.feats", rel_l2=_HALF[dtype])


_CONFIGS = {
    "ss_flow_1_3B": ("SparseStructureFlowModel", {"resolution": 16, "in_channels": 8, "out_channels": 8}),
    "shape_flow_1_3B": ("SLatFlowModel", {"resolution": 32, "in_channels": 32, "out_channels": 32}),
    "tex_flow_1_3B": ("SLatFlowModel", {"resolution": 32, "in_channels": 64, "out_channels": 32}),
    "shape_vae_encoder_f16c32": ("FlexiDualGridVaeEncoder", {}),
    "shape_vae_decoder_f16c32": ("FlexiDualGridVaeDecoder", {"resolution": 256}),
    "tex_vae_encoder_f16c32": ("SparseUnetVaeEncoder", {"in_channels": 6}),
    "tex_vae_decoder_f16c32": ("SparseUnetVaeDecoder", {"out_channels": 6, "pred_subdiv": False}),
    "ss_vae_encoder_16l8": ("SparseStructureEncoder", {"in_channels": 1, "channels": [32, 128, 512]}),
    "ss_vae_decoder_16l8": ("SparseStructureDecoder", {"out_channels": 1, "channels": [512, 128, 32]}),
}
_FLOW = {
    "model_channels": 1536,
    "cond_channels": 1024,
    "num_blocks": 30,
    "num_heads": 12,
    "mlp_ratio": 5.3334,
    "pe_mode": "rope",
    "share_mod": True,
    "initialization": "scaled",
    "qk_rms_norm": True,
    "qk_rms_norm_cross": True,
}
_BLOCKS = {"block_type": ["SparseConvNeXtBlock3d"] * 5, "block_args": [{}] * 5, "latent_channels": 32, "use_fp16": True}
_ENCODER = {
    **_BLOCKS,
    "model_channels": [64, 128, 256, 512, 1024],
    "num_blocks": [0, 4, 8, 16, 4],
    "down_block_type": ["SparseResBlockS2C3d"] * 4,
}
_DECODER = {
    **_BLOCKS,
    "model_channels": [1024, 512, 256, 128, 64],
    "num_blocks": [4, 16, 8, 4, 0],
    "up_block_type": ["SparseResBlockC2S3d"] * 4,
}


def published_args(stem: str) -> tuple[str, dict]:
    """Class and arguments of a published model."""
    name, args = _CONFIGS[stem]
    if "flow" in stem:
        return name, {**_FLOW, **args}
    if stem.startswith("ss_vae"):
        return name, {"latent_channels": 8, "num_res_blocks": 2, "num_res_blocks_middle": 2, "use_fp16": True, **args}
    return name, {**(_ENCODER if "encoder" in stem else _DECODER), **args}


@pytest.mark.parametrize("stem", sorted(_CONFIGS))
def test_published_configuration_has_the_published_state_dict(vectors_dir: Path, stem):
    expected = json.loads((vectors_dir / "models" / f"statedict_{stem}.json").read_text())
    expected.pop("rope_phases", None)  # recomputed, see SparseStructureFlowModel
    name, args = published_args(stem)
    with torch.device("meta"):
        model = models.build_model(name, args)
    actual = {k: [list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in model.state_dict().items()}
    assert list(actual) == list(expected)
    assert actual == expected
