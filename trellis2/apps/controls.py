"""Groups of widgets that both pages use."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from trellis2.serve.store import QueueFull
from trellis2.serve.uploads import clean_image

from .pipeline_info import STAGES, SamplerDefaults

__all__ = [
    "MAX_IMAGES",
    "MAX_SEED",
    "SeedControls",
    "busy_buttons",
    "pick_seed",
    "picture_paths",
    "read_pictures",
    "sampler_controls",
    "sampler_options",
    "seed_controls",
    "sending",
]

MAX_SEED = 2**31 - 1
MAX_IMAGES = 8


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


def picture_paths(one: str | None, several: Any) -> list[str]:
    """Files of the picture, if there is one, and of the views of a gallery. Raises gr.Error for none or too many."""
    paths = [one] if one else []
    paths += [item[0] if isinstance(item, (tuple, list)) else item for item in several or []]
    if not paths:
        raise gr.Error("Choose a picture first.")
    if len(paths) > MAX_IMAGES:
        raise gr.Error(f"At most {MAX_IMAGES} pictures, please.")
    return paths


def read_pictures(paths: list[str]) -> dict[str, bytes]:
    """Inputs of a job. Raises ValueError for a file that is no picture."""
    return {f"image_{i}.png": clean_image(Path(path).read_bytes()) for i, path in enumerate(paths)}


@contextmanager
def sending() -> Iterator[None]:
    """What keeps a job from being queued, as a message on the page."""
    try:
        yield
    except QueueFull:
        raise gr.Error("Too many people are waiting. Please try again in a few minutes.") from None
    except ValueError as error:
        raise gr.Error(f"This cannot be used: {error}") from None


def busy_buttons() -> tuple[Any, Any, Any]:
    """The button that starts, the one that cancels, and the one that needs a result, while a job is under way."""
    return gr.update(interactive=False), gr.update(interactive=True), gr.update(interactive=False)
