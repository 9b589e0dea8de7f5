"""Materials for a given mesh after one image.

Letters: V vertices, F faces, T tokens, N voxels, S texels a side.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import nn

from trellis2.modules.sparse import SparseTensor
from trellis2.representations.layout import PBR_ATTR_LAYOUT

from . import stages, texturing_mesh
from .config import TexturingConfig
from .errors import PipelineConfigError, StageError
from .files import Source
from .finishing import Finished
from .loading import LazyMatting, build_conditioner
from .noise import NoiseSource, check_seed
from .pipeline_types import PUBLISHED_TEXTURE_TYPES, TextureType
from .placement import ModelStore
from .progress import CancelToken, Monitor, OnProgress
from .sampler_params import check_sampler_params
from .scenes import open_scene, texture_sizes
from .surfaces import bake_group, unwrap_corners
from .texture_stage import TextureStage

if TYPE_CHECKING:
    import trimesh

__all__ = ["Trellis2TexturingPipeline"]

logger = logging.getLogger(__name__)


class Trellis2TexturingPipeline(TextureStage):
    """Encodes a mesh to a shape latent and samples the material latent that goes with it."""

    default_config_file: ClassVar[str] = "texturing_pipeline.json"

    def __init__(
        self,
        models: Mapping[str, nn.Module | Callable[[], nn.Module]] | None = None,
        tex_slat_sampler: Any = None,
        tex_slat_sampler_params: Mapping[str, Any] | None = None,
        shape_slat_normalization: Mapping[str, Sequence[float]] | None = None,
        tex_slat_normalization: Mapping[str, Sequence[float]] | None = None,
        image_cond_model: Any = None,
        rembg_model: Any = None,
        low_vram: bool = True,
        texture_types: Mapping[int, TextureType] | None = None,
        default_resolution: int = 1024,
    ) -> None:
        super().__init__(models)
        self.tex_slat_sampler = tex_slat_sampler
        self.tex_slat_sampler_params = dict(tex_slat_sampler_params or {})
        self.shape_slat_normalization = shape_slat_normalization
        self.tex_slat_normalization = tex_slat_normalization
        self.image_cond_model = image_cond_model
        self.rembg_model = rembg_model
        self._low_vram = low_vram
        self.memory = "auto" if low_vram else "resident"
        self.texture_types = dict(PUBLISHED_TEXTURE_TYPES if texture_types is None else texture_types)
        self.default_resolution = default_resolution
        self.pbr_attr_layout = dict(PBR_ATTR_LAYOUT)
        self._device = torch.device("cpu")

    @classmethod
    def from_config(cls, args: Mapping[str, Any], models: ModelStore, source: Source) -> Trellis2TexturingPipeline:
        config = TexturingConfig.parse(args)
        return cls(
            models,
            config.tex_slat_sampler.build(),
            config.tex_slat_sampler.params,
            config.shape_slat_normalization.as_dict(),
            config.tex_slat_normalization.as_dict(),
            build_conditioner(config.image_cond_model, source),
            LazyMatting(config.rembg_model, source),
            config.low_vram,
            config.texture_types,
            config.default_resolution,
        )

    def preprocess_mesh(self, mesh: trimesh.Trimesh) -> trimesh.Trimesh:
        """The mesh centred, scaled into [-0.5, 0.5]^3 and turned from Y up to Z up; UVs are kept, materials are not.

        Raises ValueError for a mesh without faces or extent, or with coordinates that are not finite.
        """
        return texturing_mesh.normalize_mesh(mesh)[0]

    @torch.no_grad()
    def encode_shape_slat(self, mesh: trimesh.Trimesh, resolution: int = 1024) -> SparseTensor:
        """Shape latent [T, C] of a normalised mesh (Z up); carries the voxel structure for the texture decoder."""
        from o_voxel.convert import mesh_to_flexible_dual_grid

        coords, dual, intersected = mesh_to_flexible_dual_grid(
            torch.from_numpy(np.ascontiguousarray(mesh.vertices, dtype=np.float32)),
            torch.from_numpy(np.ascontiguousarray(mesh.faces, dtype=np.int32)),
            grid_size=resolution,
            aabb=[[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]],
            face_weight=1.0,
            boundary_weight=0.2,
            regularization_weight=1e-2,
        )
        if coords.shape[0] == 0:
            raise StageError("shape encoder", "the mesh crosses no voxel edge", "use a finer resolution")
        local = (dual * resolution - coords).clamp(0, 1)  # box-relative -> voxel-local
        batched = torch.cat([torch.zeros_like(coords[:, :1]), coords], dim=1).int().to(self.device)
        with self._use(self._model("shape_slat_encoder")) as encoder:
            vertices = SparseTensor(local.float().to(self.device), batched)
            slat = encoder(vertices, vertices.replace(intersected.to(self.device)))
        stages.check_finite("shape encoder", slat.feats)
        return slat

    @torch.no_grad()
    def decode_tex_slat(self, slat: SparseTensor) -> SparseTensor:
        """Attributes [N, 6] on the voxels that were encoded, 0…1 up to the network's overshoot."""
        with self._use(self._model("tex_slat_decoder")) as decoder:
            attrs = decoder(slat) * 0.5 + 0.5
        stages.check_finite("texture decoder", attrs.feats)
        return attrs

    def postprocess_mesh(
        self,
        mesh: trimesh.Trimesh,
        pbr_voxel: SparseTensor,
        resolution: int = 1024,
        texture_size: int = 1024,
        uv: Literal["auto", "keep", "unwrap"] = "auto",
    ) -> trimesh.Trimesh:
        """Bake the voxels into textures of S x S texels; returns the mesh Y up with a PBR material.

        `uv`: "keep" uses the UVs of the mesh, "unwrap" makes new ones, "auto" keeps those that give every place of the
        surface a texel of its own.
        """
        attrs = pbr_voxel.feats.detach().float().clamp(0, 1).cpu()
        coords = pbr_voxel.coords[:, 1:].cpu()
        return texturing_mesh.bake_material(mesh, attrs, coords, self.pbr_attr_layout, resolution, texture_size, uv)

    def texture_type(self, resolution: int) -> TextureType:
        """The networks for one resolution. Raises ValueError for one that the pipeline does not offer."""
        if resolution not in self.texture_types:
            offered = ", ".join(str(r) for r in self.texture_types)
            raise ValueError(f"resolution must be one of {offered}, got {resolution!r}")
        chosen = self.texture_types[resolution]
        missing = [k for k in ("shape_slat_encoder", chosen.tex_model, "tex_slat_decoder") if k not in self.models]
        if missing:
            raise PipelineConfigError(f"resolution {resolution} needs models that are not there: {', '.join(missing)}")
        return chosen

    def _check(self, resolution: int | None, params: Mapping[str, Any] | None) -> tuple[int, TextureType]:
        """The resolution and its networks. Raises ValueError for what cannot be."""
        resolution = self.default_resolution if resolution is None else resolution
        check_sampler_params("tex_slat_sampler_params", params, self.tex_slat_sampler.PARAMS)
        return resolution, self.texture_type(resolution)

    def _voxels(
        self,
        normalized: trimesh.Trimesh,
        image: Image.Image | Sequence[Image.Image],
        seed: int,
        params: Mapping[str, Any] | None,
        chosen: TextureType,
        resolution: int,
        preprocess_image: bool,
        monitor: Monitor,
        verbose: bool,
    ) -> SparseTensor:
        """Attributes [N, 6] on the voxels of a normalised mesh."""
        noise = NoiseSource([check_seed(seed)])
        with self._lock:
            size = chosen.cond_resolution
            cond = self.conditions(image, (size,), preprocess_image=preprocess_image, monitor=monitor)[size]
            with monitor.stage("shape encoder"):
                shape_slat = self.encode_shape_slat(normalized, resolution)
            flow = self._model(chosen.tex_model)
            tex_slat = self.sample_tex_slat(
                cond, flow, shape_slat, params, noise=noise, progress=monitor, verbose=verbose
            )
            with monitor.stage("texture decoder"):
                attrs = self.decode_tex_slat(tex_slat)
            self._empty_cache()
        return attrs

    @torch.no_grad()
    def run(
        self,
        mesh: trimesh.Trimesh,
        image: Image.Image | Sequence[Image.Image],
        seed: int = 42,
        tex_slat_sampler_params: Mapping[str, Any] | None = None,
        preprocess_image: bool = True,
        resolution: int | None = None,
        texture_size: int = 2048,
        *,
        uv: Literal["auto", "keep", "unwrap"] = "auto",
        restore_transform: bool = True,
        progress: Any = None,
        on_progress: OnProgress | None = None,
        cancel: CancelToken | None = None,
        verbose: bool = True,
    ) -> trimesh.Trimesh:
        """The mesh (Y up) with a material after `image`, or after several images of it (see `fusion`).

        `resolution` defaults to the pipeline's. With `restore_transform` the result lies where the input lay, otherwise
        in the unit box. `uv` as for `postprocess_mesh`. Raises ValueError for bad arguments, meshes or images.
        """
        resolution, chosen = self._check(resolution, tex_slat_sampler_params)
        monitor = progress if isinstance(progress, Monitor) else Monitor(progress, on_progress, cancel)
        normalized, to_original = texturing_mesh.normalize_mesh(mesh)
        attrs = self._voxels(
            normalized,
            image,
            seed,
            tex_slat_sampler_params,
            chosen,
            resolution,
            preprocess_image,
            monitor,
            verbose,
        )
        with monitor.stage("bake"):
            textured = self.postprocess_mesh(normalized, attrs, resolution, texture_size, uv)
        if restore_transform:
            textured.apply_transform(to_original)
        return textured

    @torch.no_grad()
    def texture_file(
        self,
        mesh_file: str | Path,
        image: Image.Image | Sequence[Image.Image],
        path: str | Path,
        seed: int = 42,
        tex_slat_sampler_params: Mapping[str, Any] | None = None,
        *,
        preprocess_image: bool = True,
        resolution: int | None = None,
        texture_size: int = 2048,
        uv: str = "auto",
        image_format: str = "png",
        monitor: Monitor | None = None,
        verbose: bool = False,
    ) -> Finished:
        """Write the mesh of a file to `path` with new base colour, metallic and roughness textures.

        Vertices, faces, their order, UVs, names, hierarchy and animations stay as they are, to the bit; each material
        gets textures of its own, the largest of `texture_size`. Faces without UVs (with uv="unwrap", all of them) get
        some. `path` is a .glb, or for an OBJ also an .obj. Raises ValueError for bad arguments, files or images.
        """
        start = time.perf_counter()
        resolution, chosen = self._check(resolution, tex_slat_sampler_params)
        monitor = Monitor() if monitor is None else monitor
        with monitor.stage("mesh"):
            scene = open_scene(mesh_file, path, uv)
            normalized, to_original = texturing_mesh.normalize_corners(scene.corners)
        attrs = self._voxels(
            normalized,
            image,
            seed,
            tex_slat_sampler_params,
            chosen,
            resolution,
            preprocess_image,
            monitor,
            verbose,
        )
        volume = texturing_mesh.attribute_volume(attrs, self.pbr_attr_layout, resolution)
        to_world = texturing_mesh.TO_Z_UP_4 @ np.linalg.inv(to_original)
        sizes = texture_sizes(scene.groups, texture_size)
        with monitor.stage("bake", len(sizes)):
            textures = {}
            for done, (key, group) in enumerate(scene.groups.items(), 1):
                if group.uvs is None:
                    group.uvs = unwrap_corners(group.corners, sizes[key])
                textures[key] = bake_group(group, volume, to_world, sizes[key])
                monitor.report("bake", done, len(sizes))
        with monitor.stage("write"):
            files = scene.write(path, textures, image_format)
        faces = sum(len(group.corners) for group in scene.groups.values())
        report = {"materials": len(sizes), "voxels": len(attrs.coords)}
        written = Path(path)
        size, took = written.stat().st_size, time.perf_counter() - start
        return Finished(written, tuple(files), len(normalized.vertices), faces, size, took, report)
