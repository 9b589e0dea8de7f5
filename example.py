"""One image in, one textured GLB and a turntable video out.

python example.py                                   # bundled image, bundled small model -> sample.glb, sample.mp4
python example.py --image photo.jpg --output car.glb --seed 7
python example.py --pipeline microsoft/TRELLIS.2-4B --pipeline-type 1536_cascade    # needs a GPU with 24 GB
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # read by OpenCV when it is imported
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # read by PyTorch likewise

ROOT = Path(__file__).resolve().parent
DEFAULT_PIPELINE = ROOT / "assets" / "models" / "mini"
DEFAULT_IMAGE = ROOT / "assets" / "example_image" / "house.png"
#: Above this output grid the published export settings apply; below it, ones that fit a small asset.
LARGE_GRID = 256


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--image", help="picture of one object (default: a bundled one)")
    parser.add_argument(
        "--output", type=Path, default=Path("sample.glb"), help="GLB to write; the video goes beside it"
    )
    parser.add_argument("--seed", type=int, default=42, help="same seed, same asset (default: 42)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda if there is one)")
    parser.add_argument("--pipeline", default=str(DEFAULT_PIPELINE), help="folder or Hugging Face repository")
    parser.add_argument(
        "--pipeline-type",
        "--resolution",
        dest="pipeline_type",
        help="a type the pipeline offers, e.g. 1024_cascade",
    )
    parser.add_argument("--steps", type=int, help="sampling steps of every stage (default: what the pipeline says)")
    parser.add_argument("--faces", type=int, help="most faces of the GLB (default: by the size of the output grid)")
    parser.add_argument("--texture-size", type=int, help="texels a side (default: by the size of the output grid)")
    parser.add_argument("--no-remesh", action="store_true", help="keep the decoded surface instead of a closed one")
    parser.add_argument("--no-video", action="store_true", help="write the GLB only")
    parser.add_argument("--video-size", type=int, help="height and width of the shaded view in pixels")
    parser.add_argument("--frames", type=int, default=120, help="frames of the video, 15 a second (default: 120)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser.parse_args(argv)


def check_output(path: Path) -> tuple[Path, Path]:
    """GLB and video path; the folder exists and can be written afterwards."""
    if path.is_dir() or str(path).endswith(("/", os.sep)):
        path = path / "sample.glb"
    if path.suffix.lower() != ".glb":
        raise ValueError(f"--output must end in .glb, got {str(path)!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"--output: cannot write to {path.parent}")
    return path, path.with_suffix(".mp4")


def generate(arguments: argparse.Namespace) -> list[str]:
    """Do what the arguments say; returns what was written."""
    from trellis2.utils.image import load_image

    image = load_image(arguments.image or DEFAULT_IMAGE)
    glb_path, video_path = check_output(arguments.output)

    import torch

    from trellis2.pipelines import Trellis2ImageTo3DPipeline

    device = torch.device(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    pipeline = Trellis2ImageTo3DPipeline.from_pretrained(arguments.pipeline)
    pipeline.to(device)
    verbose = not arguments.quiet
    params: dict[str, Any] = {} if arguments.steps is None else {"steps": arguments.steps}
    mesh = pipeline.run(
        image,
        seed=arguments.seed,
        pipeline_type=arguments.pipeline_type,
        sparse_structure_sampler_params=params,
        shape_slat_sampler_params=params,
        tex_slat_sampler_params=params,
        verbose=verbose,
    )[0]
    mesh.simplify(16777216)
    del pipeline

    from o_voxel.postprocess import save_glb, to_glb

    large = round(1 / mesh.voxel_size) > LARGE_GRID
    asset = to_glb(
        vertices=mesh.vertices,
        faces=mesh.faces,
        attr_volume=mesh.attrs.clamp(0, 1),
        coords=mesh.coords,
        attr_layout=mesh.layout,
        voxel_size=mesh.voxel_size,
        aabb=[[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]],
        decimation_target=arguments.faces or (1000000 if large else 20000),
        texture_size=arguments.texture_size or (4096 if large else 1024),
        remesh=not arguments.no_remesh,
        profile="game" if large or arguments.no_remesh else "print",  # holes of a coarse decoder are noise: closed
        remesh_band=1,
        remesh_project=0 if large else 0.9,
        use_tqdm=verbose,
    )
    save_glb(asset, glb_path, image_format="webp" if large else "png")
    written = [f"{glb_path}: {len(asset.faces)} faces, {glb_path.stat().st_size / 2**20:.1f} MiB"]
    if not arguments.no_video:
        from trellis2.renderers.asset_views import load_asset
        from trellis2.utils.render_utils import render_turntable

        # the file that was written, not the surface it was made from: what is seen is what is delivered
        mesh = load_asset(glb_path).to_mesh()
        size = arguments.video_size or (1024 if device.type == "cuda" else 320)
        render_turntable(mesh, video_path, resolution=size, num_frames=arguments.frames, layout="pbr", verbose=verbose)
        written.append(f"{video_path}: {arguments.frames} frames")
    return written


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status. An error is one line on stderr."""
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    start = time.perf_counter()
    try:
        for line in generate(arguments):
            print(line)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if arguments.debug:
            raise
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"error: {text}", file=sys.stderr)
        return 1
    print(f"done in {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
