"""What each command does with one input."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trellis2.pipelines.job_options import ExportOptions, GenerateOptions, TextureOptions
from trellis2.pipelines.progress import Monitor
from trellis2.utils.files import file_sha256

from .inputs import IMAGES, MESHES, find_inputs, output_stems, weights_digest
from .manifest import job_key
from .runner import Job

__all__ = ["decode_jobs", "encode_jobs", "export_jobs", "generate_jobs", "texture_jobs"]

LATENTS = (".safetensors",)
_SUFFIX = ".latents.safetensors"
Load = Callable[[type], Any]  # a pipeline class -> the loaded pipeline


def _params(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Sampler parameters by field of the options."""
    out: dict[str, dict[str, Any]] = {}
    for field, parameter, value in args.set:
        out.setdefault(field, {})[parameter] = value
    return out


def _export_options(args: argparse.Namespace) -> ExportOptions:
    return ExportOptions(
        format=args.format[0],
        profile=args.profile,
        faces=args.faces,
        texture_size=args.texture_size,
        remesh=not args.no_remesh,
        image_format=args.image_format,
    )


def _job(
    args: argparse.Namespace,
    name: str,
    inputs: dict[str, Path],
    settings: dict[str, Any],
    work: Callable[[Monitor], tuple[list[Path], dict[str, Any]]],
) -> Job:
    hashes = {role: file_sha256(path) for role, path in inputs.items()}
    weights = weights_digest(args.pipeline)
    facts = {"settings": settings, "inputs": hashes, "weights": weights, "pipeline": str(args.pipeline)}
    return Job(name, job_key(args.command, {**settings, "name": name}, hashes, weights), work, facts)


def _finish(
    mesh: Any, args: argparse.Namespace, stem: str, options: ExportOptions, monitor: Monitor
) -> tuple[list[Path], dict[str, Any]]:
    """Write a decoded asset in every format that was asked for."""
    from trellis2.pipelines.jobs import export

    paths = [args.output / f"{stem}.{kind}" for kind in dict.fromkeys(args.format)]
    done = export(mesh, paths[0], options, monitor, also=paths[1:])
    return list(done.files), {"faces": done.faces, "finish_seconds": done.report["seconds"]}


def generate_jobs(args: argparse.Namespace, load: Load) -> list[Job]:
    """Images to assets."""
    options = GenerateOptions(
        seed=args.seed,
        num_samples=args.samples,
        candidates=args.candidates,
        pipeline_type=args.pipeline_type,
        steps=args.steps,
        max_num_tokens=args.max_tokens,
        preprocess_image=not args.no_preprocess,
        texture=not args.no_texture,
        fusion=args.fusion,
        view_labels=tuple(args.view_labels),
        **_params(args),
    )
    exports = _export_options(args)
    files = find_inputs(args.inputs, IMAGES, "images")
    groups = [files] if args.views else [[file] for file in files]
    stems = output_stems([group[0] for group in groups])
    settings = {
        "generate": options.as_dict(),
        "export": exports.as_dict(),
        "formats": args.format,
        "latents": args.latents,
    }

    def make(group: list[Path], stem: str) -> Job:
        def work(monitor: Monitor) -> tuple[list[Path], dict[str, Any]]:
            from trellis2.pipelines import Trellis2ImageTo3DPipeline
            from trellis2.pipelines.jobs import generate
            from trellis2.pipelines.latents import save_latents
            from trellis2.utils.image import load_image

            images = [load_image(path) for path in group]
            made = generate(load(Trellis2ImageTo3DPipeline), images, options, monitor)
            outputs: list[Path] = []
            assets = []
            for i, (mesh, latents, score) in enumerate(zip(made.meshes, made.latents, made.scores, strict=True)):
                name = stem if len(made.meshes) == 1 else f"{stem}_{i}"
                if args.latents:
                    outputs.append(args.output / f"{name}{_SUFFIX}")
                    save_latents(latents, outputs[-1])
                paths, facts = _finish(mesh, args, name, exports, monitor)
                outputs += paths
                asset = {"seed": latents.info["seed"], "resolution": latents.resolution, **facts}
                assets.append(asset if score is None else {**asset, "score": score})
            return outputs, {"assets": assets}

        inputs = {f"image_{i}": path for i, path in enumerate(group)}
        return _job(args, stem, inputs, settings, work)

    return [make(group, stem) for group, stem in zip(groups, stems, strict=True)]


def texture_jobs(args: argparse.Namespace, load: Load) -> list[Job]:
    """Materials for meshes, and for the shape of latents."""
    params = _params(args)
    if set(params) - {"tex_slat_sampler_params"}:
        raise ValueError("--set: only texture.PARAMETER=VALUE has a meaning here")
    options = TextureOptions(
        seed=args.seed,
        resolution=args.resolution,
        texture_size=args.texture_size or 2048,
        uv=args.uv,
        steps=args.steps,
        preprocess_image=not args.no_preprocess,
        fusion=args.fusion,
        image_format=args.image_format or "png",
        **params,
    )
    exports = _export_options(args)
    for kind in args.format:
        if kind not in ("glb", "obj") and any(path.suffix not in LATENTS for path in args.inputs):
            raise ValueError(f"--format {kind}: a mesh is written as glb, an OBJ file also as obj")
    files = find_inputs(args.inputs, (*MESHES, *LATENTS), "meshes")
    settings = {"texture": options.as_dict(), "export": exports.as_dict(), "formats": args.format}
    images = {f"image_{i}": path for i, path in enumerate(args.image)}

    def pictures() -> list[Any]:
        from trellis2.utils.image import load_image

        return [load_image(path) for path in args.image]

    def from_mesh(path: Path, stem: str) -> Job:
        def work(monitor: Monitor) -> tuple[list[Path], dict[str, Any]]:
            from trellis2.pipelines import Trellis2TexturingPipeline
            from trellis2.pipelines.jobs import texture

            pipeline, facts = load(Trellis2TexturingPipeline), []
            outputs: list[Path] = []
            for kind in dict.fromkeys(args.format):
                done = texture(pipeline, path, pictures(), args.output / f"{stem}.{kind}", options, monitor)
                outputs += done.files
                facts.append({"file": done.path.name, "faces": done.faces, **done.report})
            return outputs, {"files": facts}

        return _job(args, stem, {"mesh": path, **images}, settings, work)

    def from_latents(path: Path, stem: str) -> Job:
        def work(monitor: Monitor) -> tuple[list[Path], dict[str, Any]]:
            from trellis2.pipelines import Trellis2ImageTo3DPipeline
            from trellis2.pipelines.latents import load_latents, save_latents

            pipeline = load(Trellis2ImageTo3DPipeline)
            latents = pipeline.retexture(
                pictures(),
                load_latents(path),
                options.seed,
                options.sampler_params(),
                preprocess_image=options.preprocess_image,
                monitor=monitor,
            )
            kept = args.output / f"{stem}{_SUFFIX}"
            save_latents(latents, kept)
            outputs, facts = _finish(pipeline.decode(latents, monitor), args, stem, exports, monitor)
            return [kept, *outputs], facts

        return _job(args, stem, {"latents": path, **images}, settings, work)

    stems = _stems(files)
    return [
        (from_latents if path.suffix in LATENTS else from_mesh)(path, stem)
        for path, stem in zip(files, stems, strict=True)
    ]


def _stems(files: Sequence[Path]) -> list[str]:
    """Names for outputs; `x.latents.safetensors` counts as `x`."""
    return output_stems([f.with_name(f.name.removesuffix(_SUFFIX)) if f.name.endswith(_SUFFIX) else f for f in files])


def export_jobs(args: argparse.Namespace, load: Load) -> list[Job]:
    """Latents to finished assets."""
    exports = _export_options(args)
    files = find_inputs(args.inputs, LATENTS, "latents")
    settings = {"export": exports.as_dict(), "formats": args.format}

    def make(path: Path, stem: str) -> Job:
        def work(monitor: Monitor) -> tuple[list[Path], dict[str, Any]]:
            from trellis2.pipelines import Trellis2ImageTo3DPipeline
            from trellis2.pipelines.latents import load_latents

            mesh = load(Trellis2ImageTo3DPipeline).decode(load_latents(path), monitor)
            return _finish(mesh, args, stem, exports, monitor)

        return _job(args, stem, {"latents": path}, settings, work)

    return [make(path, stem) for path, stem in zip(files, _stems(files), strict=True)]


def encode_jobs(args: argparse.Namespace, load: Load) -> list[Job]:
    """Meshes to shape latents."""
    files = find_inputs(args.inputs, MESHES, "meshes")
    settings = {"resolution": args.resolution}

    def make(path: Path, stem: str) -> Job:
        def work(monitor: Monitor) -> tuple[list[Path], dict[str, Any]]:
            from trellis2.pipelines import Trellis2TexturingPipeline
            from trellis2.pipelines.latents import Latents, save_latents
            from trellis2.pipelines.texturing_mesh import load_mesh, normalize_mesh

            pipeline = load(Trellis2TexturingPipeline)
            resolution = args.resolution or pipeline.default_resolution
            pipeline.texture_type(resolution)
            mesh, back = normalize_mesh(load_mesh(path))
            with monitor.stage("shape encoder"):
                slat = pipeline.encode_shape_slat(mesh, resolution)
            out = args.output / f"{stem}{_SUFFIX}"
            info = {"source": path.name, "to_original": back.tolist()}
            save_latents(Latents(slat.replace(slat.feats.float()), None, resolution, info), out)
            return [out], {"tokens": len(slat.feats), "resolution": resolution}

        return _job(args, stem, {"mesh": path}, settings, work)

    return [make(path, stem) for path, stem in zip(files, output_stems(files), strict=True)]


def decode_jobs(args: argparse.Namespace, load: Load) -> list[Job]:
    """Latents to surfaces and voxels as the networks give them."""
    files = find_inputs(args.inputs, LATENTS, "latents")

    def make(path: Path, stem: str) -> Job:
        def work(monitor: Monitor) -> tuple[list[Path], dict[str, Any]]:
            from trellis2.pipelines import Trellis2ImageTo3DPipeline
            from trellis2.pipelines.latents import load_latents
            from trellis2.representations import MeshWithVoxel
            from trellis2.utils.files import write_atomically
            from trellis2.utils.mesh_utils import write_ply

            none = np.zeros((0, 4), np.int32)
            mesh = load(Trellis2ImageTo3DPipeline).decode(load_latents(path), monitor)
            outputs = [args.output / f"{stem}.ply"]
            vertices, faces = mesh.vertices.cpu().numpy(), mesh.faces.cpu().numpy()
            write_atomically(outputs[0], lambda name: write_ply(name, vertices, faces, none))
            if isinstance(mesh, MeshWithVoxel):
                outputs.append(args.output / f"{stem}.vxz")
                write_atomically(outputs[1], mesh.save)
            return outputs, {"vertices": len(vertices), "faces": len(faces)}

        return _job(args, stem, {"latents": path}, {}, work)

    return [make(path, stem) for path, stem in zip(files, _stems(files), strict=True)]
