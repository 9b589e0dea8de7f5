"""Parts of the loop: precision modes, averages, schedules, flow process, losses, log."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from trellis2.trainers.conditioning import drop_condition
from trellis2.trainers.ema import ExponentialMovingAverage
from trellis2.trainers.finetune import load_finetune_weights
from trellis2.trainers.flow import FlowMatchingTrainer, bin_terms, check_t_schedule, sample_times
from trellis2.trainers.image_grid import save_image_grid
from trellis2.trainers.lr import LinearWarmupLRScheduler, WarmupCosineLRScheduler
from trellis2.trainers.precision import PrecisionPolicy
from trellis2.trainers.rng_state import get_rng_state, seed_everything, set_rng_state
from trellis2.trainers.run_log import RunLog
from trellis2.trainers.shape_vae import shape_vae_total

CPU = torch.device("cpu")


def _quadratic(mode, dtype, steps=5, bad_step=None, half=False, **kwargs):
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    if half:
        model.half()
    params = list(model.parameters())
    policy = PrecisionPolicy(params, mode, dtype, CPU, **kwargs)
    optimizer = torch.optim.SGD(policy.master_params, lr=0.1)
    x = torch.ones(4, 3)
    results = []
    for step in range(steps):
        for p in [*params, *policy.master_params]:
            p.grad = None
        with policy.autocast():
            y = model(x.half() if half else x)
            loss = y.float().pow(2).mean()
        if step == bad_step:
            loss = loss * float("inf")
        policy.backward(loss)
        results.append(policy.step(optimizer, None))
    return model, policy, results


def test_flat_fp32_equals_plain():
    plain, _, _ = _quadratic(None, torch.float32)
    flat, policy, _ = _quadratic("inflat_all", torch.float32)
    for a, b in zip(plain.parameters(), flat.parameters()):
        torch.testing.assert_close(a, b)
    assert len(policy.master_params) == 1 and policy.master_params[0].numel() == 8


def test_loss_scale_falls_on_overflow_and_grows_on_success():
    _, policy, results = _quadratic(
        "inflat_all", torch.float16, half=True, scale_start=20.0, scale_growth=0.5, scale_max=24.0, steps=12
    )
    assert results[0].skipped and not results[-1].skipped
    skipped = [r.log["log_scale"] for r in results if r.skipped]
    assert skipped == [20.0 - i - 1 for i in range(len(skipped))]  # one bit less each time
    assert policy.log_scale == skipped[-1] + 0.5 * (len(results) - len(skipped))
    _, capped, _ = _quadratic("inflat_all", torch.float16, scale_start=4.0, scale_growth=1.0, scale_max=5.0)
    assert capped.log_scale == 5.0


@pytest.mark.parametrize("mode", [None, "amp", "inflat_all"])
def test_non_finite_gradient_skips_the_step(mode):
    model, _, results = _quadratic(mode, torch.bfloat16, steps=3, bad_step=1)
    assert [r.skipped for r in results] == [False, True, False]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_policy_round_trips_weights():
    model = nn.Linear(3, 2).half()
    policy = PrecisionPolicy(list(model.parameters()), "inflat_all", torch.float16, CPU)
    values = [torch.full((2, 3), 0.1), torch.full((2,), 0.2)]
    policy.assign(policy.master_params, values)
    for got, expected in zip(policy.unflatten(policy.master_params), values):
        torch.testing.assert_close(got, expected)
    policy.load_state_dict({"log_scale": 3})
    assert policy.state_dict() == {"log_scale": 3.0}


def test_average_formula_and_warmup():
    p = torch.zeros(2)
    ema = ExponentialMovingAverage([p], [0.9, 0.5])
    p.fill_(1.0)
    ema.update([p], 0)
    assert ema.copies[0.9][0].tolist() == pytest.approx([0.1, 0.1])
    assert ema.copies[0.5][0].tolist() == pytest.approx([0.5, 0.5])
    warm = ExponentialMovingAverage([torch.zeros(1)], [0.999], warmup=True)
    warm.update([torch.ones(1)], 0)
    assert warm.copies[0.999][0].item() == pytest.approx(0.9)
    warm.reset([torch.full((1,), 7.0)])
    assert warm.copies[0.999][0].item() == 7


def test_schedules():
    p = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=1.0)
    warm = LinearWarmupLRScheduler(optimizer, 4)
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        warm.step()
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    optimizer = torch.optim.SGD([p], lr=2.0)
    cosine = WarmupCosineLRScheduler(optimizer, warmup_steps=2, final_ratio=0.1)
    rates = [optimizer.param_groups[0]["lr"]]
    for progress in (0.0, 0.5, 1.0, 2.0):
        cosine.set_progress(progress)
        optimizer.step()
        cosine.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1.0, 2.0, 2 * 0.55, 0.2, 0.2])
    assert "warmup_steps" in cosine.state_dict()
    with pytest.raises(ValueError, match="final_ratio"):
        WarmupCosineLRScheduler(torch.optim.SGD([p], lr=1.0), final_ratio=2)


def test_time_distribution_vector():
    np.random.seed(0)
    t = sample_times({"name": "logitNormal", "args": {"mean": 1.0, "std": 1.0}}, 400_000)
    shares = torch.histc(t, 10, 0, 1) / len(t)
    expected = [0.0007, 0.0079, 0.0239, 0.0479, 0.0786, 0.1173, 0.1632, 0.2113, 0.2339, 0.1154]
    assert shares.tolist() == pytest.approx(expected, abs=2e-3)
    uniform = sample_times({"name": "uniform", "args": {}}, 1000)
    assert uniform.min() >= 0 and uniform.max() < 1
    with pytest.raises(ValueError, match="logitNormal"):
        check_t_schedule({"name": "lognormal"})
    with pytest.raises(ValueError, match="unknown key 'mu'"):
        check_t_schedule({"name": "logitNormal", "args": {"mu": 1}})


def test_flow_process_is_invertible():
    flow = FlowMatchingTrainer.__new__(FlowMatchingTrainer)
    flow.sigma_min = 1e-5
    x_0, noise, t = torch.randn(3, 2, 2), torch.randn(3, 2, 2), torch.tensor([0.0, 0.3, 0.9])
    x_t = flow.diffuse(x_0, t, noise)
    torch.testing.assert_close(flow.reverse_diffuse(x_t, t, noise), x_0, atol=1e-4, rtol=1e-4)
    # the velocity is d x_t / d t
    later = flow.diffuse(x_0, t + 1e-3, noise)
    torch.testing.assert_close((later - x_t) / 1e-3, flow.get_v(x_0, noise), atol=2e-3, rtol=2e-3)


def test_bins_hold_the_mean_of_their_samples():
    terms = bin_terms(torch.tensor([1.0, 3.0, 5.0, 9.0]), torch.tensor([0.05, 0.01, 0.95, 1.0]))
    assert {k: v["mse"].item() for k, v in terms.items()} == {"bin_0": 2.0, "bin_9": 5.0}


def test_condition_dropout_keeps_pairs_together():
    mask = np.array([True, False])
    cond, neg = torch.ones(2, 3, 4), torch.zeros(2, 3, 4)
    out = drop_condition({"a": cond, "b": [cond[0], cond[1]]}, {"a": neg, "b": [neg[0], neg[1]]}, mask)
    assert out["a"].sum(dim=(1, 2)).tolist() == [0, 12]
    assert [v.sum().item() for v in out["b"]] == [0, 12]


def test_shape_vae_total_vector():
    terms = {
        "direct/intersected": 0.79031, "direct/vertice": 0.24863, "bce_sub0": 0.81611, "bce_sub1": 0.76778,
        "render/mask": 0.067981, "render/depth": 0.067981, "render/normal/l1": 0.067981,
        "render/normal/ssim": 0.92442, "render/normal/lpips": 0.019323, "kl": 1.07196,
    }  # fmt: skip
    weights = {"subdiv": 0.1, "intersected": 0.1, "vertice": 0.01, "mask": 1, "depth": 10, "normal": 1, "kl": 1e-6,
               "ssim": 0.2, "lpips": 0.2}  # fmt: skip
    assert shape_vae_total(terms, weights) == pytest.approx(1.24443, abs=2e-5)


def test_random_state_round_trip():
    import random

    seed_everything(5)
    state = get_rng_state(CPU)
    torch.save(state, buffer := io.BytesIO())
    draws = [torch.rand(3), np.random.randn(3), [random.gauss(0, 1) for _ in range(3)]]
    buffer.seek(0)
    set_rng_state(torch.load(buffer, weights_only=True), CPU)
    again = [torch.rand(3), np.random.randn(3), [random.gauss(0, 1) for _ in range(3)]]
    assert torch.equal(draws[0], again[0]) and np.array_equal(draws[1], again[1]) and draws[2] == again[2]


def test_log_lines_and_empty_flush(tmp_path):
    log = RunLog(tmp_path)
    log.flush()
    log.add(1, {"loss": {"loss": torch.tensor(2.0), "bin_1": {"mse": torch.tensor(math.nan)}}, "x": 1.5})
    assert log.latest("loss", "loss") == 2.0 and log.latest("loss", "none") is None
    log.flush()
    log.add(2, {"loss": {"loss": torch.tensor(3.0)}})
    log.close()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert lines[0].startswith("1: ") and "NaN" in lines[0]
    assert json.loads(lines[1].split(": ", 1)[1]) == {"loss": {"loss": 3.0}}


def test_finetune_report(tmp_path, caplog):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    state = {k: torch.full_like(v, 0.5) for k, v in model.state_dict().items()}
    state["1.weight"] = torch.zeros(5, 5)
    state["extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "m.pt")
    before = model[1].weight.clone()
    load_finetune_weights({"m": model, "other": nn.Linear(1, 1)}, {"m": str(tmp_path / "m.pt")})
    assert torch.equal(model[1].weight, before) and model[0].weight.detach().mean().item() == 0.5
    assert "extra" in caplog.text and "1.weight" in caplog.text and "other" in caplog.text
    del state["0.weight"]
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(ValueError, match=r"lacks keys of m: \['0.weight'\]"):
        load_finetune_weights({"m": model}, {"m": str(tmp_path / "m.pt")})
    with pytest.raises(ValueError, match="names 'x'"):
        load_finetune_weights({"m": model}, {"x": "y"})
    with pytest.raises(ValueError, match="does not exist"):
        load_finetune_weights({"m": model}, {"m": str(tmp_path / "none.pt")})


def test_image_grid(tmp_path):
    save_image_grid(torch.rand(5, 3, 8, 6), tmp_path / "a" / "grid.jpg")
    from PIL import Image

    assert Image.open(tmp_path / "a" / "grid.jpg").size == (12, 24)
    with pytest.raises(ValueError, match=r"\[N, 3, H, W\]"):
        save_image_grid(torch.rand(3, 8, 8), tmp_path / "b.jpg")
