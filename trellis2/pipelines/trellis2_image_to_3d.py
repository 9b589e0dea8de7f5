"""One image in, textured meshes out.

Letters: B samples, T tokens, C channels, N voxels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn

from trellis2.modules.sparse import SparseTensor, sparse_cat
from trellis2.representations import Mesh, MeshWithVoxel
from trellis2.representations.layout import PBR_ATTR_LAYOUT

from . import stages
from .base import Pipeline
from .config import ImageTo3DConfig
from .errors import PipelineConfigError, StageError, unknown_key
from .files import Source
from .loading import LazyMatting, build_conditioner
from .noise import NoiseSource, check_seed
from .pipeline_types import PUBLISHED_TYPES, PipelineType
from .placement import ModelStore
from .texture_stage import TextureStage

__all__ = ["Trellis2ImageTo3DPipeline"]

logger = logging.getLogger(__name__)

#: Called after each sampling step with (stage, step index from 0, number of steps, estimate of the clean latent).
#: Raise from it to cancel the run.
Progress = Callable[[str, int, int, Any], None]
Params = Mapping[str, Any]


class Trellis2ImageTo3DPipeline(TextureStage, Pipeline):
    """Sparse structure, shape and material from one image, each by a flow model."""

    model_names_to_load: ClassVar[tuple[str, ...] | None] = None

    def __init__(
        self,
        models: Mapping[str, nn.Module | Callable[[], nn.Module]] | None = None,
        sparse_structure_sampler: Any = None,
        shape_slat_sampler: Any = None,
        tex_slat_sampler: Any = None,
        sparse_structure_sampler_params: Params | None = None,
        shape_slat_sampler_params: Params | None = None,
        tex_slat_sampler_params: Params | None = None,
        shape_slat_normalization: Mapping[str, Sequence[float]] | None = None,
        tex_slat_normalization: Mapping[str, Sequence[float]] | None = None,
        image_cond_model: Any = None,
        rembg_model: Any = None,
        low_vram: bool = True,
        default_pipeline_type: str = "1024_cascade",
        pipeline_types: Mapping[str, PipelineType] | None = None,
    ) -> None:
        super().__init__(models)
        self.sparse_structure_sampler = sparse_structure_sampler
        self.shape_slat_sampler = shape_slat_sampler
        self.tex_slat_sampler = tex_slat_sampler
        self.sparse_structure_sampler_params = dict(sparse_structure_sampler_params or {})
        self.shape_slat_sampler_params = dict(shape_slat_sampler_params or {})
        self.tex_slat_sampler_params = dict(tex_slat_sampler_params or {})
        self.shape_slat_normalization = shape_slat_normalization
        self.tex_slat_normalization = tex_slat_normalization
        self.image_cond_model = image_cond_model
        self.rembg_model = rembg_model
        self.low_vram = low_vram
        self.pipeline_types = dict(PUBLISHED_TYPES if pipeline_types is None else pipeline_types)
        self.default_pipeline_type = default_pipeline_type
        self.pbr_attr_layout = dict(PBR_ATTR_LAYOUT)
        self._device = torch.device("cpu")

    @classmethod
    def from_config(cls, args: Mapping[str, Any], models: ModelStore, source: Source) -> Trellis2ImageTo3DPipeline:
        config = ImageTo3DConfig.parse(args)
        return cls(
            models,
            config.sparse_structure_sampler.build(),
            config.shape_slat_sampler.build(),
            config.tex_slat_sampler.build(),
            config.sparse_structure_sampler.params,
            config.shape_slat_sampler.params,
            config.tex_slat_sampler.params,
            config.shape_slat_normalization.as_dict(),
            config.tex_slat_normalization.as_dict(),
            build_conditioner(config.image_cond_model, source),
            LazyMatting(config.rembg_model),
            config.low_vram,
            config.default_pipeline_type,
            config.pipeline_types,
        )

    def pipeline_type(self, name: str | None = None) -> PipelineType:
        """A type by name, its networks checked. Raises ValueError for an unknown name or a missing network."""
        name = self.default_pipeline_type if name is None else name
        if name not in self.pipeline_types:
            raise ValueError(f"unknown pipeline_type {name!r}, choose from: {', '.join(self.pipeline_types)}")
        chosen = self.pipeline_types[name]
        missing = [key for key in chosen.models if key not in self.models]
        if missing:
            raise PipelineConfigError(f"pipeline_type {name!r} needs models that are not there: {', '.join(missing)}")
        return chosen

    # stages ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample_sparse_structure(
        self,
        cond: Mapping[str, Tensor],
        resolution: int,
        num_samples: int = 1,
        sampler_params: Params | None = None,
        *,
        noise: NoiseSource | None = None,
        progress: Progress | None = None,
        verbose: bool = True,
    ) -> Tensor:  # [T, 4] int32 (batch, x, y, z)
        """Occupied cells of a grid of `resolution` cells a side, lexicographic."""
        noise = NoiseSource.from_global(num_samples) if noise is None else noise
        flow = self._model("sparse_structure_flow_model")
        start = noise.dense((flow.in_channels, *[flow.resolution] * 3), self.device)
        latent = self._sample(
            "sparse structure",
            self.sparse_structure_sampler,
            flow,
            start,
            cond,
            {**self.sparse_structure_sampler_params, **(sampler_params or {})},
            progress,
            verbose,
        )
        stages.check_finite("sparse structure", latent)
        with self._use(self._model("sparse_structure_decoder")) as decoder:
            return stages.occupied_coords(decoder(latent), resolution)

    @torch.no_grad()
    def sample_shape_slat(
        self,
        cond: Mapping[str, Tensor],
        flow_model: Any,
        coords: Tensor,  # [T, 4] int32
        sampler_params: Params | None = None,
        *,
        noise: NoiseSource | None = None,
        progress: Progress | None = None,
        verbose: bool = True,
    ) -> SparseTensor:  # feats [T, C]
        """Shape latent on the given cells, denormalised."""
        num_samples = int(coords[:, 0].max()) + 1
        noise = NoiseSource.from_global(num_samples) if noise is None else noise
        coords = coords.to(self.device)
        feats = noise.sparse(coords, flow_model.in_channels)
        slat = self._sample(
            "shape SLat",
            self.shape_slat_sampler,
            flow_model,
            SparseTensor(feats, coords, torch.Size((len(noise), feats.shape[1]))),
            cond,
            {**self.shape_slat_sampler_params, **(sampler_params or {})},
            progress,
            verbose,
        )
        stages.check_finite("shape SLat", slat.feats)
        return slat.replace(stages.denormalize(slat.feats, self._stats("shape_slat_normalization")))

    @torch.no_grad()
    def sample_shape_slat_cascade(
        self,
        lr_cond: Mapping[str, Tensor],
        cond: Mapping[str, Tensor],
        flow_model_lr: Any,
        flow_model: Any,
        lr_resolution: int,
        resolution: int,
        coords: Tensor,  # [T, 4] int32 on the latent grid of lr_resolution
        sampler_params: Params | None = None,
        max_num_tokens: int = 49152,
        *,
        ladder: Sequence[int] | None = None,
        noise: NoiseSource | None = None,
        progress: Progress | None = None,
        verbose: bool = True,
    ) -> tuple[SparseTensor, int]:
        """Shape latent at `lr_resolution`, then on the finer structure that the decoder finds; and its resolution.

        The structure is taken at the first resolution of `ladder` (default: down from `resolution` in steps of 128
        to 1024) with fewer than `max_num_tokens` cells. The last rung is not limited.
        """
        noise = NoiseSource.from_global(int(coords[:, 0].max()) + 1) if noise is None else noise
        options: dict[str, Any] = {"noise": noise, "progress": progress, "verbose": verbose}
        slat = self.sample_shape_slat(lr_cond, flow_model_lr, coords, sampler_params, **options)
        with self._use(self._model("shape_slat_decoder")) as decoder:
            factor = stages.latent_factor(decoder)
            fine = decoder.upsample(self._fresh(slat), upsample_times=factor.bit_length() - 1)
        _check_all_samples("shape structure", fine, len(noise))
        rungs = tuple(ladder) if ladder else (*range(resolution, 1024, -128), min(resolution, 1024))
        cells, resolution = stages.pick_resolution(fine, lr_resolution, rungs, factor, max_num_tokens)
        return self.sample_shape_slat(cond, flow_model, cells, sampler_params, **options), resolution

    # sample_tex_slat is shared with the texturing pipeline, see texture_stage.py

    @torch.no_grad()
    def decode_shape_slat(self, slat: SparseTensor, resolution: int) -> tuple[list[Mesh], list[SparseTensor]]:
        """Surfaces, and the subdivision logits [N, 8] of every level, coarse to fine."""
        with self._lock, self._use(self._model("shape_slat_decoder")) as decoder:
            decoder.set_resolution(resolution)
            return decoder(self._fresh(slat), return_subs=True)

    @torch.no_grad()
    def decode_tex_slat(self, slat: SparseTensor, subs: Sequence[SparseTensor]) -> SparseTensor:
        """Attributes [N, 6] on the voxels of the decoded shape; 0…1 up to the network's overshoot."""
        with self._use(self._model("tex_slat_decoder")) as decoder:
            return decoder(self._fresh(slat), guide_subs=subs) * 0.5 + 0.5

    def _fresh(self, slat: SparseTensor) -> SparseTensor:
        """The same latent on the pipeline's device, without the structure that an encoder may have left in it."""
        return SparseTensor(slat.feats.to(self.device), slat.coords.to(self.device), slat.shape)

    @torch.no_grad()
    def decode_latent(
        self, shape_slat: SparseTensor, tex_slat: SparseTensor, resolution: int | Sequence[int]
    ) -> list[MeshWithVoxel]:
        """Assets of the latents, small holes closed. `resolution` is one for all samples, or one a sample."""
        num_samples = len(shape_slat)
        if not isinstance(resolution, int):
            if len(resolution) != num_samples:
                raise ValueError(f"resolution must have {num_samples} entries, one a sample, got {len(resolution)}")
            parts = [self.decode_latent(shape_slat[i], tex_slat[i], int(r)) for i, r in enumerate(resolution)]
            return [mesh for part in parts for mesh in part]
        meshes, subs = self.decode_shape_slat(shape_slat, resolution)
        attrs = self.decode_tex_slat(tex_slat, subs)
        return stages.meshes_with_voxels(meshes, attrs, resolution)

    # the whole way ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def run(
        self,
        image: Image.Image,
        num_samples: int = 1,
        seed: int = 42,
        sparse_structure_sampler_params: Params | None = None,
        shape_slat_sampler_params: Params | None = None,
        tex_slat_sampler_params: Params | None = None,
        preprocess_image: bool = True,
        return_latent: bool = False,
        pipeline_type: str | None = None,
        max_num_tokens: int = 49152,
        *,
        progress: Progress | None = None,
        verbose: bool = True,
    ) -> Any:
        """Textured meshes of the object in `image`.

        Sample `i` is what a run for one sample with seed `seed + i` gives. Sampler parameters override those of the
        pipeline file one by one. With `return_latent`: (meshes, (shape_slat, tex_slat, resolution)), where resolution
        is a list if the samples of a cascade ended on different ones. `progress` is called after every sampling step.
        Raises ValueError for bad arguments or images, StageError if a stage finds no object.
        """
        chosen = self.pipeline_type(pipeline_type)
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise ValueError(f"num_samples must be a positive integer, got {num_samples!r}")
        if max_num_tokens < 1:
            raise ValueError(f"max_num_tokens must be positive, got {max_num_tokens}")
        seeds = [check_seed(seed + i) for i in range(num_samples)]
        params = [sparse_structure_sampler_params, shape_slat_sampler_params, tex_slat_sampler_params]
        samplers = [self.sparse_structure_sampler, self.shape_slat_sampler, self.tex_slat_sampler]
        names = ["sparse_structure_sampler_params", "shape_slat_sampler_params", "tex_slat_sampler_params"]
        for name, sampler, values in zip(names, samplers, params, strict=True):
            _check_params(name, sampler, values)
        with self._lock:
            for key in chosen.models:
                self._model(key)  # damaged or missing weights are found before anything is computed
            if preprocess_image:
                image = self.preprocess_image(image)
            conds = {size: self.get_cond([image], size) for size in chosen.cond_resolutions}
            results = [
                self._run_sample(chosen, conds, NoiseSource([value]), params, max_num_tokens, progress, verbose)
                for value in seeds
            ]
            self._empty_cache()
            latents = [latent for _, latent in results]
            meshes = [mesh for mesh, _ in results]
        if not return_latent:
            return meshes
        shapes, textures, resolutions = (list(column) for column in zip(*latents, strict=True))
        joined = (sparse_cat(shapes), sparse_cat(textures)) if num_samples > 1 else (shapes[0], textures[0])
        return meshes, (*joined, resolutions[0] if len(set(resolutions)) == 1 else resolutions)

    def _run_sample(
        self,
        chosen: PipelineType,
        conds: Mapping[int, Mapping[str, Tensor]],
        noise: NoiseSource,
        params: Sequence[Params | None],
        max_num_tokens: int,
        progress: Progress | None,
        verbose: bool,
    ) -> tuple[MeshWithVoxel, tuple[SparseTensor, SparseTensor, int]]:
        """All stages for one sample."""
        options: dict[str, Any] = {"noise": noise, "progress": progress, "verbose": verbose}
        cond = conds[chosen.ss_cond_resolution]
        coords = self.sample_sparse_structure(cond, chosen.ss_resolution, 1, params[0], **options)
        self._check_grid(chosen)
        first, last = chosen.shape_stages[0], chosen.shape_stages[-1]
        resolution = chosen.resolution
        if chosen.is_cascade:
            shape_slat, resolution = self.sample_shape_slat_cascade(
                conds[first.cond_resolution],
                conds[last.cond_resolution],
                self._model(first.model),
                self._model(last.model),
                first.resolution,
                resolution,
                coords,
                params[1],
                max_num_tokens,
                ladder=chosen.ladder,
                **options,
            )
        else:
            if coords.shape[0] > max_num_tokens:
                logger.warning("%d tokens pass the limit of %d; memory may run out", coords.shape[0], max_num_tokens)
            cond = conds[first.cond_resolution]
            shape_slat = self.sample_shape_slat(cond, self._model(first.model), coords, params[1], **options)
        cond = conds[chosen.tex_cond_resolution]
        tex_slat = self.sample_tex_slat(cond, self._model(chosen.tex_model), shape_slat, params[2], **options)
        self._empty_cache()
        return self.decode_latent(shape_slat, tex_slat, resolution)[0], (shape_slat, tex_slat, resolution)

    def _check_grid(self, chosen: PipelineType) -> None:
        """The structure grid must be the latent grid of the first shape stage."""
        factor = stages.latent_factor(self._model("shape_slat_decoder"))
        first = chosen.shape_stages[0].resolution
        if chosen.ss_resolution * factor != first:
            raise PipelineConfigError(
                f"ss_resolution {chosen.ss_resolution} times the decoder's factor {factor} must be the first shape "
                f"resolution, got {first}"
            )


def _check_params(name: str, sampler: Any, params: Params | None) -> None:
    for key in params or {}:
        if key not in sampler.PARAMS:
            raise unknown_key(name, key, sampler.PARAMS)


def _check_all_samples(stage: str, coords: Tensor, num_samples: int) -> None:
    """Raise StageError if a sample has no row in `coords` [N, 4]."""
    counts = torch.bincount(coords[:, 0].long(), minlength=num_samples)
    if bool((counts == 0).any()):
        sample = int((counts == 0).nonzero()[0])
        raise StageError(stage, f"the decoded structure is empty (sample {sample})", "try another seed")
