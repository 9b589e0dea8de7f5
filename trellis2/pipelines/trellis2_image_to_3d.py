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
from .errors import PipelineConfigError, StageError
from .files import Source
from .latents import Latents
from .loading import LazyMatting, build_conditioner
from .noise import NoiseSource, check_seed
from .pipeline_types import PUBLISHED_TYPES, PipelineType
from .placement import ModelStore
from .progress import CancelToken, Monitor, OnProgress, Progress
from .sampler_params import check_sampler_params
from .texture_stage import TextureStage

__all__ = ["Trellis2ImageTo3DPipeline"]

logger = logging.getLogger(__name__)

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
        self._low_vram = low_vram
        self.memory = "auto" if low_vram else "resident"
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
            LazyMatting(config.rembg_model, source),
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
        monitor = Monitor.of(progress)
        with monitor.stage("structure decoder"), self._use(self._model("sparse_structure_decoder")) as decoder:
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
        low_resolution: bool = False,
    ) -> SparseTensor:  # feats [T, C]
        """Shape latent on the given cells, denormalised. `low_resolution` names the stage as a cascade's first."""
        num_samples = int(coords[:, 0].max()) + 1
        noise = NoiseSource.from_global(num_samples) if noise is None else noise
        coords = coords.to(self.device)
        feats = noise.sparse(coords, flow_model.in_channels)
        slat = self._sample(
            "shape SLat (low resolution)" if low_resolution else "shape SLat",
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
        slat = self.sample_shape_slat(lr_cond, flow_model_lr, coords, sampler_params, low_resolution=True, **options)
        rungs = tuple(ladder) if ladder else (*range(resolution, 1024, -128), min(resolution, 1024))
        cells, resolution = self._finer_cells(slat, lr_resolution, rungs, max_num_tokens, Monitor.of(progress))
        return self.sample_shape_slat(cond, flow_model, cells, sampler_params, **options), resolution

    def _finer_cells(
        self, slat: SparseTensor, source: int, ladder: Sequence[int], max_num_tokens: int, monitor: Monitor
    ) -> tuple[Tensor, int]:
        """Cells [T, 4] of a cascade's second stage, and its output resolution."""
        with monitor.stage("shape structure"), self._use(self._model("shape_slat_decoder")) as decoder:
            factor = stages.latent_factor(decoder)
            fine = decoder.upsample(self._fresh(slat), upsample_times=factor.bit_length() - 1)
            _check_all_samples("shape structure", fine, len(slat))
            return stages.pick_resolution(fine, source, ladder, factor, max_num_tokens)

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
        image: Image.Image | Sequence[Image.Image],
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
        seeds: Sequence[int] | None = None,
        progress: Progress | None = None,
        on_progress: OnProgress | None = None,
        cancel: CancelToken | None = None,
        verbose: bool = True,
    ) -> Any:
        """Textured meshes of the object in `image`, or in several images of it (see `fusion`).

        Sample `i` is what a run for one sample with seed `seed + i` (or `seeds[i]`) gives. Sampler parameters override
        those of the pipeline file one by one. With `return_latent`: (meshes, (shape_slat, tex_slat, resolution)), where
        resolution is a list if the samples of a cascade ended on different ones. `progress` is called after every
        sampling step, `on_progress` at the beginning and after each step of every stage; `cancel` stops the run.
        Raises ValueError for bad arguments or images, StageError if a stage finds no object, Cancelled.
        """
        monitor = Monitor.of(progress) if isinstance(progress, Monitor) else Monitor(progress, on_progress, cancel)
        latents = self.generate(
            image,
            self._seeds(num_samples, seed, seeds),
            sparse_structure_sampler_params,
            shape_slat_sampler_params,
            tex_slat_sampler_params,
            preprocess_image=preprocess_image,
            pipeline_type=pipeline_type,
            max_num_tokens=max_num_tokens,
            monitor=monitor,
            verbose=verbose,
        )
        meshes = [self.decode(one, monitor) for one in latents]
        if not return_latent:
            return meshes
        shapes = [one.shape_slat for one in latents]
        textures: list[Any] = [one.tex_slat for one in latents]
        resolutions = [one.resolution for one in latents]
        joined = (sparse_cat(shapes), sparse_cat(textures)) if len(latents) > 1 else (shapes[0], textures[0])
        return meshes, (*joined, resolutions[0] if len(set(resolutions)) == 1 else resolutions)

    @staticmethod
    def _seeds(num_samples: int, seed: int, seeds: Sequence[int] | None) -> list[int]:
        if seeds is not None:
            if not len(seeds):
                raise ValueError("seeds must name at least one seed")
            return [check_seed(value) for value in seeds]
        if isinstance(num_samples, bool) or not isinstance(num_samples, int) or num_samples < 1:
            raise ValueError(f"num_samples must be a positive integer, got {num_samples!r}")
        return [check_seed(seed + i) for i in range(num_samples)]

    @torch.no_grad()
    def generate(
        self,
        image: Image.Image | Sequence[Image.Image],
        seeds: Sequence[int] = (42,),
        sparse_structure_sampler_params: Params | None = None,
        shape_slat_sampler_params: Params | None = None,
        tex_slat_sampler_params: Params | None = None,
        *,
        preprocess_image: bool = True,
        pipeline_type: str | None = None,
        max_num_tokens: int = 49152,
        texture: bool = True,
        monitor: Monitor | None = None,
        verbose: bool = False,
    ) -> list[Latents]:
        """Latents of one asset a seed; `texture=False` stops after the shape.

        Stage by stage for all seeds, so that networks that take turns on the device are moved once. Arguments, errors
        and results as for `run`.
        """
        chosen = self.pipeline_type(pipeline_type)
        if max_num_tokens < 1:
            raise ValueError(f"max_num_tokens must be positive, got {max_num_tokens}")
        params = [sparse_structure_sampler_params, shape_slat_sampler_params, tex_slat_sampler_params]
        samplers = [self.sparse_structure_sampler, self.shape_slat_sampler, self.tex_slat_sampler]
        names = ["sparse_structure_sampler_params", "shape_slat_sampler_params", "tex_slat_sampler_params"]
        for name, sampler, values in zip(names, samplers, params, strict=True):
            check_sampler_params(name, values, sampler.PARAMS)
        sources = [NoiseSource([check_seed(seed)]) for seed in seeds]
        monitor = Monitor() if monitor is None else monitor
        keys = [key for key in chosen.models if texture or key not in (chosen.tex_model, "tex_slat_decoder")]
        with self._lock:
            for key in keys:
                self._model(key)  # damaged or missing weights are found before anything is computed
            sizes = chosen.cond_resolutions if texture else chosen.shape_cond_resolutions
            conds = self.conditions(image, sizes, preprocess_image=preprocess_image, monitor=monitor)
            common: dict[str, Any] = {"progress": monitor, "verbose": verbose}
            shapes = self._sample_shapes(chosen, conds, sources, params, max_num_tokens, common)
            textures: list[SparseTensor | None] = [None] * len(shapes)
            if texture:
                cond, flow = conds[chosen.tex_cond_resolution], self._model(chosen.tex_model)
                with self._keep(flow):
                    textures = [
                        self.sample_tex_slat(cond, flow, slat, params[2], noise=noise, **common)
                        for (slat, _), noise in zip(shapes, sources, strict=True)
                    ]
            self._empty_cache()
        name = self.default_pipeline_type if pipeline_type is None else pipeline_type
        return [
            Latents(slat, tex, resolution, {"seed": noise.seeds[0], "pipeline_type": name})
            for (slat, resolution), tex, noise in zip(shapes, textures, sources, strict=True)
        ]

    def _sample_shapes(
        self,
        chosen: PipelineType,
        conds: Mapping[int, Mapping[str, Any]],
        sources: Sequence[NoiseSource],
        params: Sequence[Params | None],
        max_num_tokens: int,
        common: Mapping[str, Any],
    ) -> list[tuple[SparseTensor, int]]:
        """Shape latent and output resolution of every sample."""
        first, last = chosen.shape_stages[0], chosen.shape_stages[-1]
        cond = conds[chosen.ss_cond_resolution]
        with self._keep(self._model("sparse_structure_flow_model")):
            self._prefetch(first.model)
            structures = [
                self.sample_sparse_structure(cond, chosen.ss_resolution, 1, params[0], noise=noise, **common)
                for noise in sources
            ]
        self._check_grid(chosen)
        flow, cond = self._model(first.model), conds[first.cond_resolution]
        for coords in structures:
            if not chosen.is_cascade and coords.shape[0] > max_num_tokens:
                logger.warning("%d tokens pass the limit of %d; memory may run out", coords.shape[0], max_num_tokens)
        with self._keep(flow):
            self._prefetch(last.model if chosen.is_cascade else chosen.tex_model)
            shapes = [
                self.sample_shape_slat(
                    cond, flow, coords, params[1], noise=noise, low_resolution=chosen.is_cascade, **common
                )
                for coords, noise in zip(structures, sources, strict=True)
            ]
        if not chosen.is_cascade:
            return [(slat, chosen.resolution) for slat in shapes]
        monitor: Monitor = common["progress"]
        with self._keep(self._model("shape_slat_decoder")):
            finer = [
                self._finer_cells(slat, first.resolution, chosen.ladder, max_num_tokens, monitor) for slat in shapes
            ]
        flow, cond = self._model(last.model), conds[last.cond_resolution]
        with self._keep(flow):
            self._prefetch(chosen.tex_model)
            return [
                (self.sample_shape_slat(cond, flow, cells, params[1], noise=noise, **common), resolution)
                for (cells, resolution), noise in zip(finer, sources, strict=True)
            ]

    @torch.no_grad()
    def retexture(
        self,
        image: Image.Image | Sequence[Image.Image],
        latents: Latents,
        seed: int = 42,
        tex_slat_sampler_params: Params | None = None,
        *,
        preprocess_image: bool = True,
        pipeline_type: str | None = None,
        monitor: Monitor | None = None,
        verbose: bool = False,
    ) -> Latents:
        """The same shape with a material sampled anew, after the same or another image.

        `pipeline_type` defaults to the one the latents were made with, then to the pipeline's.
        """
        kind = pipeline_type or latents.info.get("pipeline_type")
        chosen = self.pipeline_type(kind if kind in self.pipeline_types else None)
        check_sampler_params("tex_slat_sampler_params", tex_slat_sampler_params, self.tex_slat_sampler.PARAMS)
        noise, monitor = NoiseSource([check_seed(seed)]), Monitor() if monitor is None else monitor
        with self._lock:
            flow, size = self._model(chosen.tex_model), chosen.tex_cond_resolution
            cond = self.conditions(image, (size,), preprocess_image=preprocess_image, monitor=monitor)[size]
            shape = self._fresh(latents.shape_slat)
            tex = self.sample_tex_slat(
                cond, flow, shape, tex_slat_sampler_params, noise=noise, progress=monitor, verbose=verbose
            )
        return Latents(shape, tex, latents.resolution, {**latents.info, "tex_seed": seed})

    @torch.no_grad()
    def decode(self, latents: Latents, monitor: Monitor | None = None) -> Any:
        """The asset of latents: a `MeshWithVoxel`, or a `Mesh` where there is no material latent."""
        monitor = Monitor() if monitor is None else monitor
        with self._lock:
            with monitor.stage("shape decoder"):
                meshes, subs = self._with_room(self.decode_shape_slat, latents.shape_slat, latents.resolution)
            if latents.tex_slat is None:
                return self._with_room(stages.check_surface, meshes[0])
            with monitor.stage("texture decoder"):
                attrs = self._with_room(self.decode_tex_slat, latents.tex_slat, subs)
                del subs
                mesh = self._with_room(stages.meshes_with_voxels, meshes, attrs, latents.resolution)[0]
            self._empty_cache()
        return mesh

    def stage_plan(
        self,
        pipeline_type: str | None = None,
        sparse_structure_sampler_params: Params | None = None,
        shape_slat_sampler_params: Params | None = None,
        tex_slat_sampler_params: Params | None = None,
        *,
        num_samples: int = 1,
        texture: bool = True,
    ) -> list[tuple[str, int]]:
        """Stages of a run with their numbers of steps, in the order in which they are reported."""
        chosen = self.pipeline_type(pipeline_type)

        def steps(defaults: Params, own: Params | None) -> int:
            return int({**defaults, **(own or {})}.get("steps", 50))

        shape = steps(self.shape_slat_sampler_params, shape_slat_sampler_params)
        structure = steps(self.sparse_structure_sampler_params, sparse_structure_sampler_params)
        groups: list[list[tuple[str, int]]] = [[("sparse structure", structure), ("structure decoder", 1)]]
        if chosen.is_cascade:
            groups += [[("shape SLat (low resolution)", shape)], [("shape structure", 1)]]
        groups += [[("shape SLat", shape)]]
        if texture:
            groups += [[("texture SLat", steps(self.tex_slat_sampler_params, tex_slat_sampler_params))]]
        groups += [[("shape decoder", 1), ("texture decoder", 1)] if texture else [("shape decoder", 1)]]
        return [("image", 1), ("image encoder", 1), *(s for group in groups for s in group * num_samples)]

    def _check_grid(self, chosen: PipelineType) -> None:
        """The structure grid must be the latent grid of the first shape stage."""
        factor = stages.latent_factor(self._model("shape_slat_decoder"))
        first = chosen.shape_stages[0].resolution
        if chosen.ss_resolution * factor != first:
            raise PipelineConfigError(
                f"ss_resolution {chosen.ss_resolution} times the decoder's factor {factor} must be the first shape "
                f"resolution, got {first}"
            )


def _check_all_samples(stage: str, coords: Tensor, num_samples: int) -> None:
    """Raise StageError if a sample has no row in `coords` [N, 4]."""
    counts = torch.bincount(coords[:, 0].long(), minlength=num_samples)
    if bool((counts == 0).any()):
        sample = int((counts == 0).nonzero()[0])
        raise StageError(stage, f"the decoded structure is empty (sample {sample})", "try another seed")
