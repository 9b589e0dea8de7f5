"""Memory: tiers by what is free, networks that take turns, and nothing that grows."""

from __future__ import annotations

import gc
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from trellis2.pipelines import Trellis2ImageTo3DPipeline, base, finishing, placement
from trellis2.pipelines.placement import Residents

torch.set_num_threads(1)
ONE_STEP = {f"{name}_sampler_params": {"steps": 1} for name in ("sparse_structure", "shape_slat", "tex_slat")}


@pytest.fixture
def pipeline(pipeline_dir: Path) -> Trellis2ImageTo3DPipeline:
    return Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir))


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_twenty_runs_take_no_more_memory_than_the_first(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image
) -> None:
    sizes = []
    for seed in range(20):
        (latents,) = pipeline.generate(picture, (seed,), **ONE_STEP)
        pipeline.decode(latents)
        gc.collect()
        sizes.append(resident() / 1e6)
    growth = np.polyfit(np.arange(14), sizes[6:], 1)[0]
    assert growth < 1  # megabytes a run
    assert not pipeline._kept


@pytest.mark.parametrize(
    ("free", "tier"), [(140e9, "swapped"), (24e9, "swapped"), (15e9, "swapped"), (12e9, "streamed"), (6e9, "streamed")]
)
def test_tier_follows_the_free_memory(monkeypatch: pytest.MonkeyPatch, free: float, tier: str) -> None:
    monkeypatch.setattr(base, "free_memory", lambda device: int(free))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    assert base.Pipeline._tier(torch.device("cuda")) == tier
    assert base.Pipeline._tier(torch.device("cpu")) == "resident"


def test_memory_is_checked_and_attributes_make_it_manual(pipeline: Trellis2ImageTo3DPipeline) -> None:
    assert pipeline.memory == "auto"
    pipeline.memory = "plenty"
    with pytest.raises(ValueError, match="memory"):
        pipeline.to("cpu")
    pipeline.low_vram = False
    assert pipeline.memory == "manual"
    pipeline.to("cpu")
    assert pipeline.memory_tier == "resident"


def test_int8_tier_quantizes_once(pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image) -> None:
    pipeline.memory = "streamed int8"
    pipeline.to("cpu")
    pipeline.to("cpu")
    assert pipeline.memory_tier == "streamed int8"
    pipeline.run(picture, verbose=False, **ONE_STEP)


class Device:
    """A device with room for so many bytes; stands in for CUDA under `Residents`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        self.size, self.log = size, []  # type: ignore[var-annotated]
        self.models: list[Any] = []
        outer = self

        class Swapped:
            def __init__(self, model: nn.Module, device: torch.device) -> None:
                self.model, self.visits, self.num_bytes = model, False, int(model.weight.numel())  # type: ignore
                outer.models.append(self)

            def enter(self) -> None:
                if not self.visits:
                    outer.log.append(f"+{self.num_bytes}")
                self.visits = True

            def leave(self) -> None:
                if self.visits:
                    outer.log.append(f"-{self.num_bytes}")
                self.visits = False

            release = leave

            def prefetch(self) -> None:
                outer.log.append(f"~{self.num_bytes}")

        monkeypatch.setattr(placement, "SwappedModel", Swapped)
        monkeypatch.setattr(placement, "free_memory", lambda device: outer.free())

    def free(self) -> int:
        return self.size - sum(m.num_bytes for m in self.models if m.visits)


def test_networks_stay_while_there_is_room_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(monkeypatch, 100)
    residents = Residents(torch.device("cpu"))
    a, b, c = (nn.Linear(n, 1, bias=False) for n in (30, 31, 40))
    for model in (a, b, a):
        with residents.use(model, 20):
            pass
    assert device.log == ["+30", "+31"]
    with residents.use(c, 20):  # b was used less recently than a
        pass
    assert device.log[2:] == ["-31", "+40"]
    with residents.use(a, 10), residents.use(c, 20):
        pass
    assert device.log[4:] == []
    with residents.use(a, 10), residents.use(b, 60):  # a is at work and stays, whatever b asks for
        pass
    assert device.log[4:] == ["-40", "+31"]
    residents.prefetch(c, 20)  # does not fit beside the others
    assert device.log[6:] == []
    residents.clear()
    assert device.free() == 100
    residents.prefetch(c, 20)
    assert device.log[-1] == "~40"


@pytest.mark.gpu
@pytest.mark.parametrize("memory", ["resident", "swapped", "streamed", "auto"])
def test_every_tier_gives_the_same_asset(pipeline_dir: Path, picture: Image.Image, memory: str) -> None:
    assets = []
    for mode in ("resident", memory):
        pipeline = Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir))
        pipeline.memory = mode
        pipeline.to("cuda")
        for _ in range(2):
            (mesh,) = pipeline.run(picture, verbose=False)
        assets.append(mesh)
        pipeline.to("cpu")
        assert all(p.device.type == "cpu" for m in pipeline.models.values() for p in m.parameters())
    assert torch.equal(assets[0].vertices, assets[1].vertices)
    assert torch.equal(assets[0].attrs, assets[1].attrs)


@pytest.mark.gpu
def test_device_memory_is_flat(pipeline_dir: Path, picture: Image.Image) -> None:
    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(str(pipeline_dir))
    pipeline.to("cuda")
    used = []
    for seed in range(12):
        pipeline.run(picture, seed=seed, verbose=False, **ONE_STEP)
        used.append(torch.cuda.memory_allocated())
    assert max(used[4:]) - min(used[4:]) < 1e6


class OnCuda:
    """Stands for an asset of `faces` faces in device memory."""

    def __init__(self, faces: int) -> None:
        self.vertices = SimpleNamespace(device=torch.device("cuda", 0))
        self.faces = range(faces)

    def to(self, device: str) -> str:
        return device


@pytest.mark.parametrize(
    ("room", "fails", "where"), [(True, False, "cuda"), (True, True, "cpu"), (False, False, "cpu")]
)
def test_an_asset_that_does_not_fit_is_finished_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, room: bool, fails: bool, where: str
) -> None:
    asked: list[int] = []

    def make_room(device: torch.device, num_bytes: int) -> bool:
        asked.append(num_bytes)
        return room

    def finish(asset: Any) -> str:
        if asset == "cpu":
            return "cpu"
        if fails:
            raise torch.OutOfMemoryError("no memory")
        return "cuda"

    monkeypatch.setattr(finishing, "make_room", make_room)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    asset: Any = OnCuda(20_000_000)
    assert finishing._with_memory(asset, 2048, finish) == where
    assert asked == [8_400_000_000]
    assert ("runs on the CPU" in caplog.text) == (where == "cpu")


def test_idle_networks_make_room_for_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    device, gone = torch.device("cuda", 0), set[int]()
    monkeypatch.setattr(placement, "free_memory", lambda device: 4 + 4 * len(gone))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 + 4 * len(gone), 16))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    residents = Residents(torch.device("cpu"))
    residents.device = device
    for key in range(2):
        entry: Any = SimpleNamespace(leave=lambda key=key: gone.add(key))
        residents._models[key] = entry
    residents._working.add(1)
    assert placement.make_room(torch.device("cuda", 1), 8) is False  # another device: nobody leaves
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    residents.device = torch.device("cuda")  # as `pipeline.cuda()` names it
    assert placement.make_room(device, 8) is True
    assert placement.make_room(device, 12) is False  # what works stays


def test_a_decoder_that_runs_out_of_memory_tries_again_without_idle_networks(
    pipeline: Trellis2ImageTo3DPipeline, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    (latents,) = pipeline.generate(picture, (1,), **ONE_STEP)
    expected = pipeline.decode(latents)
    decode_tex_slat, calls = pipeline.decode_tex_slat, list[str]()

    def full_at_first(*args: Any) -> Any:
        calls.append("decode")
        if len(calls) == 1:
            raise torch.OutOfMemoryError("no memory")
        return decode_tex_slat(*args)

    monkeypatch.setattr(pipeline, "decode_tex_slat", full_at_first)
    with pytest.raises(torch.OutOfMemoryError):
        pipeline.decode(latents)  # nobody could leave
    calls.clear()
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    residents: Any = SimpleNamespace(
        make_room=lambda num_bytes: calls.append("room"), use=lambda *a, **k: nullcontext(), prefetch=lambda *a: None
    )
    monkeypatch.setattr(pipeline, "_residents", residents)
    mesh = pipeline.decode(latents)
    assert calls == ["decode", "room", "decode"]
    assert torch.equal(mesh.faces, expected.faces) and torch.equal(mesh.attrs, expected.attrs)
