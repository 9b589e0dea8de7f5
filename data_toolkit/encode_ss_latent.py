"""Encode the occupancy of shape latents to dense structure latents.

python data_toolkit/encode_ss_latent.py --root ROOT --shape_latent_name NAME --resolution 64
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np
import torch

from data_toolkit.encode_stage import Recorder, load_ahead, read_latent, save_latent
from data_toolkit.encoders import add_encoder_args, load_encoder
from data_toolkit.runner import Stage, add_common_args, load_tables, not_done, select
from data_toolkit.tables import Row, is_true, read_table

__all__ = ["main", "occupancy"]


def occupancy(coords: np.ndarray, size: int) -> np.ndarray:
    """Coordinates [T, 3] to float32 [1, S, S, S] of 0 and 1. Raises ValueError if one is outside the grid."""
    if len(coords) == 0 or int(coords.max()) >= size:
        raise ValueError(f"coordinates must be non-empty and below {size}, got up to {coords.max(initial=-1)}")
    grid = np.zeros((1, size, size, size), np.float32)
    grid[0, coords[:, 0], coords[:, 1], coords[:, 2]] = 1
    return grid


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="encode_ss_latent.py", description=__doc__)
    add_common_args(parser, workers=None)
    parser.add_argument("--shape_latent_root", type=Path, help="default: --root")
    parser.add_argument("--ss_latent_root", type=Path, help="default: --root")
    parser.add_argument("--shape_latent_name", required=True, help="folder below shape_latents/")
    add_encoder_args(parser, "microsoft/TRELLIS-image-large/ckpts/ss_enc_conv3d_16l8_fp16", 64)
    parser.add_argument("--batch_size", type=int, help="assets a batch; default 64 on a GPU, 4 on a CPU")
    parser.add_argument("--loader_threads", type=int, default=8)
    args = parser.parse_args(argv)
    source = (args.shape_latent_root or args.root) / "shape_latents" / args.shape_latent_name
    try:
        encoder = load_encoder(args)
        folder = (args.ss_latent_root or args.root) / "ss_latents" / encoder.name
        stage = Stage(folder, ("ss_latent_encoded",), "Encoding structure latents")
        table = load_tables(args.root, [source], {"shape_latent_encoded": "encode_shape_latent.py"})
        done = read_table(folder / "metadata.csv") if (folder / "metadata.csv").is_file() else {}
        rows = select(
            table, args,
            lambda r: is_true(r.get("shape_latent_encoded")) and not_done(done.get(r["sha256"], {}), stage.columns[0]),
            stage.failures(args.rank),
        )  # fmt: skip
    except (ValueError, OSError) as error:
        parser.error(str(error))

    def load(row: Row) -> np.ndarray | bool:
        """The occupancy, or True if the latent is there already."""
        path = folder / f"{row['sha256']}.npz"
        if path.is_file():
            try:
                _, provenance = read_latent(path)
            except ValueError:
                pass  # damaged: made again
            else:
                if provenance.get("encoder_sha256") not in (None, encoder.provenance["encoder_sha256"]):
                    raise ValueError(f"{path} was made by other weights of the same name; move the folder away")
                return True
        arrays, provenance = read_latent(source / f"{row['sha256']}.npz")
        grid_size = provenance.get("grid_size")
        if grid_size is not None and int(grid_size) != args.resolution:
            raise ValueError(f"the shape latent has a grid of {grid_size}, --resolution is {args.resolution}")
        return occupancy(arrays["coords"], args.resolution)

    recorder = Recorder(stage, args.rank, len(rows))
    size = args.batch_size or (64 if encoder.device.type == "cuda" else 4)
    batch: list[tuple[str, np.ndarray]] = []

    @torch.no_grad()
    def flush() -> None:
        if not batch:
            return
        x = torch.from_numpy(np.stack([grid for _, grid in batch])).to(encoder.device)
        z: Any = encoder.model(x, sample_posterior=False).float().cpu().numpy()
        for (sha, _), latent in zip(batch, z):
            if np.isfinite(latent).all():
                save_latent(folder / f"{sha}.npz", {"z": latent}, encoder.provenance)
                recorder.done(sha, ss_latent_encoded=True)
            else:
                recorder.fail(sha, "the latent is not finite")
        batch.clear()

    for row, loaded, reason in load_ahead(rows, load, args.loader_threads, 4 * args.loader_threads):
        if loaded is True:
            recorder.done(row["sha256"], ss_latent_encoded=True)
        elif isinstance(loaded, np.ndarray):
            batch.append((row["sha256"], loaded))
            if len(batch) >= size:
                flush()
        else:
            recorder.fail(row["sha256"], str(reason))
    flush()
    return recorder.finish()


if __name__ == "__main__":
    raise SystemExit(main())
