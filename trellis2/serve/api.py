"""The HTTP interface: jobs in, progress and files out.

A job's id is a secret that whoever sent the job holds; nothing lists jobs. Errors are `{"error": "…"}`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from .limits import BearerToken, BodyLimit
from .metrics import metrics_text
from .pool import WorkerPool
from .store import Job, JobStore, QueueFull
from .uploads import clean_image, mesh_format

__all__ = ["ApiSettings", "create_app"]

logger = logging.getLogger(__name__)

MAX_IMAGES = 8
EVENT_PAUSE = 0.2  # seconds between looks at a job whose events are followed
CLEAN_PAUSE = 60.0  # between removals of old jobs
Images = Annotated[list[UploadFile], File()]
Options = Annotated[str, Form()]  # a JSON object
#: Checks the options of a kind of job and returns them complete. Raises ValueError that names the option.
CheckOptions = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class ApiSettings:
    """Limits of the interface."""

    max_body: int = 64 << 20  # bytes of a request
    max_pixels: int = 1 << 26  # of a picture
    keep_seconds: float = 24 * 3600.0  # finished jobs are deleted afterwards
    hosts: Sequence[str] = ("localhost", "127.0.0.1", "[::1]", "::1")  # names by which the server may be called
    token: str | None = None  # required as "Authorization: Bearer …" if set


def create_app(
    store: JobStore,
    pool: WorkerPool,
    checks: Mapping[str, CheckOptions],
    settings: ApiSettings | None = None,
) -> FastAPI:
    """The application. Starts the workers with it, gives running jobs back when it ends.

    `checks` holds the kinds of jobs that are offered: "generate", "texture", "export".
    """
    limits = settings or ApiSettings()
    started = time.monotonic()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        resumed = store.recover()
        if resumed:
            logger.info("%d interrupted jobs are queued again", resumed)
        pool.start()
        cleaner = asyncio.create_task(_clean(store, limits.keep_seconds))
        try:
            yield
        finally:
            cleaner.cancel()
            await asyncio.to_thread(pool.stop)

    app = FastAPI(title="TRELLIS.2", lifespan=lifespan, docs_url="/docs", redoc_url=None)
    app.add_middleware(BodyLimit, max_bytes=limits.max_body)
    if limits.token is not None:
        app.add_middleware(BearerToken, token=limits.token, open_paths=("/healthz",))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(limits.hosts))

    @app.exception_handler(HTTPException)
    async def say_http(_: Request, error: HTTPException) -> Response:
        return _error(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def say_invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _error(422, f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}")

    def options_of(kind: str, text: str) -> dict[str, Any]:
        if kind not in checks:
            raise HTTPException(404, f"this server does not offer {kind!r}, only: {', '.join(checks)}")
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("options must be a JSON object")
            return checks[kind](values)
        except (ValueError, TypeError, RecursionError) as error:
            raise HTTPException(422, f"options: {error}") from None

    async def images_of(uploads: Sequence[UploadFile]) -> dict[str, bytes]:
        if not 1 <= len(uploads) <= MAX_IMAGES:
            raise HTTPException(422, f"images: 1 to {MAX_IMAGES} pictures are needed, got {len(uploads)}")
        files = {}
        for i, upload in enumerate(uploads):
            try:
                files[f"image_{i}.png"] = await asyncio.to_thread(clean_image, await upload.read(), limits.max_pixels)
            except ValueError as error:
                raise HTTPException(422, f"images[{i}]: {error}") from None
        return files

    async def queue(kind: str, options: dict[str, Any], files: Mapping[str, bytes]) -> Response:
        try:
            job = await asyncio.to_thread(store.add, kind, options, files)
        except QueueFull as error:
            raise HTTPException(503, str(error), {"Retry-After": "30"}) from None
        return JSONResponse(_describe(store, job), 202, {"Location": f"/v1/jobs/{job.id}"})

    def job_of(job_id: str) -> Job:
        try:
            return store.get(job_id)
        except KeyError:
            raise HTTPException(404, "there is no such job") from None

    @app.post("/v1/generate", status_code=202)
    async def generate(images: Images, options: Options = "{}") -> Response:
        """One object from one or several pictures of it."""
        checked = options_of("generate", options)
        return await queue("generate", checked, await images_of(images))

    @app.post("/v1/texture", status_code=202)
    async def texture(mesh: Annotated[UploadFile, File()], images: Images, options: Options = "{}") -> Response:
        """Materials for a mesh from one or several pictures."""
        checked = options_of("texture", options)
        files = await images_of(images)
        content = await mesh.read()
        try:
            files[f"mesh.{mesh_format(content)}"] = content
        except ValueError as error:
            raise HTTPException(422, f"mesh: {error}") from None
        return await queue("texture", checked, files)

    @app.post("/v1/jobs/{job_id}/export", status_code=202)
    async def export(job_id: str, options: Options = "{}") -> Response:
        """A generated object as another file, without generating it again."""
        checked, source = options_of("export", options), job_of(job_id)
        latent = store.path(source.id) / "latent.safetensors"
        if source.state != "done" or not latent.is_file():
            raise HTTPException(409, "the job has no latents: it must be a generation that is done")
        return await queue("export", checked, {"latent.safetensors": await asyncio.to_thread(latent.read_bytes)})

    @app.get("/v1/jobs/{job_id}")
    async def show(job_id: str) -> dict[str, Any]:
        """State, progress, place in the queue and result files of a job."""
        return _describe(store, job_of(job_id))

    @app.delete("/v1/jobs/{job_id}")
    async def cancel(job_id: str) -> dict[str, Any]:
        """Cancel a job; one that is finished stays as it is."""
        job_of(job_id)
        return _describe(store, store.cancel(job_id))

    @app.get("/v1/jobs/{job_id}/events")
    async def events(job_id: str) -> StreamingResponse:
        """Server-sent events: the job whenever it changes, until it ends."""
        job_of(job_id)
        return StreamingResponse(_events(store, job_id), media_type="text/event-stream")

    @app.get("/v1/jobs/{job_id}/files/{name}")
    async def file(job_id: str, name: str) -> FileResponse:
        """A result file."""
        job = job_of(job_id)
        if name not in store.results(job.id):
            raise HTTPException(404, "the job has no such file")
        return FileResponse(store.path(job.id) / name, filename=name)

    @app.get("/healthz")
    async def health() -> Response:
        """200 while at least one worker can take jobs or is getting ready to, else 503."""
        states = pool.states()
        alive = any(worker.state in ("idle", "busy", "starting") for worker in states)
        content = {
            "ok": alive,
            "workers": [{"device": w.device, "info": w.info, "state": w.state, "error": w.error} for w in states],
        }
        return JSONResponse(content, 200 if alive else 503)

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(metrics_text(store, pool.states(), started))

    return app


def _describe(store: JobStore, job: Job) -> dict[str, Any]:
    files = {name: f"/v1/jobs/{job.id}/files/{name}" for name in store.results(job.id)}
    return {**job.describe(), "position": store.position(job.id), "files": files}


async def _events(store: JobStore, job_id: str) -> AsyncIterator[str]:
    last, quiet = "", 0.0
    while True:
        try:
            job = store.get(job_id)
        except KeyError:  # deleted meanwhile
            return
        text = json.dumps(_describe(store, job))
        if text != last:
            yield f"data: {text}\n\n"
            last, quiet = text, 0.0
        elif quiet > 15:
            yield ": still there\n\n"  # keeps proxies from closing the connection
            quiet = 0.0
        if job.final:
            return
        quiet += EVENT_PAUSE
        await asyncio.sleep(EVENT_PAUSE)


async def _clean(store: JobStore, keep_seconds: float) -> None:
    while True:
        await asyncio.to_thread(store.remove_finished, keep_seconds)
        await asyncio.sleep(CLEAN_PAUSE)


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, status, dict(headers or {}))
