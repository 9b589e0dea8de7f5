"""Whole jobs on a loaded pipeline, shared by the command line, the server and the apps.

Each takes options as data and reports to a `Monitor`, whose callback or token may stop it at any step; files appear
complete or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from trellis2.representations import Mesh, MeshWithVoxel

from .finishing import Finished, finish_asset
from .job_options import FORMATS, ExportOptions, Format, GenerateOptions, TextureOptions
from .latents import Latents
from .progress import CancelToken, Monitor, OnProgress

if TYPE_CHECKING:
    from .trellis2_image_to_3d import Trellis2ImageTo3DPipeline
    from .trellis2_texturing import Trellis2TexturingPipeline

__all__ = [
    "FORMATS",
    "ExportOptions",
    "Exported",
    "Format",
    "GenerateOptions",
    "Generated",
    "TextureOptions",
    "export",
    "generate",
    "texture",
]


@dataclass(frozen=True)
class Generated:
    """What came of the images: one entry a sample."""

    latents: tuple[Latents, ...]
    meshes: tuple[Mesh | MeshWithVoxel, ...]  # a MeshWithVoxel each, or with texture=False a Mesh
    scores: tuple[float | None, ...]  # agreement with the images where candidates were compared, else None
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds by stage


Exported = Finished


def _monitor(on_progress: OnProgress | Monitor | None, cancel: CancelToken | None) -> Monitor:
    return on_progress if isinstance(on_progress, Monitor) else Monitor(None, on_progress, cancel)


@contextmanager
def _fusion(pipeline: Any, fusion: str | None) -> Iterator[None]:
    """Let several images work together as asked, for the length of a job."""
    with pipeline._lock:
        before = pipeline.fusion
        pipeline.fusion = before if fusion is None else fusion
        try:
            yield
        finally:
            pipeline.fusion = before


def generate(
    pipeline: Trellis2ImageTo3DPipeline,
    images: Image.Image | Sequence[Image.Image],
    options: GenerateOptions | None = None,
    on_progress: OnProgress | Monitor | None = None,
    cancel: CancelToken | None = None,
) -> Generated:
    """Assets after the images, decoded, with the latents they came from.

    Raises ValueError for bad options or images, StageError if a stage finds no object, Cancelled.
    """
    options = GenerateOptions() if options is None else options
    monitor = _monitor(on_progress, cancel)
    count = options.num_samples * options.candidates
    seeds = [options.seed + i for i in range(count)]
    labels = options.view_labels
    views: list[Any] = list(images) if isinstance(images, (list, tuple)) else [images]
    if labels and len(labels) != len(views):
        raise ValueError(f"view_labels must name all {len(views)} images or none, got {len(labels)}")
    with _fusion(pipeline, options.fusion):
        latents = pipeline.generate(
            views,
            seeds,
            **cast(Any, options.sampler_params()),
            preprocess_image=options.preprocess_image,
            pipeline_type=options.pipeline_type,
            max_num_tokens=options.max_num_tokens,
            texture=options.texture,
            monitor=monitor,
        )
    meshes = [pipeline.decode(one, monitor) for one in latents]
    scores: list[float | None] = [None] * count
    if options.candidates > 1:
        from .scoring import score_assets

        pictures = [pipeline.preprocess_image(one) if options.preprocess_image else one for one in views]
        scores = list(score_assets(meshes, pictures, pipeline, labels=labels, monitor=monitor))
        groups = [range(i, i + options.candidates) for i in range(0, count, options.candidates)]
        best = [max(group, key=lambda i: (scores[i], -i)) for group in groups]
        latents, meshes, scores = [latents[i] for i in best], [meshes[i] for i in best], [scores[i] for i in best]
    return Generated(tuple(latents), tuple(meshes), tuple(scores), dict(monitor.timings))


def export(
    asset: Mesh | MeshWithVoxel,
    path: str | Path,
    options: ExportOptions | None = None,
    on_progress: OnProgress | Monitor | None = None,
    cancel: CancelToken | None = None,
    *,
    also: Sequence[str | Path] = (),
) -> Exported:
    """Finish a decoded asset (clean, remesh, simplify, unwrap, bake) and write it to `path`.

    `also`: more files of the same finished asset, in the formats that their suffixes name. Raises ValueError if the
    suffix of `path` and the format disagree, or a format needs a material that is not there.
    """
    options = ExportOptions() if options is None else options
    more = [Path(other) for other in also]
    return finish_asset(asset, Path(path), options, _monitor(on_progress, cancel), also=more)


def texture(
    pipeline: Trellis2TexturingPipeline,
    mesh_file: str | Path,
    images: Image.Image | Sequence[Image.Image],
    path: str | Path,
    options: TextureOptions | None = None,
    on_progress: OnProgress | Monitor | None = None,
    cancel: CancelToken | None = None,
) -> Exported:
    """A material after the images for the mesh of a file, written as GLB to `path`.

    What the file says about geometry, UVs, names and hierarchy stays as it is, to the bit, where it has UVs.
    """
    options = TextureOptions() if options is None else options
    monitor = _monitor(on_progress, cancel)
    with _fusion(pipeline, options.fusion):
        return pipeline.texture_file(
            mesh_file,
            images,
            path,
            options.seed,
            options.sampler_params(),
            preprocess_image=options.preprocess_image,
            resolution=options.resolution,
            texture_size=options.texture_size,
            uv=options.uv,
            image_format=options.image_format,
            monitor=monitor,
        )
