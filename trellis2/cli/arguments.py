"""The arguments of every command."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from trellis2.pipelines.base import MEMORY
from trellis2.pipelines.job_options import FORMATS, IMAGE_FORMATS, PROFILES, UVS, VIEW_LABELS
from trellis2.samplers import FUSIONS

__all__ = ["BUNDLED", "make_parser", "parse_setting"]

BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "models" / "mini"
_STAGES = {
    "structure": "sparse_structure_sampler_params",
    "shape": "shape_slat_sampler_params",
    "texture": "tex_slat_sampler_params",
}


def parse_setting(text: str) -> tuple[str, str, Any]:
    """`structure.guidance_strength=5` -> (options field, parameter, value). Raises argparse.ArgumentTypeError."""
    name, equals, value = text.partition("=")
    stage, dot, parameter = name.partition(".")
    if not equals or not dot or stage not in _STAGES or not parameter:
        raise argparse.ArgumentTypeError(f"must be STAGE.PARAMETER=VALUE with STAGE of {', '.join(_STAGES)}: {text!r}")
    try:
        return _STAGES[stage], parameter, json.loads(value)
    except json.JSONDecodeError:
        raise argparse.ArgumentTypeError(f"{name}: the value must be a number or a JSON list, got {value!r}") from None


def _common(parser: argparse.ArgumentParser, pipeline: bool = True) -> None:
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder for the results (default: out)")
    parser.add_argument("--resume", action="store_true", help="skip what the manifest in the folder says is done")
    parser.add_argument("--quiet", action="store_true", help="errors only")
    parser.add_argument("--debug", action="store_true", help="stop at the first error and show where it comes from")
    if pipeline:
        parser.add_argument("--pipeline", default=str(BUNDLED), help="folder or hub repository (default: bundled)")
        parser.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda if there is one)")
        parser.add_argument("--memory", choices=MEMORY, default="auto", help="use of device memory (default: auto)")
        parser.add_argument("--offline", action="store_true", help="never reach for the hub")


def _export(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("export")
    group.add_argument("--format", nargs="+", choices=FORMATS, default=["glb"], help="files to write (default: glb)")
    group.add_argument(
        "--profile", choices=PROFILES, help="what the asset is for (default: game; print for small grids)"
    )
    group.add_argument("--faces", type=int, help="most faces (default: by the size of the grid)")
    group.add_argument("--texture-size", type=int, help="texels a side (default: by the size of the grid)")
    group.add_argument("--image-format", choices=IMAGE_FORMATS, help="of the textures (default: by the grid)")
    group.add_argument("--no-remesh", action="store_true", help="keep the decoded surface instead of a closed one")


def _sampling(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling")
    group.add_argument("--seed", type=int, default=42, help="same seed, same result (default: 42)")
    group.add_argument("--steps", type=int, help="of every stage (default: as the pipeline says)")
    group.add_argument(
        "--set", type=parse_setting, action="append", default=[], metavar="STAGE.PARAMETER=VALUE",
        help="sampler parameter of a stage (structure, shape, texture), e.g. shape.guidance_strength=5",
    )  # fmt: skip
    group.add_argument("--fusion", choices=FUSIONS, help="how several images work together (default: the pipeline's)")
    group.add_argument("--no-preprocess", action="store_true", help="images are cut out and square already")


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="python -m trellis2.cli", description="Images to 3D assets, and back again.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    one = commands.add_parser("generate", help="images to assets")
    one.add_argument("inputs", nargs="+", type=Path, help="image files, or folders of images")
    one.add_argument("--views", action="store_true", help="all images show one object")
    one.add_argument("--view-labels", nargs="+", choices=VIEW_LABELS, default=[], help="sides that they show, in order")
    one.add_argument("--type", dest="pipeline_type", help="a type that the pipeline offers, e.g. 1024_cascade")
    one.add_argument("--samples", type=int, default=1, help="assets an image, with following seeds (default: 1)")
    one.add_argument("--candidates", type=int, default=1, help="an asset: the best of so many is kept (default: 1)")
    one.add_argument("--max-tokens", type=int, default=49152, help="above it, a cascade takes a coarser grid")
    one.add_argument("--no-texture", action="store_true", help="geometry only")
    one.add_argument("--latents", action="store_true", help="also write the latents, for export and retexturing")
    for add in (_sampling, _export, _common):
        add(one)

    one = commands.add_parser("texture", help="materials for given meshes, or for the shape of latents")
    one.add_argument("inputs", nargs="+", type=Path, help="mesh files, latents, or folders of meshes")
    one.add_argument("--image", nargs="+", type=Path, required=True, help="what they are to look like (views of one)")
    one.add_argument("--resolution", type=int, help="voxels a side (default: as the pipeline says)")
    one.add_argument("--uv", choices=UVS, default="auto", help="the file's UVs, or new ones (default: auto)")
    for add in (_sampling, _export, _common):
        add(one)

    one = commands.add_parser("export", help="latents to finished assets, without generating again")
    one.add_argument("inputs", nargs="+", type=Path, help="latents (.safetensors), or folders of them")
    for add in (_export, _common):
        add(one)

    one = commands.add_parser("encode", help="meshes to shape latents")
    one.add_argument("inputs", nargs="+", type=Path, help="mesh files, or folders of them")
    one.add_argument("--resolution", type=int, help="voxels a side (default: as the pipeline says)")
    _common(one)

    one = commands.add_parser("decode", help="latents to surfaces (.ply) and voxels (.vxz) as they come out")
    one.add_argument("inputs", nargs="+", type=Path, help="latents (.safetensors), or folders of them")
    _common(one)

    one = commands.add_parser("info", help="what a pipeline, latents or a manifest hold, as JSON")
    one.add_argument("inputs", nargs="+", type=Path, help="pipeline folder, latents, manifest or output folder")
    one.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser
