"""Latents of the three stages: dense structure latents, sparse shape latents, sparse material latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .base import StandardDatasetBase
from .metadata import Filter, at_least, at_most, is_true, positive
from .normalization import Normalization
from .packed import Packed
from .roots import single_subfolder
from .sparse_batch import batch_coords, make_sparse
from .sparse_voxel_pbr import pbr_layout

__all__ = ["SLat", "SLatPbr", "SLatShape", "SparseStructureLatent", "read_slat"]

_PUBLISHED = "microsoft/TRELLIS.2-4B/ckpts"
_SS_DEC = "microsoft/TRELLIS-image-large/ckpts/ss_dec_conv3d_16l8_fp16"


def read_slat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(coords [T, 3] as stored, feats [T, C] float32) of a latent file; ValueError if it is malformed."""
    with np.load(path, allow_pickle=False) as data:
        coords, feats = data["coords"], data["feats"]
    if coords.ndim != 2 or coords.shape[1] != 3 or feats.ndim != 2 or len(coords) != len(feats) or len(coords) == 0:
        raise ValueError(f"{path}: expected coords [T, 3] and feats [T, C], got {coords.shape} and {feats.shape}")
    if not np.isfinite(feats).all():
        raise ValueError(f"{path} holds values that are not finite")
    return coords, feats.astype(np.float32, copy=False)


class SparseStructureLatent(StandardDatasetBase):
    """Batches {`x_0`}: float32 [B, C, S, S, S]. The decoder arguments are for pictures, used by the trainer."""

    ROOTS = ("ss_latent",)

    def __init__(
        self,
        roots: str | Path | Mapping[str, Any],
        *,
        min_aesthetic_score: float | None = 5.0,
        normalization: Mapping[str, Any] | str | None = None,
        pretrained_ss_dec: str | None = _SS_DEC,
        ss_dec_path: str | None = None,
        ss_dec_ckpt: str | None = None,
        ss_latent_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.min_aesthetic_score = min_aesthetic_score
        self.normalization = Normalization.from_spec(normalization, "ss")
        self.decoders = {"ss_dec": (pretrained_ss_dec, ss_dec_path, ss_dec_ckpt)}
        self.ss_latent_name = ss_latent_name
        super().__init__(roots, **kwargs)

    def derive_roots(self, folder: Path) -> dict[str, Path]:
        return {"base": folder, "ss_latent": single_subfolder(folder / "ss_latents", self.ss_latent_name)}

    def filters(self) -> list[Filter]:
        out = [is_true("ss_latent_encoded", "With latent")]
        if self.min_aesthetic_score is not None:
            v = self.min_aesthetic_score
            out.append(at_least("aesthetic_score", v, f"Aesthetic score >= {v}"))
        return out

    def load_raw(self, index: int) -> dict[str, np.ndarray]:
        folders, sha = self.instances[index]
        path = folders["ss_latent"] / f"{sha}.npz"
        with np.load(path, allow_pickle=False) as data:
            z = data["z"].astype(np.float32, copy=False)
        if z.ndim != 4 or not np.isfinite(z).all():
            raise ValueError(f"{path}: z must be finite [C, S, S, S], got shape {z.shape}")
        return {"z": z}

    def assemble(self, packed: Packed, rng: torch.Generator) -> dict[str, Any]:
        z = packed.dense["z"].float()
        return {"x_0": z if self.normalization is None else self.normalization.normalize(z, dim=1)}


class SLat(StandardDatasetBase):
    """Batches {`x_0`}: normalised sparse latents, SparseTensor [B, C]."""

    RAGGED = ("coords", "feats")

    def __init__(
        self,
        roots: str | Path | Mapping[str, Any],
        *,
        min_aesthetic_score: float | None = 5.0,
        max_tokens: int = 32768,
        latent_key: str = "shape_latent",
        normalization: Mapping[str, Any] | str | None = None,
        pretrained_slat_dec: str | None = None,
        slat_dec_path: str | None = None,
        slat_dec_ckpt: str | None = None,
        latent_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.min_aesthetic_score = min_aesthetic_score
        self.max_tokens = max_tokens
        self.latent_key = latent_key
        self.latent_name = latent_name
        self.normalization = Normalization.from_spec(normalization, "shape_slat")
        self.decoders = {"slat_dec": (pretrained_slat_dec, slat_dec_path, slat_dec_ckpt)}
        self.ROOTS = (latent_key,)  # type: ignore[misc]
        self.LOAD_COLUMN = f"{latent_key}_tokens"  # type: ignore[misc]
        super().__init__(roots, **kwargs)

    def derive_roots(self, folder: Path) -> dict[str, Path]:
        return {"base": folder, self.latent_key: single_subfolder(folder / f"{self.latent_key}s", self.latent_name)}

    def filters(self) -> list[Filter]:
        out = [is_true(f"{self.latent_key}_encoded", "With latent")]
        if self.min_aesthetic_score is not None:
            v = self.min_aesthetic_score
            out.append(at_least("aesthetic_score", v, f"Aesthetic score >= {v}"))
        out.append(at_most(f"{self.latent_key}_tokens", self.max_tokens, f"Num tokens <= {self.max_tokens}"))
        return out

    def load_raw(self, index: int) -> dict[str, np.ndarray]:
        folders, sha = self.instances[index]
        coords, feats = read_slat(folders[self.latent_key] / f"{sha}.npz")
        return {"coords": coords, "feats": feats}

    def assemble(self, packed: Packed, rng: torch.Generator) -> dict[str, Any]:
        feats = packed.ragged["feats"].float()
        if self.normalization is not None:
            feats = self.normalization.normalize(feats)
        return {"x_0": make_sparse(feats, batch_coords(packed), packed.seqlen)}


class SLatShape(SLat):
    """Shape latents; `resolution` is the output grid of the decoder used for pictures."""

    def __init__(
        self,
        roots: str | Path | Mapping[str, Any],
        *,
        resolution: int,
        pretrained_slat_dec: str | None = f"{_PUBLISHED}/shape_dec_next_dc_f16c32_fp16",
        **kwargs: Any,
    ) -> None:
        self.resolution = resolution
        super().__init__(roots, latent_key="shape_latent", pretrained_slat_dec=pretrained_slat_dec, **kwargs)


class SLatPbr(StandardDatasetBase):
    """Batches {`x_0`, `concat_cond`}: normalised material and shape latents on the same coordinates."""

    ROOTS = ("pbr_latent", "shape_latent")
    RAGGED = ("coords", "feats", "shape_feats")
    LOAD_COLUMN = "pbr_latent_tokens"

    def __init__(
        self,
        roots: str | Path | Mapping[str, Any],
        *,
        resolution: int,
        min_aesthetic_score: float | None = 5.0,
        max_tokens: int = 32768,
        full_pbr: bool = False,
        pbr_slat_normalization: Mapping[str, Any] | str | None = None,
        shape_slat_normalization: Mapping[str, Any] | str | None = None,
        attrs: Sequence[str] = ("base_color", "metallic", "roughness", "alpha"),
        pretrained_pbr_slat_dec: str | None = f"{_PUBLISHED}/tex_dec_next_dc_f16c32_fp16",
        pbr_slat_dec_path: str | None = None,
        pbr_slat_dec_ckpt: str | None = None,
        pretrained_shape_slat_dec: str | None = f"{_PUBLISHED}/shape_dec_next_dc_f16c32_fp16",
        shape_slat_dec_path: str | None = None,
        shape_slat_dec_ckpt: str | None = None,
        pbr_latent_name: str | None = None,
        shape_latent_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.resolution = resolution
        self.min_aesthetic_score = min_aesthetic_score
        self.max_tokens = max_tokens
        self.full_pbr = full_pbr
        self.attrs = list(attrs)
        self.layout = pbr_layout(attrs)
        self.normalization = Normalization.from_spec(pbr_slat_normalization, "tex_slat")
        self.shape_normalization = Normalization.from_spec(shape_slat_normalization, "shape_slat")
        self.decoders = {
            "pbr_slat_dec": (pretrained_pbr_slat_dec, pbr_slat_dec_path, pbr_slat_dec_ckpt),
            "shape_slat_dec": (pretrained_shape_slat_dec, shape_slat_dec_path, shape_slat_dec_ckpt),
        }
        self.pbr_latent_name = pbr_latent_name
        self.shape_latent_name = shape_latent_name
        super().__init__(roots, **kwargs)

    def derive_roots(self, folder: Path) -> dict[str, Path]:
        roots = {
            "base": folder,
            "shape_latent": single_subfolder(folder / "shape_latents", self.shape_latent_name),
            "pbr_latent": single_subfolder(folder / "pbr_latents", self.pbr_latent_name),
        }
        if self.full_pbr:
            roots["asset_stats"] = folder / "asset_stats"
        return roots

    def filters(self) -> list[Filter]:
        out = [is_true("pbr_latent_encoded", "With PBR latent"), is_true("shape_latent_encoded", "With shape latent")]
        if self.min_aesthetic_score is not None:
            v = self.min_aesthetic_score
            out.append(at_least("aesthetic_score", v, f"Aesthetic score >= {v}"))
        out.append(at_most("pbr_latent_tokens", self.max_tokens, f"Num tokens <= {self.max_tokens}"))
        if self.full_pbr:
            out.extend(positive(f"num_{name}_tex", "Full PBR") for name in ("basecolor", "metallic", "roughness"))
        return out

    def load_raw(self, index: int) -> dict[str, np.ndarray]:
        folders, sha = self.instances[index]
        coords, feats = read_slat(folders["pbr_latent"] / f"{sha}.npz")
        shape_coords, shape_feats = read_slat(folders["shape_latent"] / f"{sha}.npz")
        if not np.array_equal(coords, shape_coords):
            raise ValueError(f"{sha}: the material and shape latents have different coordinates")
        return {"coords": coords, "feats": feats, "shape_feats": shape_feats}

    def assemble(self, packed: Packed, rng: torch.Generator) -> dict[str, Any]:
        feats, shape_feats = packed.ragged["feats"].float(), packed.ragged["shape_feats"].float()
        if self.normalization is not None:
            feats = self.normalization.normalize(feats)
        if self.shape_normalization is not None:
            shape_feats = self.shape_normalization.normalize(shape_feats)
        x_0 = make_sparse(feats, batch_coords(packed), packed.seqlen)
        return {"x_0": x_0, "concat_cond": x_0.replace(shape_feats)}
