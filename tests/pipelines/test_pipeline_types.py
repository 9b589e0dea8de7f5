"""The published table of pipeline types, and the checks on declared ones."""

from __future__ import annotations

import copy

import pytest

from trellis2.pipelines.errors import PipelineConfigError
from trellis2.pipelines.pipeline_types import (
    PUBLISHED_TEXTURE_TYPES,
    PUBLISHED_TYPES,
    parse_pipeline_types,
    parse_texture_types,
)

# type: structure grid, shape stages (model, resolution, image size), texture model, its image size, ladder
TABLE = {
    "512": (32, [("512", 512, 512)], "512", 512, [512]),
    "1024": (64, [("1024", 1024, 1024)], "1024", 1024, [1024]),
    "1024_cascade": (32, [("512", 512, 512), ("1024", 1024, 1024)], "1024", 1024, [1024]),
    "1536_cascade": (32, [("512", 512, 512), ("1024", 1536, 1024)], "1024", 1024, [1536, 1408, 1280, 1152, 1024]),
}


@pytest.mark.parametrize("name", TABLE)
def test_published_types(name: str) -> None:
    grid, stages, tex, tex_image, ladder = TABLE[name]
    kind = PUBLISHED_TYPES[name]
    assert kind.ss_resolution == grid
    assert kind.ss_cond_resolution == 512
    assert [(s.model, s.resolution, s.cond_resolution) for s in kind.shape_stages] == [
        (f"shape_slat_flow_model_{m}", r, c) for m, r, c in stages
    ]
    assert kind.tex_model == f"tex_slat_flow_model_{tex}"
    assert kind.tex_cond_resolution == tex_image
    assert list(kind.ladder) == ladder
    assert kind.resolution == ladder[0]


def test_published_latent_grids_of_the_ladder() -> None:
    assert [r // 16 for r in PUBLISHED_TYPES["1536_cascade"].ladder] == [96, 88, 80, 72, 64]


def test_published_types_name_their_networks_and_images() -> None:
    assert set(PUBLISHED_TYPES["512"].models) == {
        "sparse_structure_flow_model",
        "sparse_structure_decoder",
        "shape_slat_flow_model_512",
        "shape_slat_decoder",
        "tex_slat_flow_model_512",
        "tex_slat_decoder",
    }
    assert PUBLISHED_TYPES["512"].cond_resolutions == (512,)
    assert PUBLISHED_TYPES["1024_cascade"].cond_resolutions == (512, 1024)


def test_published_texture_types() -> None:
    assert {r: (t.tex_model[-4:].strip("_"), t.cond_resolution) for r, t in PUBLISHED_TEXTURE_TYPES.items()} == {
        512: ("512", 512),
        1024: ("1024", 1024),
        1536: ("1024", 1024),
    }


GOOD = {
    "ss_resolution": 16,
    "ss_cond_resolution": 128,
    "shape_stages": [{"model": "shape", "resolution": 128, "cond_resolution": 128}],
    "tex_model": "tex",
    "tex_cond_resolution": 128,
    "resolution": 128,
}


def test_declared_type_is_read() -> None:
    kind = parse_pipeline_types({"mini": GOOD})["mini"]
    assert kind.shape_stages[0].model == "shape"
    assert not kind.is_cascade
    assert kind.ladder == (128,)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"resolution": 64}, "last shape stage must have"),
        ({"ss_resolution": 0}, "ss_resolution must be a positive integer"),
        ({"ss_resolution": "16"}, "ss_resolution must be a positive integer"),
        ({"shape_stages": []}, "one or two stages"),
        ({"shape_stages": {}}, "must be a list"),
        ({"token_ladder": [128, 64]}, "needs a cascade"),
        ({"texmodel": "tex"}, "unknown key 'texmodel', did you mean 'tex_model'"),
        ({"tex_model": None}, "missing"),
    ],
)
def test_bad_types_are_refused(change: dict, match: str) -> None:
    definition = {**copy.deepcopy(GOOD), **change}
    if change == {"tex_model": None}:
        del definition["tex_model"]
    with pytest.raises(PipelineConfigError, match=match):
        parse_pipeline_types({"mini": definition})


def test_bad_ladder_and_stage_are_refused() -> None:
    stage = {"model": "shape", "resolution": 64, "cond_resolution": 128}
    cascade = {**GOOD, "shape_stages": [stage, GOOD["shape_stages"][0]]}
    with pytest.raises(PipelineConfigError, match="fall strictly"):
        parse_pipeline_types({"mini": {**cascade, "token_ladder": [128, 128]}})
    with pytest.raises(PipelineConfigError, match="start at the resolution"):
        parse_pipeline_types({"mini": {**cascade, "token_ladder": [96, 64]}})
    with pytest.raises(PipelineConfigError, match="unknown key 'cond'"):
        parse_pipeline_types({"mini": {**GOOD, "shape_stages": [{**stage, "cond": 1}]}})


def test_texture_types_are_read_and_checked() -> None:
    table = parse_texture_types({"128": {"tex_model": "tex", "cond_resolution": 128}})
    assert table[128].tex_model == "tex"
    with pytest.raises(PipelineConfigError, match="must be a resolution"):
        parse_texture_types({"large": {"tex_model": "tex", "cond_resolution": 128}})
    with pytest.raises(PipelineConfigError, match="non-empty"):
        parse_texture_types({})
