"""What the pages are made of, without a browser."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
import pytest

from trellis2.apps.controls import MAX_SEED, pick_seed, sampler_options
from trellis2.apps.pipeline_info import read_pipeline_info
from trellis2.apps.session import Session, new_owner
from trellis2.apps.status import report_markdown, status_html, status_text
from trellis2.apps.viewer import MODES, asset_html, viewer_html
from trellis2.serve.pool import WorkerPool, WorkerState
from trellis2.serve.preview_names import picture_name
from trellis2.serve.store import JobStore

REPO = Path(__file__).resolve().parents[2]
MINI = str(REPO / "assets" / "models" / "mini")


@pytest.fixture
def session(tmp_path):
    store = JobStore(tmp_path)
    yield Session(store, WorkerPool(store, ("cpu",), "nowhere:Nothing", {}))
    store.close()


def finish(session, job_id, files):
    assert session.store.take().id == job_id
    for name in files:
        (session.store.path(job_id) / name).write_bytes(b"x")
    (session.store.path(job_id) / "results.json").write_text(json.dumps(files))
    session.store.finish(job_id, "done")


def test_nobody_sees_the_jobs_of_others(session):
    me, you = new_owner(), new_owner()
    job = session.send("generate", me, {}, {"image_0.png": b"x"})
    assert session.look(job, me).job.id == job
    for stranger in (you, "", None):
        assert session.look(job, stranger) is None
        session.cancel(job, stranger)
        assert session.history(stranger, "generate") == []
    assert session.look(job, me).job.state == "queued"
    session.cancel(job, me)
    assert session.look(job, me).job.state == "cancelled"


def test_the_page_says_what_works_here(session, monkeypatch):
    assert session.hardware() == "The networks are being loaded."
    states = [
        WorkerState("cuda:0", "idle", None, "", "H200, 150 GB"),
        WorkerState("cuda:1", "busy", "x", "", "H200, 150 GB"),
    ]
    monkeypatch.setattr(session.pool, "states", lambda: states)
    assert session.hardware() == "2 x H200, 150 GB"
    monkeypatch.setattr(session.pool, "states", lambda: [WorkerState("cpu", "broken", None, "no such folder")])
    assert session.hardware() == "The networks cannot be loaded: no such folder"


def test_options_are_checked_before_a_job_waits(session):
    with pytest.raises(ValueError, match="seed"):
        session.send("generate", new_owner(), {"seed": -1}, {})
    assert sum(session.store.counts().values()) == 0


def test_only_listed_files_can_be_had(session):
    me = new_owner()
    job = session.send("generate", me, {}, {"image_0.png": b"x"})
    finish(session, job, [picture_name("clay", 0), "latent.safetensors"])
    now = session.look(job, me)
    assert now.preview_modes == ("clay",) and session.path(now, "latent.safetensors").read_bytes() == b"x"
    with pytest.raises(KeyError):
        session.path(now, "image_0.png")
    assert [snapshot.job.id for snapshot in session.history(me, "generate")] == [job]


def test_what_is_said_of_a_job(session):
    me = new_owner()
    first, second = session.send("generate", me, {}, {}), session.send("generate", me, {}, {})
    assert status_text(session.look(first, me).job, 0) == "Starting next"
    assert status_text(session.look(second, me).job, 1) == "Waiting: 1 before you"
    session.store.take()
    session.store.progress(first, "shape SLat", 3, 12)
    assert "forming the surface, step 3 of 12" in status_html(session.look(first, me).job)
    assert 'value="3" max="12"' in status_html(session.look(first, me).job)
    session.store.finish(first, "failed", "the <b>picture</b> is empty")
    page = status_html(session.look(first, me).job)
    assert "&lt;b&gt;picture" in page and "<b>" not in page and "<progress" not in page


def test_viewer_offers_what_is_there_and_escapes():
    page = viewer_html('/v1/jobs/a"b/files/', 'a"b', ("shaded-studio", "normal"))
    assert page.count('type="radio"') == 2 and page.count(" checked") == 1 and 'a"b' not in page
    assert "viewer-empty" in viewer_html("/x/", "x", ())
    assert "model-viewer" not in asset_html(None) and "/x.glb" in asset_html("/x.glb")
    assert len({mode.key for mode in MODES}) == len(MODES) == 14


def test_seeds():
    assert pick_seed(5, False) == 5
    assert 0 <= pick_seed(None, True) <= MAX_SEED
    for wrong in (None, -1, MAX_SEED + 1):
        with pytest.raises(gr.Error, match="seed"):
            pick_seed(wrong, False)


def test_sampler_options_have_the_names_that_jobs_take(session):
    info = read_pipeline_info(MINI)
    values = [v for _ in info.samplers for v in (3, 2.0, 0.1, 1.5, 0.0, 1.0)]
    options = sampler_options(list(info.samplers), values)
    session.send("generate", new_owner(), {**options, "preview": True, "export": None}, {})
    assert options["shape_slat_sampler_params"]["steps"] == 3
    with pytest.raises(gr.Error, match="must not be above"):
        sampler_options(["tex_slat_sampler"], [3, 2.0, 0.1, 1.5, 0.9, 0.1])


@pytest.mark.parametrize(("config", "sizes"), [("pipeline.json", {"64": 64}), ("texturing_pipeline.json", {"64": 64})])
def test_the_bundled_pipeline_is_described(config, sizes):
    info = read_pipeline_info(MINI, config)
    assert info.resolutions == sizes and info.default_type in sizes and info.samplers and not info.large


def test_a_file_that_is_no_pipeline_is_refused(tmp_path):
    (tmp_path / "pipeline.json").write_text('{"args": 3}')
    with pytest.raises(ValueError, match="no pipeline file"):
        read_pipeline_info(str(tmp_path))


def test_report_in_plain_words():
    report = {"faces": 20000, "output": {"watertight": False, "winding_conflicts": 2}, "alpha_mode": "MASK"}
    text = report_markdown(report)
    assert "20,000 triangles" in text and "open surface" in text and "2 edges" in text and "cut-outs" in text
