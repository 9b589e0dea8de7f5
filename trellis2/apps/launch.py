"""Starting the web pages: the job server with pages on top, in one process beside its workers."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .session import Session

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI

    from trellis2.serve.api import ApiSettings
    from trellis2.serve.pool import WorkerPool
    from trellis2.serve.store import JobStore

__all__ = ["build_app", "launch"]

Page = Literal["image", "texturing"]

ROOT = Path(__file__).resolve().parents[2]
STATIC = Path(__file__).resolve().parent / "static"
logger = logging.getLogger(__name__)


def launch(page: Page, argv: Sequence[str] | None = None) -> int:
    """Serve the page "image" or "texturing" until stopped; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        import gradio  # noqa: F401
        import uvicorn

        from trellis2.serve.options import add_server_options, make_pool, make_settings
    except ImportError as error:
        sys.stderr.write(f"error: the web pages need the extra 'app' (pip install '.[app]'): {error}\n")
        return 1
    parser = argparse.ArgumentParser(description=f"The {page} page of TRELLIS.2 in a browser.")
    add_server_options(parser, port=7860, data="app-data")
    parser.add_argument("--share", action="store_true", help="a public link through gradio's relay (off by default)")
    arguments = parser.parse_args(argv)
    if arguments.token_file is not None:
        sys.stderr.write("error: --token-file is for the server without pages; put a proxy with a login in front\n")
        return 1
    try:
        settings = make_settings(arguments)
        store, pool = make_pool(arguments)
        app = build_app(page, arguments.pipeline, store, pool, settings)
    except (ValueError, OSError, RuntimeError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    threading.Thread(target=_warm_up, daemon=True).start()
    if arguments.share:
        _share(arguments.port)
    logger.info("open http://%s:%d", arguments.host, arguments.port)
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning", timeout_graceful_shutdown=5)
    return 0


def build_app(page: Page, pipeline: str, store: JobStore, pool: WorkerPool, settings: ApiSettings) -> FastAPI:
    """The page over the queue, with the HTTP interface of the server beside it.

    Raises ValueError or PipelineLoadError if the pipeline's file cannot be read.
    """
    import gradio as gr
    from starlette.staticfiles import StaticFiles

    from trellis2.serve.api import create_app
    from trellis2.serve.requests import CHECKS

    server = create_app(store, pool, CHECKS, settings)
    server.mount("/page", StaticFiles(directory=STATIC))
    scripts = (
        '<script src="/page/viewer.js"></script>',
        '<script src="/page/names.js"></script>',
        '<script type="module" src="/page/vendor/model-viewer.min.js"></script>',
    )
    return gr.mount_gradio_app(
        server,
        _blocks(page, pipeline, Session(store, pool)),
        path="/",
        # Files are found by the secret name of their job's folder; the list of jobs itself is never served.
        allowed_paths=[str((store.folder / "jobs").resolve())],
        max_file_size=settings.max_body,
        show_error=True,
        footer_links=[],
        css_paths=STATIC / "app.css",
        head="".join(scripts),
        theme=_theme(),
    )


def _blocks(page: Page, pipeline: str, session: Session) -> gr.Blocks:
    import gradio as gr

    from .image_page import build_image_page
    from .pipeline_info import read_pipeline_info
    from .texturing_page import build_texturing_page

    pages: dict[Page, tuple[str, str, Callable[..., None]]] = {
        "image": ("Image to 3D", "pipeline.json", build_image_page),
        "texturing": ("Texture a mesh", "texturing_pipeline.json", build_texturing_page),
    }
    title, config_file, build = pages[page]
    info = read_pipeline_info(pipeline, config_file)
    examples = sorted((ROOT / "assets" / "example_image").glob("*.png"))
    with gr.Blocks(title=f"TRELLIS.2: {title}", analytics_enabled=False, delete_cache=(3600, 86400)) as blocks:
        gr.Markdown(f"# {title}\nNothing leaves this computer. Pipeline: **{info.name}**.")
        gr.Markdown(session.hardware, every=5, elem_id="hardware")
        owner = gr.BrowserState("", storage_key="trellis2-owner", secret=_browser_secret(session.store.folder))
        build(session, info, owner, examples)
    return blocks


def _theme() -> gr.Theme:
    """Quiet colours, each with a contrast of at least 4.5 against what it stands on."""
    import gradio as gr

    return gr.themes.Default(primary_hue="blue", neutral_hue="slate").set(
        block_label_text_color="*neutral_800",
        block_label_text_color_dark="*neutral_100",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_cancel_background_fill="*neutral_100",
        button_cancel_background_fill_dark="*neutral_700",
        button_cancel_text_color="*neutral_900",
        button_cancel_text_color_dark="*neutral_50",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_background_fill_selected_dark="*primary_700",
        checkbox_label_text_color_selected="white",
        checkbox_label_text_color_selected_dark="white",
        color_accent="*primary_700",
    )


def _browser_secret(folder: Path) -> str:
    """Key with which browsers keep their identity; it stays the same when the server is started again."""
    path = folder / "browser.key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def _warm_up() -> None:
    """Load what the first request needs, after the page can be seen."""
    import trellis2.pipelines.job_options  # noqa: F401


def _share(port: int) -> None:
    from gradio.networking import setup_tunnel

    logger.warning("sharing: anyone with the link can use this computer")
    link = setup_tunnel("127.0.0.1", port, secrets.token_urlsafe(32), None, None)
    logger.info("public link: %s", link)
