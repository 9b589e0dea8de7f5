"""The page that makes 3D assets from pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from trellis2.serve.preview_names import picture_name

from .controls import (
    MAX_IMAGES,
    busy_buttons,
    pick_seed,
    picture_paths,
    read_pictures,
    sampler_controls,
    sampler_options,
    seed_controls,
    sending,
)
from .pipeline_info import PipelineInfo
from .session import Session, Snapshot, new_owner
from .status import report_markdown, status_html
from .viewer import asset_html, placeholder_html, viewer_html

__all__ = ["build_image_page"]

FORMATS = {
    "GLB, PNG textures (opens everywhere)": ("glb", "png"),
    "GLB, WebP textures (smallest)": ("glb", "webp"),
    "GLB, JPEG textures": ("glb", "jpeg"),
    "OBJ + MTL + PNG (zip)": ("obj", "png"),
    "PLY, vertex colours": ("ply", "png"),
    "STL (shape only, for printing)": ("stl", "png"),
}
PROFILES = {
    "Game: exact budget, clean outside": "game",
    "Print: closed and solid": "print",
    "Raw: as decoded": "raw",
}


def build_image_page(session: Session, info: PipelineInfo, owner: gr.BrowserState, examples: Sequence[Path]) -> None:
    """Lay out the page inside the current `gr.Blocks` and connect it. `owner` is the browser's secret."""
    large = info.large
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            with gr.Tabs():
                with gr.Tab("One picture"):
                    image = gr.Image(
                        type="filepath",
                        label="Picture of one object",
                        sources=["upload", "clipboard", "webcam"],
                        image_mode="RGBA",
                        format="png",
                        height=300,
                        elem_id="image",
                    )
                with gr.Tab("Several views"):
                    views = gr.Gallery(
                        type="filepath",
                        label=f"2 to {MAX_IMAGES} pictures of the same object",
                        file_types=["image"],
                        interactive=True,
                        columns=3,
                        height=300,
                        format="png",
                    )
            if examples:
                gr.Examples([[str(path)] for path in examples], [image], label="Examples", examples_per_page=16)
            resolution = gr.Radio(
                [
                    (f"{size}³ ({key})" if str(size) != key else f"{size}³", key)
                    for key, size in info.resolutions.items()
                ],
                value=info.default_type,
                label="Resolution",
                info="Voxels a side of the finished object.",
            )
            seed, randomize = seed_controls()
            with gr.Row():
                generate = gr.Button("Generate", variant="primary", elem_id="generate")
                cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel")
            with gr.Accordion("Advanced settings", open=False):
                samplers = sampler_controls(info.samplers)
        with gr.Column(scale=7, min_width=320):
            status = gr.HTML(status_html(None, message="Choose a picture, then press Generate."), elem_id="status")
            viewer = gr.HTML(placeholder_html(), elem_id="viewer")
            gr.Markdown("## Take it with you")
            with gr.Row():
                profile = gr.Dropdown(list(PROFILES.items()), value="game" if large else "print", label="Made for")
                format_ = gr.Dropdown(list(FORMATS), value=next(iter(FORMATS)), label="File")
            with gr.Row():
                faces = gr.Slider(
                    1000,
                    1_000_000 if large else 60_000,
                    500_000 if large else 20_000,
                    step=1000,
                    label="Most triangles",
                )
                texture = gr.Slider(512, 4096, 2048 if large else 1024, step=512, label="Texture size")
            extract = gr.Button("Make the file", variant="primary", interactive=False, elem_id="extract")
            export_status = gr.HTML(status_html(None), elem_id="export-status")
            model = gr.HTML(asset_html(None), elem_id="model")
            report = gr.Markdown()
            download = gr.DownloadButton("Download", interactive=False, elem_id="download")
    with gr.Accordion("Made in this browser", open=True):
        history = gr.Gallery(
            label="Click one to bring it back",
            columns=8,
            height=170,
            allow_preview=False,
            elem_id="history",
            interactive=False,
        )
    job, ids = gr.State(""), gr.State([])  # the job that is shown; ids behind the history

    def send(
        secret: str, one: str | None, several: Any, kind: str, number: float, new: bool, *values: Any
    ) -> tuple[str, int, Any, Any, Any]:
        paths = picture_paths(one, None if one else several)
        used = pick_seed(number, new)
        options = {"pipeline_type": kind, "seed": used, "preview": True, "export": None}
        options |= sampler_options(list(info.samplers), list(values))
        with sending():
            job_id = session.send("generate", secret, options, read_pictures(paths))
        return job_id, used, *busy_buttons()

    async def follow(secret: str, job_id: str) -> AsyncIterator[tuple[Any, ...]]:
        """Status, viewer, buttons until the job has ended."""
        yield (gr.skip(),) * 7  # a generator without results would empty its outputs
        shown: tuple[str, ...] = ()
        async for now in session.follow(job_id, secret):
            picture = gr.skip()
            if now.preview_modes and now.preview_modes != shown:
                shown = now.preview_modes
                picture = _viewer(now)
            over, good = now.job.final, now.job.state == "done"
            yield (
                status_html(now.job, now.position),
                picture,
                gr.update(interactive=over),
                gr.update(interactive=not over),
                gr.update(interactive=good),
                *(_history(session, secret) if over else (gr.skip(), gr.skip())),
            )

    def stop(secret: str, job_id: str) -> None:
        session.cancel(job_id, secret)

    def enter(secret: str | None) -> tuple[Any, ...]:
        """A visit starts: the history, and the newest job if it is still under way."""
        secret = secret or new_owner()
        pictures, known = _history(session, secret)
        running = next((s.job.id for s in session.history(secret, "generate") if not s.job.final), "")
        return secret, pictures, known, running

    def recall(secret: str, known: list[str], event: gr.SelectData) -> tuple[Any, ...]:
        now = session.look(known[event.index], secret) if event.index < len(known) else None
        if now is None:
            raise gr.Error("This asset is no longer kept.")
        return (
            now.job.id,
            status_html(now.job, now.position),
            _viewer(now),
            gr.update(interactive=now.job.state == "done"),
        )

    async def export(
        secret: str, job_id: str, made_for: str, chosen: str, most: int, size: int
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Make a file of the shown job; status, 3D view, report, download."""
        source = session.look(job_id, secret)
        if source is None or "latent.safetensors" not in source.files:
            raise gr.Error("Generate something first.")
        kind, image_format = FORMATS[chosen]
        options = {
            "profile": made_for,
            "faces": int(most),
            "texture_size": int(size),
            "format": kind,
            "image_format": image_format,
        }
        latent = session.path(source, "latent.safetensors").read_bytes()
        with sending():
            export_id = session.send("export", secret, options, {"latent.safetensors": latent})
        yield gr.skip(), gr.skip(), gr.skip(), gr.update(interactive=False), gr.update(interactive=False)
        async for now in session.follow(export_id, secret):
            yield (
                status_html(now.job, now.position),
                gr.skip(),
                gr.skip(),
                gr.skip(),
                gr.update(interactive=now.job.final),
            )
            if now.job.state == "done":
                names = [name for name in now.files if name.startswith("asset.")]
                file = session.path(now, "asset.zip" if "asset.zip" in names else names[0])
                glb = next((name for name in names if name.endswith(".glb")), None)
                seen = asset_html(
                    None if glb is None else f"/v1/jobs/{export_id}/files/{glb}",
                    "This kind of file is not shown here, but it is ready.",
                )
                text = report_markdown(session.report(now))
                ready = gr.update(value=str(file), interactive=True)
                yield gr.skip(), seen, text, ready, gr.skip()

    following: dict[str, Any] = {
        "fn": follow,
        "inputs": [owner, job],
        "outputs": [status, viewer, generate, cancel, extract, history, ids],
        "concurrency_limit": None,
        "show_progress": "hidden",
    }
    gr.on(
        [generate.click],
        send,
        [owner, image, views, resolution, seed, randomize, *samplers],
        [job, seed, generate, cancel, extract],
        concurrency_limit=None,
        api_name="generate",
    ).success(**following)
    cancel.click(stop, [owner, job], None, concurrency_limit=None, show_progress="hidden")
    extract.click(
        export,
        [owner, job, profile, format_, faces, texture],
        [export_status, model, report, download, extract],
        concurrency_limit=None,
        show_progress="hidden",
    )
    history.select(recall, [owner, ids], [job, status, viewer, extract], show_progress="hidden")
    gr.on([_blocks().load], enter, [owner], [owner, history, ids, job], show_progress="hidden").success(**following)


def _blocks() -> gr.Blocks:
    block = gr.context.Context.root_block
    assert block is not None, "build_image_page is called inside a gr.Blocks"
    return block


def _viewer(now: Snapshot) -> str:
    if not now.preview_modes:
        return placeholder_html("No preview yet.")
    return viewer_html(f"/v1/jobs/{now.job.id}/files/", now.job.id, now.preview_modes)


def _history(session: Session, owner: str) -> tuple[list[str], list[str]]:
    """Pictures, and the ids of their jobs."""
    pictures, ids = [], []
    for now in session.history(owner, "generate"):
        if now.job.state == "done" and now.preview_modes:
            name = picture_name(now.preview_modes[0], 0)
            pictures.append(str(session.path(now, name)))
            ids.append(now.job.id)
    return pictures, ids
