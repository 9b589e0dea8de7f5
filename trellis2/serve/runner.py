"""The jobs themselves, in a worker process: a folder with inputs in, a folder with results out."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trellis2.pipelines import from_pretrained
from trellis2.pipelines.job_options import ExportOptions, TextureOptions
from trellis2.pipelines.jobs import export, generate, texture
from trellis2.pipelines.latents import load_latents, save_latents
from trellis2.utils.files import write_atomically
from trellis2.utils.image import load_image

from .preview import render_preview
from .requests import GenerateRequest
from .worker import Progress

__all__ = ["PipelineRunner"]

logger = logging.getLogger(__name__)

LATENT = "latent.safetensors"


class PipelineRunner:
    """Generates, exports and textures on one device. Results are listed in results.json, which grows as they come.

    The texturing pipeline is loaded when it is first asked for. The asset made last stays in memory, so that exporting
    it again does not decode it again.
    """

    def __init__(
        self, device: str, pipeline: str, texturing: str | None = None, preview_size: int | None = None
    ) -> None:
        self.device = torch.device(device)
        self.preview_size = preview_size or (512 if self.device.type == "cuda" else 288)
        self._texturing_path = texturing or pipeline
        self._pipeline = from_pretrained(pipeline)
        self._pipeline.to(self.device)
        self._texturing: Any = None
        self._decoded: tuple[str, Any] | None = None  # digest of the latents, mesh

    def describe(self) -> str:
        """The device, its memory and the memory tier in force."""
        if self.device.type != "cuda":
            return f"CPU, {torch.get_num_threads()} threads"
        found = torch.cuda.get_device_properties(self.device)
        return f"{found.name}, {found.total_memory / 1e9:.0f} GB, networks {self._pipeline.memory_tier}"

    def run(self, kind: str, folder: Path, params: Mapping[str, Any], progress: Progress) -> None:
        """Do one job. Raises ValueError and StageError with messages for the user."""
        done: list[str] = []

        def made(names: list[str]) -> None:
            done.extend(names)
            write_atomically(folder / "results.json", lambda name: Path(name).write_text(json.dumps(done)))

        if kind == "generate":
            self._generate(folder, GenerateRequest.from_dict(params), progress, made)
        elif kind == "export":
            self._export(
                self._decode(folder / LATENT, progress), folder, ExportOptions.from_dict(params), progress, made
            )
        elif kind == "texture":
            self._texture(folder, TextureOptions.from_dict(params), progress, made)
        else:
            raise ValueError(f"unknown kind of job {kind!r}")

    def _generate(self, folder: Path, request: GenerateRequest, progress: Progress, made: Any) -> None:
        result = generate(self._pipeline, _images(folder), request.options, progress)
        save_latents(result.latents[0], folder / LATENT)
        mesh = result.meshes[0]
        self._decoded = (_digest(folder / LATENT), mesh)
        made([LATENT])
        if request.preview and request.options.texture:
            render_preview(mesh, folder, self.preview_size, lambda step, total: progress("preview", step, total), made)
        if request.export is not None:
            self._export(mesh, folder, request.export, progress, made)

    def _decode(self, latent: Path, progress: Progress) -> Any:
        digest = _digest(latent)
        if self._decoded is None or self._decoded[0] != digest:
            from trellis2.pipelines.progress import Monitor

            self._decoded = None  # before the next asset is made: both need not fit
            mesh = self._pipeline.decode(load_latents(latent).to(self.device), Monitor(on_progress=progress))
            self._decoded = (digest, mesh)
        return self._decoded[1]

    def _export(self, mesh: Any, folder: Path, options: ExportOptions, progress: Progress, made: Any) -> None:
        path = folder / f"asset.{options.format}"
        written = export(mesh, path, options, progress)
        _write_report(folder, written)
        companions = sorted(p for p in folder.glob("asset*") if p != path and not p.name.endswith(".zip"))
        if companions:  # a material and its pictures beside an OBJ: also as one file
            write_atomically(folder / "asset.zip", lambda name: _zip(name, [path, *companions]))
        made([path.name, *(p.name for p in companions), *(["asset.zip"] if companions else []), "report.json"])

    def _texture(self, folder: Path, options: TextureOptions, progress: Progress, made: Any) -> None:
        if self._texturing is None:
            self._texturing = from_pretrained(self._texturing_path, "texturing_pipeline.json")
            self._texturing.to(self.device)
        mesh_file = next(p for p in folder.iterdir() if p.stem == "mesh")
        written = texture(self._texturing, mesh_file, _images(folder), folder / "asset.glb", options, progress)
        _write_report(folder, written)
        made(["asset.glb", "report.json"])


def _images(folder: Path) -> list[Any]:
    return [load_image(path) for path in sorted(folder.glob("image_*.png"))]


def _zip(name: str, files: list[Path]) -> None:
    with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.name)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_report(folder: Path, written: Any) -> None:
    report = {
        **written.report,
        "faces": written.faces,
        "vertices": written.vertices,
        "bytes": written.num_bytes,
        "seconds": written.seconds,
    }
    write_atomically(folder / "report.json", lambda name: Path(name).write_text(json.dumps(report, indent=2)))
