"""Choice of tile sizes: shipped, tuned and kept; the numerical recipe does not depend on any of them."""

from __future__ import annotations

import json

import pytest
import torch

from trellis2.ops import conv_tuning
from trellis2.ops.conv_configs import (
    ConvProblem,
    Recipe,
    conv_candidates,
    conv_recipe,
    weight_grad_candidates,
    weight_grad_chunk,
)
from trellis2.ops.conv_tuning import choose, problem_key

CUDA = torch.device("cuda")
GPUS = [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)]


def problem(rows=277_639, ck=256, cn=256, dtype=torch.float16, kind="forward", volume=27):
    return ConvProblem(kind, dtype, rows, ck, cn, volume)


@pytest.fixture
def table(monkeypatch, tmp_path):
    """A table of tuned choices of this test alone, on a device that need not be there."""
    path = tmp_path / "tuning" / "conv_test.json"
    monkeypatch.setattr(conv_tuning, "table_path", lambda device: path)
    monkeypatch.setattr(conv_tuning, "_tables", {})
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.delenv("TRELLIS2_AUTOTUNE", raising=False)
    return path


@pytest.mark.parametrize("capability", GPUS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_gpu_has_a_shipped_choice_for_every_shape(capability, dtype):
    for ck, cn in [(1, 1), (3, 700), (64, 64), (128, 128), (256, 256), (1024, 512), (1023, 17)]:
        for rows in (0, 1, 5000, 5_000_000):
            p = problem(rows, ck, cn, dtype)
            found = conv_candidates(p, capability, capability[0] == 9 and ck % 64 == cn % 64 == 0, conv_recipe(p))
            assert 1 <= len(found) <= 6 and len(set(found)) == len(found)
            assert all(c.bm * c.bn <= 128 * 256 and min(c.bm, c.bn, c.bk) >= 16 for c in found)
            assert {(c.groups, c.slices) for c in found} == {conv_recipe(p)}
            assert weight_grad_candidates(p, capability)


def test_the_recipe_splits_sums_where_programs_or_pure_tiles_are_few():
    assert conv_recipe(problem()) == Recipe(1, 1)
    assert conv_recipe(problem(16_842, 1024, 1024)) == Recipe(3, 1)
    assert conv_recipe(problem(3_898, 1024, 1024)) == Recipe(1, 1)
    assert conv_recipe(problem(100, 1024, 1024)).slices > 1
    assert conv_recipe(problem(100, 16, 16, volume=1)) == Recipe(1, 1)
    assert conv_recipe(problem(16_842, 1024, 512, kind="children")) == Recipe(1, 1)


def test_chunks_of_the_weight_gradient_follow_from_the_shape():
    pairs = problem(4_127_000, kind="weight_grad")
    assert 16_000 < weight_grad_chunk(pairs) < 17_000
    assert {c.chunk for c in weight_grad_candidates(pairs, (9, 0), True)} == {weight_grad_chunk(pairs)}
    assert weight_grad_chunk(problem(0, kind="weight_grad")) == 4096
    assert weight_grad_chunk(problem(1 << 40, kind="weight_grad")) == 65536


def test_nothing_is_timed_unless_asked(table):
    candidates = conv_candidates(problem(), (9, 0), False, Recipe())
    called = []
    assert choose(candidates, problem(), CUDA, called.append) == candidates[0]
    assert not called and not table.exists()


def test_the_fastest_is_kept_and_used_again(table, monkeypatch):
    candidates = conv_candidates(problem(), (9, 0), False, Recipe())
    times = {c: float(i + 1) for i, c in enumerate(reversed(candidates))}
    last = []
    monkeypatch.setenv("TRELLIS2_AUTOTUNE", "1")
    monkeypatch.setattr(conv_tuning, "_milliseconds", lambda run: run() or times[last[-1]])
    assert choose(candidates, problem(), CUDA, last.append) == candidates[-1]
    assert set(last) == set(candidates)
    monkeypatch.delenv("TRELLIS2_AUTOTUNE")
    conv_tuning._tables.clear()
    assert choose(candidates, problem(rows=270_000), CUDA, last.append) == candidates[-1]
    assert choose(candidates, problem(rows=10_000), CUDA, last.append) == candidates[0]
    assert list(table.parent.iterdir()) == [table]


def test_a_candidate_that_cannot_run_is_passed_over(table, monkeypatch):
    candidates = conv_candidates(problem(), (9, 0), False, Recipe())

    def run(config):
        if config != candidates[2]:
            raise RuntimeError("out of resource: shared memory")

    monkeypatch.setenv("TRELLIS2_AUTOTUNE", "1")
    monkeypatch.setattr(conv_tuning, "_milliseconds", lambda run: run() or 1.0)
    assert choose(candidates, problem(), CUDA, run) == candidates[2]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"entries": 3}', json.dumps({"entries": {problem_key(problem()): [1]}})]
)
def test_a_bad_table_falls_back_to_the_shipped_choice(table, text):
    table.parent.mkdir()
    table.write_text(text)
    candidates = conv_candidates(problem(), (9, 0), False, Recipe())
    assert choose(candidates, problem(), CUDA, lambda c: None) == candidates[0]


def test_tuning_without_a_gpu_is_an_error(capsys):
    with pytest.raises(SystemExit):
        conv_tuning.main(["--device", "cpu"])
    assert "needs a CUDA device" in capsys.readouterr().err
