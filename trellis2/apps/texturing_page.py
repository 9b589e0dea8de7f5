"""The page that gives a mesh materials after pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from trellis2.serve.uploads import mesh_format

from .controls import (
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
from .session import Session, new_owner
from .status import report_markdown, status_html
from .viewer import asset_html

__all__ = ["build_texturing_page"]

UV_CHOICES = {
    "Keep the mesh's own UVs; make them where there are none": "auto",
    "Keep them, refuse a mesh without": "keep",
    "Make new ones": "unwrap",
}


def build_texturing_page(
    session: Session, info: PipelineInfo, owner: gr.BrowserState, examples: Sequence[Path]
) -> None:
    """Lay out the page inside the current `gr.Blocks` and connect it. `owner` is the browser's secret."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300):
            mesh = gr.Model3D(label="Mesh (GLB, PLY, OBJ, STL)", height=260, elem_id="mesh", interactive=True)
            image = gr.Image(
                type="filepath",
                label="Picture of how it should look",
                sources=["upload", "clipboard", "webcam"],
                image_mode="RGBA",
                format="png",
                height=260,
                elem_id="image",
            )
            with gr.Accordion("More pictures of it (optional)", open=False):
                views = gr.Gallery(
                    type="filepath",
                    label="Other views",
                    file_types=["image"],
                    interactive=True,
                    columns=3,
                    height=220,
                    format="png",
                )
            if examples:
                gr.Examples([[str(path)] for path in examples], [image], label="Example pictures", examples_per_page=16)
            sizes = sorted(set(info.resolutions.values()))
            resolution = gr.Radio(
                [(f"{size}³", size) for size in sizes],
                value=info.resolutions[info.default_type],
                label="Resolution",
                info="Voxels a side of the finished object.",
            )
            uv = gr.Dropdown(list(UV_CHOICES.items()), value="auto", label="UVs")
            texture = gr.Slider(512, 4096, 2048 if info.large else 1024, step=512, label="Texture size")
            seed, randomize = seed_controls()
            with gr.Row():
                generate = gr.Button("Texture it", variant="primary", elem_id="generate")
                cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel")
            with gr.Accordion("Advanced settings", open=False):
                defaults = {name: start for name, start in info.samplers.items() if name == "tex_slat_sampler"}
                samplers = sampler_controls(defaults)
        with gr.Column(scale=7, min_width=320):
            status = gr.HTML(status_html(None, message="Choose a mesh and a picture, then press Texture it."))
            model = gr.HTML(asset_html(None), elem_id="model")
            report = gr.Markdown()
            download = gr.DownloadButton("Download", interactive=False, elem_id="download")
    job = gr.State("")

    def send(
        secret: str,
        mesh_path: str | None,
        one: str | None,
        several: Any,
        size: int,
        uvs: str,
        texels: int,
        number: float,
        new: bool,
        *values: Any,
    ) -> tuple[Any, ...]:
        if not mesh_path:
            raise gr.Error("Choose a mesh first.")
        paths = picture_paths(one, several)
        used = pick_seed(number, new)
        options = {"seed": used, "resolution": int(size), "texture_size": int(texels), "uv": uvs}
        options |= sampler_options(list(defaults), list(values))
        with sending():
            content = Path(mesh_path).read_bytes()
            files = {**read_pictures(paths), f"mesh.{mesh_format(content)}": content}
            job_id = session.send("texture", secret, options, files)
        return job_id, used, *busy_buttons()

    async def follow(secret: str, job_id: str) -> AsyncIterator[tuple[Any, ...]]:
        yield (gr.skip(),) * 6  # a generator without results would empty its outputs
        async for now in session.follow(job_id, secret):
            over = now.job.final
            result: tuple[Any, ...] = (gr.skip(), gr.skip(), gr.skip())
            if now.job.state == "done":
                file = str(session.path(now, "asset.glb"))
                seen = asset_html(f"/v1/jobs/{job_id}/files/asset.glb")
                result = (seen, report_markdown(session.report(now)), gr.update(value=file, interactive=True))
            buttons = (gr.update(interactive=over), gr.update(interactive=not over))
            yield (status_html(now.job, now.position), *result, *buttons)

    def stop(secret: str, job_id: str) -> None:
        session.cancel(job_id, secret)

    def enter(secret: str | None) -> tuple[str, str]:
        """A visit starts: the newest job of this browser comes back."""
        secret = secret or new_owner()
        return secret, next((now.job.id for now in session.history(secret, "texture")), "")

    following: dict[str, Any] = {
        "fn": follow,
        "inputs": [owner, job],
        "outputs": [status, model, report, download, generate, cancel],
        "concurrency_limit": None,
        "show_progress": "hidden",
    }
    generate.click(
        send,
        [owner, mesh, image, views, resolution, uv, texture, seed, randomize, *samplers],
        [job, seed, generate, cancel, download],
        concurrency_limit=None,
        api_name="texture",
    ).success(**following)
    cancel.click(stop, [owner, job], None, concurrency_limit=None, show_progress="hidden")
    root = gr.context.Context.root_block
    assert root is not None, "build_texturing_page is called inside a gr.Blocks"
    gr.on([root.load], enter, [owner], [owner, job], show_progress="hidden").success(**following)
