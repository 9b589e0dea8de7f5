"""Stages tell how far they are, and stop when they are told to."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from trellis2.pipelines import Trellis2ImageTo3DPipeline, Trellis2TexturingPipeline
from trellis2.pipelines.jobs import GenerateOptions, generate
from trellis2.pipelines.progress import Cancelled, CancelToken, Monitor

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pipeline(pipeline_dir: Path) -> Trellis2ImageTo3DPipeline:
    return Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir))


@pytest.mark.parametrize("kind", ["32", "64_cascade"])
@pytest.mark.parametrize(("samples", "texture"), [(1, True), (2, True), (1, False)])
def test_stages_come_as_planned(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image, kind: str, samples: int, texture: bool
) -> None:
    seen: list[tuple[str, int, int]] = []
    monitor = Monitor(None, lambda *event: seen.append(event))
    options = GenerateOptions(num_samples=samples, pipeline_type=kind, texture=texture, max_num_tokens=1)
    generate(pipeline, picture, options, monitor)
    plan = pipeline.stage_plan(kind, num_samples=samples, texture=texture)
    expected = [(name, step, total) for name, total in plan for step in range(total + 1)]
    assert seen == expected
    assert set(monitor.timings) == {name for name, _ in plan}
    assert all(value >= 0 for value in monitor.timings.values())


def test_token_stops_a_run_at_the_next_step(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    token = CancelToken()
    seen: list[tuple[str, int]] = []

    def watch(stage: str, step: int, total: int) -> None:
        seen.append((stage, step))
        if (stage, step) == ("shape SLat", 1):
            token.cancel()

    with pytest.raises(Cancelled, match="cancelled during shape SLat") as stopped:
        pipeline.run(picture, on_progress=watch, cancel=token, verbose=False)
    assert stopped.value.stage == "shape SLat"
    assert seen[-1] == ("shape SLat", 1)
    assert pipeline._kept == set()  # nothing is held back for a run that is over
    with pytest.raises(Cancelled):
        pipeline.run(picture, cancel=token, verbose=False)
    pipeline.run(picture, cancel=CancelToken(), verbose=False)


def test_token_of_another_thread(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    token, started = CancelToken(), threading.Event()

    def cancel() -> None:
        started.wait(60)
        token.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled):
        for _ in range(50):
            pipeline.run(picture, on_progress=lambda *_: started.set(), cancel=token, verbose=False)
    thread.join()


def test_callback_may_raise(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    def fail(stage: str, step: int, total: int) -> None:
        raise KeyError(stage)

    with pytest.raises(KeyError, match="image"):
        pipeline.run(picture, on_progress=fail, verbose=False)


def test_texturing_reports_and_stops(pipeline_dir: Path, picture: Image.Image) -> None:
    import trimesh

    texturing = Trellis2TexturingPipeline.from_pretrained(str(pipeline_dir))
    seen: list[str] = []
    mesh: Any = trimesh.creation.icosphere(2)
    options = {"texture_size": 32, "verbose": False}
    texturing.run(mesh, picture, on_progress=lambda stage, *_: seen.append(stage), **options)
    order = ["image", "image encoder", "shape encoder", "texture SLat", "texture decoder", "bake"]
    assert list(dict.fromkeys(seen)) == order
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        texturing.run(mesh, picture, cancel=token, **options)


def test_monitor_adds_up_times_and_reports_ends_once() -> None:
    seen: list[tuple[str, int, int]] = []
    monitor = Monitor(None, lambda *event: seen.append(event))
    for _ in range(2):
        with monitor.stage("a", 2):
            monitor.report("a", 1, 2)
            monitor.report("a", 2, 2)
    with monitor.stage("b"):
        pass
    assert seen == [("a", 0, 2), ("a", 1, 2), ("a", 2, 2)] * 2 + [("b", 0, 1), ("b", 1, 1)]
    with pytest.raises(ZeroDivisionError), monitor.stage("c"):
        1 / 0  # noqa: B018
    assert seen[-1] == ("c", 0, 1)
    assert list(monitor.timings) == ["a", "b", "c"]
