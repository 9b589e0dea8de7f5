"""The part that `encode_shape_latent.py` and `encode_pbr_latent.py` share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

import numpy as np

from data_toolkit.encode_stage import Recorder, load_ahead, read_latent, save_latent
from data_toolkit.encoders import LoadedEncoder, SparseItem, add_encoder_args, encode_sparse, load_encoder
from data_toolkit.runner import Stage, add_common_args, load_tables, not_done, select
from data_toolkit.tables import Row, is_true, read_table

__all__ = ["read_pbr_input", "read_shape_input", "run_encode"]

_HUB = "microsoft/TRELLIS.2-4B/ckpts"


def read_shape_input(path: Path, sha: str) -> SparseItem:
    """Dual grid file to six channels: dual vertex in [0, 1] and the three edge flags."""
    from o_voxel.io import read_vxz

    coords, attributes = read_vxz(str(path), num_threads=1)
    vertices = attributes["vertices"].numpy().astype(np.float32) / 255
    bits = attributes["intersected"].numpy().astype(np.uint8)
    flags = np.concatenate([(bits >> k) & 1 for k in range(3)], 1).astype(np.float32)
    return SparseItem(sha, coords.numpy().astype(np.int32), np.concatenate([vertices, flags], 1))


def read_pbr_input(path: Path, sha: str) -> SparseItem:
    """PBR voxel file to base_color, metallic, roughness, alpha in [-1, 1]."""
    from o_voxel.io import read_vxz

    coords, attributes = read_vxz(str(path), num_threads=1)
    names = ("base_color", "metallic", "roughness", "alpha")
    values = np.concatenate([attributes[n].numpy() for n in names], 1).astype(np.float32)
    return SparseItem(sha, coords.numpy().astype(np.int32), values / 255 * 2 - 1)


def run_encode(kind: Literal["shape", "pbr"], description: str | None, argv: list[str] | None) -> int:
    """Encode every asset that has voxels; returns the exit status."""
    shape = kind == "shape"
    source = ("dual_grid", "dual_grid_converted", "dual_grid.py") if shape else (
        "pbr_voxels", "pbr_voxelized", "voxelize_pbr.py")  # fmt: skip
    parser = argparse.ArgumentParser(prog=f"encode_{kind}_latent.py", description=description)
    add_common_args(parser, workers=None)
    input_flag = "dual_grid_root" if shape else "pbr_voxel_root"
    parser.add_argument(f"--{input_flag}", type=Path, help="default: --root")
    parser.add_argument(f"--{kind}_latent_root", type=Path, help="default: --root")
    add_encoder_args(parser, f"{_HUB}/{'shape' if shape else 'tex'}_enc_next_dc_f16c32_fp16", 1024)
    parser.add_argument("--batch_voxels", type=int, help="voxels a batch; default 1500000 on a GPU, 150000 on a CPU")
    parser.add_argument("--loader_threads", type=int, default=8)
    args = parser.parse_args(argv)
    inputs = (getattr(args, input_flag) or args.root) / f"{source[0]}_{args.resolution}"
    try:
        encoder = load_encoder(args)
        folder = (getattr(args, f"{kind}_latent_root") or args.root) / f"{kind}_latents" / encoder.name
        stage = Stage(folder, (f"{kind}_latent_encoded", f"{kind}_latent_tokens"), f"Encoding {kind} latents")
        table = load_tables(args.root, [inputs], {source[1]: source[2]})
        done = read_table(folder / "metadata.csv") if (folder / "metadata.csv").is_file() else {}
        rows = select(
            table, args,
            lambda r: is_true(r.get(source[1])) and not_done(done.get(r["sha256"], {}), f"{kind}_latent_encoded"),
            stage.failures(args.rank),
        )  # fmt: skip
    except (ValueError, OSError) as error:
        parser.error(str(error))
    levels = len(getattr(encoder.model, "model_channels", ()))
    if levels:
        encoder.provenance["grid_size"] = args.resolution // 2 ** (levels - 1)
    limit = args.batch_voxels or (1_500_000 if encoder.device.type == "cuda" else 150_000)
    work = _SparseEncoding(kind, encoder, inputs, folder, Recorder(stage, args.rank, len(rows)), limit)
    return work.run(rows, args.loader_threads)


class _SparseEncoding:
    """One run over the assets of a shard."""

    def __init__(
        self, kind: str, encoder: LoadedEncoder, inputs: Path, folder: Path, recorder: Recorder, limit: int
    ) -> None:
        self.kind, self.encoder, self.inputs, self.folder = kind, encoder, inputs, folder
        self.recorder, self.limit = recorder, limit

    def _load(self, row: Row) -> SparseItem | int:
        """Voxels to encode, or the token count of a latent that is there already."""
        sha = row["sha256"]
        path = self.folder / f"{sha}.npz"
        if path.is_file():
            try:
                arrays, provenance = read_latent(path)
            except ValueError:
                pass  # damaged: made again
            else:
                if provenance.get("encoder_sha256") not in (None, self.encoder.provenance["encoder_sha256"]):
                    raise ValueError(f"{path} was made by other weights of the same name; move the folder away")
                return len(arrays["coords"])
        read = read_shape_input if self.kind == "shape" else read_pbr_input
        return read(self.inputs / f"{sha}.vxz", sha)

    def _done(self, sha: str, tokens: int) -> None:
        self.recorder.done(sha, **{f"{self.kind}_latent_encoded": True, f"{self.kind}_latent_tokens": tokens})

    def _encode(self, batch: list[SparseItem]) -> None:
        try:
            latents = encode_sparse(self.encoder, batch, self.kind == "shape")
        except Exception as error:  # one asset must not stop the others
            if len(batch) == 1:
                self.recorder.fail(batch[0].sha256, f"{type(error).__name__}: {error}")
            else:  # find the culprit, and fit into memory if that was the reason
                for item in batch:
                    self._encode([item])
            return
        for item, (coords, feats) in zip(batch, latents):
            path = self.folder / f"{item.sha256}.npz"
            save_latent(path, {"feats": feats, "coords": coords}, self.encoder.provenance)
            self._done(item.sha256, len(coords))

    def run(self, rows: list[Row], threads: int) -> int:
        """Encode the rows; returns the exit status."""
        batch: list[SparseItem] = []
        size = 0
        for row, loaded, error in load_ahead(rows, self._load, threads, 4 * threads):
            if isinstance(loaded, int):
                self._done(row["sha256"], loaded)
            elif loaded is None:
                self.recorder.fail(row["sha256"], str(error))
            else:
                if batch and size + len(loaded.coords) > self.limit:
                    self._encode(batch)
                    batch, size = [], 0
                batch.append(loaded)
                size += len(loaded.coords)
        if batch:
            self._encode(batch)
        return self.recorder.finish()
