"""A mesh and an image in, the mesh with a material out; vertices, UVs, names and hierarchy stay as they are.

python example_texturing.py --mesh chair.obj --image chair.png --output textured.glb
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # read by OpenCV when it is imported
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # read by PyTorch likewise

ROOT = Path(__file__).resolve().parent
DEFAULT_PIPELINE = ROOT / "assets" / "models" / "mini"


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mesh", required=True, type=Path, help="mesh file, Y up (.glb .gltf .obj .ply .stl …)")
    parser.add_argument(
        "--image", required=True, nargs="+", help="picture of what it is to look like, or several views"
    )
    parser.add_argument("--output", type=Path, default=Path("textured.glb"), help="GLB to write")
    parser.add_argument("--seed", type=int, default=42, help="same seed, same material (default: 42)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda if there is one)")
    parser.add_argument("--pipeline", default=str(DEFAULT_PIPELINE), help="folder or Hugging Face repository")
    parser.add_argument("--resolution", type=int, help="voxels a side (default: what the pipeline says)")
    parser.add_argument("--texture-size", type=int, default=1024, help="texels a side (default: 1024)")
    parser.add_argument("--unwrap", action="store_true", help="make new UVs even if the mesh has usable ones")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    return parser.parse_args(argv)


def generate(arguments: argparse.Namespace) -> str:
    """Do what the arguments say; returns what was written."""
    output: Path = arguments.output
    if output.suffix.lower() != ".glb":
        raise ValueError(f"--output must end in .glb, got {str(output)!r}")
    if not arguments.mesh.is_file():
        raise FileNotFoundError(f"mesh file not found: {arguments.mesh}")

    import torch

    from trellis2.pipelines import Trellis2TexturingPipeline
    from trellis2.pipelines.scenes import open_scene
    from trellis2.utils.image import load_image

    images = [load_image(path) for path in arguments.image]
    uv = "unwrap" if arguments.unwrap else "auto"
    open_scene(arguments.mesh, output, uv)  # a mesh that cannot be read is told before the networks are loaded
    pipeline = Trellis2TexturingPipeline.from_pretrained(arguments.pipeline)
    pipeline.to(arguments.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    done = pipeline.texture_file(
        arguments.mesh,
        images,
        output,
        seed=arguments.seed,
        resolution=arguments.resolution,
        texture_size=arguments.texture_size,
        uv=uv,
        verbose=not arguments.quiet,
    )
    return f"{output}: {done.faces} faces, {done.num_bytes / 2**20:.1f} MiB"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status. An error is one line on stderr."""
    arguments = parse_arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    start = time.perf_counter()
    try:
        print(generate(arguments))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if arguments.debug:
            raise
        print(f"error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 1
    print(f"done in {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
