"""Groups of widgets that both pages use."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

import gradio as gr

from .pipeline_info import STAGES, SamplerDefaults

__all__ = ["MAX_SEED", "SeedControls", "pick_seed", "sampler_controls", "sampler_options", "seed_controls"]

MAX_SEED = 2**31 - 1


class SeedControls(NamedTuple):
    seed: gr.Number
    randomize: gr.Checkbox


def seed_controls() -> SeedControls:
    seed = gr.Number(0, label="Seed", minimum=0, maximum=MAX_SEED, precision=0, info="Same seed, same asset.")
    return SeedControls(seed, gr.Checkbox(True, label="New random seed every time"))


def pick_seed(seed: float | None, randomize: bool) -> int:
    """Raises gr.Error for a seed out of range."""
    if randomize:
        return random.SystemRandom().randint(0, MAX_SEED)
    if seed is None or not 0 <= seed <= MAX_SEED:
        raise gr.Error(f"The seed must be a whole number from 0 to {MAX_SEED}.")
    return int(seed)


def sampler_controls(defaults: Mapping[str, SamplerDefaults]) -> list[gr.components.Component]:
    """Six widgets for every stage, in the order `sampler_options` expects."""
    widgets: list[gr.components.Component] = []
    for key, start in defaults.items():
        title = STAGES[key]
        with gr.Accordion(title, open=False):
            low, high = start.guidance_interval
            widgets += [
                gr.Slider(
                    1, 50, start.steps, step=1, label=f"Steps: {title}", info="More is slower and a little finer."
                ),
                gr.Slider(
                    1,
                    10,
                    start.guidance_strength,
                    step=0.1,
                    label=f"Guidance strength: {title}",
                    info="How closely to follow the picture.",
                ),
                gr.Slider(
                    0,
                    1,
                    start.guidance_rescale,
                    step=0.01,
                    label=f"Guidance rescale: {title}",
                    info="Takes back over-saturation that guidance causes.",
                ),
                gr.Slider(
                    1,
                    6,
                    start.rescale_t,
                    step=0.1,
                    label=f"Rescale T: {title}",
                    info="Above 1 spends more steps on the coarse form.",
                ),
                gr.Slider(
                    0, 1, low, step=0.05, label=f"Guidance from: {title}", info="Start of the guided part of time."
                ),
                gr.Slider(
                    0, 1, high, step=0.05, label=f"Guidance until: {title}", info="End of the guided part of time."
                ),
            ]
    return widgets


def sampler_options(stages: list[str], values: list[Any]) -> dict[str, dict[str, Any]]:
    """Options `<stage>_params` from the values of `sampler_controls`. Raises gr.Error if an interval is upside down."""
    options = {}
    for i, stage in enumerate(stages):
        steps, strength, rescale, rescale_t, low, high = values[6 * i : 6 * i + 6]
        if low > high:
            raise gr.Error(f"{STAGES[stage]}: 'Guidance from' must not be above 'Guidance until'.")
        options[f"{stage}_params"] = {
            "steps": int(steps),
            "guidance_strength": float(strength),
            "guidance_rescale": float(rescale),
            "rescale_t": float(rescale_t),
            "guidance_interval": [float(low), float(high)],
        }
    return options
