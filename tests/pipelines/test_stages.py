"""The computations between the networks, on worked values."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trellis2.pipelines import stages
from trellis2.pipelines.errors import StageError
from trellis2.pipelines.noise import NoiseSource


def logits(*cells: tuple[int, int, int, int], grid: int = 8, batch: int = 1) -> torch.Tensor:
    out = -torch.ones(batch, 1, grid, grid, grid)
    for b, x, y, z in cells:
        out[b, 0, x, y, z] = 1
    return out


def test_occupied_cells_are_listed_in_lexicographic_order() -> None:
    coords = stages.occupied_coords(logits((0, 7, 0, 1), (0, 0, 5, 2), (0, 0, 5, 1)), 8)
    assert coords.dtype == torch.int32
    assert coords.tolist() == [[0, 0, 5, 1], [0, 0, 5, 2], [0, 7, 0, 1]]


def test_coarser_grid_is_occupied_where_any_cell_is() -> None:
    coords = stages.occupied_coords(logits((0, 7, 0, 1), (0, 0, 5, 2), (0, 1, 4, 3)), 4)
    assert coords.tolist() == [[0, 0, 2, 1], [0, 3, 0, 0]]


def test_zero_is_not_occupied() -> None:
    value = logits((0, 1, 1, 1))
    value[0, 0, 2, 2, 2] = 0
    assert stages.occupied_coords(value, 8).tolist() == [[0, 1, 1, 1]]


def test_empty_sample_is_reported_by_number() -> None:
    with pytest.raises(StageError, match="no object was found \\(sample 1 ") as caught:
        stages.occupied_coords(logits((0, 1, 1, 1), batch=2), 8)
    assert caught.value.stage == "sparse structure"


def test_grid_must_divide_and_values_be_finite() -> None:
    with pytest.raises(ValueError, match="resolution must divide"):
        stages.occupied_coords(logits((0, 1, 1, 1)), 3)
    with pytest.raises(StageError, match="not finite"):
        stages.occupied_coords(logits((0, 1, 1, 1)) * float("nan"), 8)


def test_quantized_cells_hold_the_centres() -> None:
    coords = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0], [0, 511, 256, 255], [1, 0, 0, 0]], dtype=torch.int32)
    cells = stages.quantize_coords(coords, 512, 96)
    # (0.5 / 512) * 96 = 0.09; (511.5 / 512) * 96 = 95.9; 256.5 -> 48.09; 255.5 -> 47.9
    assert cells.tolist() == [[0, 0, 0, 0], [0, 95, 48, 47], [1, 0, 0, 0]]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(2, 40))
def test_quantizing_to_the_same_grid_changes_nothing(seed: int, source: int) -> None:
    g = torch.Generator().manual_seed(seed)
    coords = torch.randint(0, source, (50, 3), generator=g).int()
    coords = torch.cat([torch.zeros(50, 1, dtype=torch.int32), coords], dim=1).unique(dim=0)
    assert torch.equal(stages.quantize_coords(coords, source, source), coords)


def full_grid(n: int) -> torch.Tensor:
    axis = torch.arange(n)
    xyz = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).reshape(-1, 3)
    return torch.cat([torch.zeros(len(xyz), 1, dtype=torch.long), xyz], dim=1).int()


@pytest.mark.parametrize(("limit", "resolution"), [(4097, 64), (4096, 48), (1729, 48), (1728, 32)])
def test_ladder_takes_the_first_rung_strictly_below_the_limit(limit: int, resolution: int) -> None:
    cells, chosen = stages.pick_resolution(full_grid(32), 32, (64, 48, 32), 4, limit)
    assert chosen == resolution
    assert cells.shape[0] == (resolution // 4) ** 3


def test_last_rung_is_not_limited_but_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        cells, chosen = stages.pick_resolution(full_grid(32), 32, (64, 48, 32), 4, 10)
    assert (chosen, cells.shape[0]) == (32, 512)
    assert "pass the limit of 10" in caplog.text


def test_normalization_round_trip_on_worked_values() -> None:
    stats = {"mean": [1.0, -2.0], "std": [2.0, 4.0]}
    feats = torch.tensor([[3.0, 2.0]])
    assert stages.normalize(feats, stats).tolist() == [[1.0, 1.0]]
    assert stages.denormalize(torch.tensor([[1.0, 1.0]]), stats).tolist() == [[3.0, 2.0]]
    with pytest.raises(ValueError, match="normalization has 2 channels"):
        stages.normalize(torch.zeros(1, 3), stats)


def test_noise_of_one_sample_is_the_published_stream() -> None:
    # one global generator, seeded once: structure noise, then token noise
    torch.manual_seed(42)
    structure, tokens = torch.randn(1, 8, 16, 16, 16), torch.randn(100, 32)
    noise = NoiseSource([42])
    coords = torch.zeros(100, 4, dtype=torch.int32)
    assert torch.equal(noise.dense((8, 16, 16, 16), torch.device("cpu")), structure)
    assert torch.equal(noise.sparse(coords, 32), tokens)


def test_noise_of_a_batch_is_that_of_its_samples() -> None:
    batch = NoiseSource([5, 6])
    coords = torch.tensor([[0, 0, 0, 0]] * 3 + [[1, 0, 0, 0]] * 4, dtype=torch.int32)
    dense, sparse = batch.dense((2, 3), torch.device("cpu")), batch.sparse(coords, 4)
    for i, (seed, rows) in enumerate([(5, slice(0, 3)), (6, slice(3, 7))]):
        single = NoiseSource([seed])
        assert torch.equal(single.dense((2, 3), torch.device("cpu"))[0], dense[i])
        own = torch.zeros(rows.stop - rows.start, 4, dtype=torch.int32)
        assert torch.equal(single.sparse(own, 4), sparse[rows])


def test_noise_ignores_and_leaves_the_global_generator() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    NoiseSource([1]).dense((4,), torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    a = NoiseSource.from_global(2).seeds
    torch.manual_seed(3)
    assert NoiseSource.from_global(2).seeds == a


@pytest.mark.parametrize("seed", [-1, 1.5, True, 2**63])
def test_bad_seeds_are_refused(seed: object) -> None:
    with pytest.raises(ValueError, match="seed must be"):
        NoiseSource([seed])  # type: ignore[list-item]


def test_noise_for_other_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="coords name 2 samples"):
        NoiseSource([1]).sparse(torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0]]), 4)
