"""What all pipelines share: loading, devices, image conditions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Literal, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from trellis2.models.flow_common import FlowTransformer
from trellis2.models.quantization import quantize
from trellis2.modules.utils import require_choice
from trellis2.samplers import FUSIONS, Fusion, ViewConditions
from trellis2.utils.image import crop_to_foreground, has_transparency, limit_size, to_8bit
from trellis2.utils.memory import device_limit, free_memory, memory_tier

from .errors import PipelineConfigError
from .files import HubOptions, Source
from .placement import ModelStore, Residents, network_of, on_device, working_reserve
from .progress import Monitor

__all__ = ["MAX_IMAGES", "MEMORY", "Pipeline"]

logger = logging.getLogger(__name__)
Self = TypeVar("Self", bound="Pipeline")
Result = TypeVar("Result")
#: An image smaller than this on a side holds no object.
_MIN_IMAGE_SIDE = 8
#: Ways of using a device's memory: by what is free, as the attributes say, or one of the tiers.
MEMORY = ("auto", "manual", "resident", "swapped", "streamed", "streamed int8")
#: Most images of one object.
MAX_IMAGES = 8


class Pipeline:
    """Networks by key, a device, and the stages between an input and an asset."""

    #: Keys of `args.models` that this pipeline can use; None means all.
    model_names_to_load: ClassVar[tuple[str, ...] | None] = None
    default_config_file: ClassVar[str] = "pipeline.json"

    image_cond_model: Any = None
    #: How several images of one object work together (see `trellis2.samplers.multi_view`).
    fusion: Fusion = "alternate"
    #: Stream the weights of each network from host memory while it works on a CUDA device; needs `low_vram`.
    stream_weights: bool = False
    #: What `to` does on a CUDA device: one of MEMORY. "manual" goes by `low_vram` and `stream_weights`.
    memory: str = "auto"

    def __init__(self, models: Mapping[str, nn.Module | Callable[[], nn.Module]] | None = None) -> None:
        """Hold `models` in eval mode; values may be loaders, run on first use."""
        self.models = models if isinstance(models, ModelStore) else ModelStore(models)
        self._device: torch.device | None = None
        self._lock = threading.RLock()
        self._kept: set[int] = set()
        self._rembg_model: Any = None
        self._pretrained_args: Mapping[str, Any] = {}
        self._low_vram = True
        self._residents: Residents | None = None

    @classmethod
    def from_pretrained(
        cls: type[Self],
        path: str,
        config_file: str | None = None,
        *,
        lazy: bool = True,
        revision: str | None = None,
        cache_dir: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load a pipeline from a folder or a Hub repository.

        `lazy` leaves each network on disk until it is needed (missing local files are still found now).
        Raises PipelineLoadError for files, PipelineConfigError for what they say.
        """
        from .loading import load_pipeline

        hub = HubOptions(revision, cache_dir, token, local_files_only)
        return load_pipeline(cls, Source(str(path), hub), config_file or cls.default_config_file, lazy=lazy)

    @classmethod
    def from_config(
        cls: type[Self],
        args: Mapping[str, Any],
        models: ModelStore,
        source: Source,
    ) -> Self:
        """Build the pipeline from the `args` object of its file."""
        raise PipelineConfigError(f"{cls.__name__} is not made from a file; use one of its subclasses")

    # devices ---------------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Where the pipeline computes."""
        if self._device is not None:
            return self._device
        for model in self.models.loaded().values():
            for parameter in model.parameters():
                return parameter.device
        return torch.device("cpu")

    @property
    def low_vram(self) -> bool:
        """Networks go to the device while they work only. Setting it makes `memory` "manual"."""
        return self._low_vram

    @low_vram.setter
    def low_vram(self, value: bool) -> None:
        self._low_vram = bool(value)
        self.memory = "manual"

    def to(self, device: torch.device | str) -> None:
        """Compute on `device`, with as much of its memory as `memory` says.

        "auto" measures what is free (see `trellis2.utils.memory.memory_tier`): networks stay on the device while there
        is room, take turns where there is not, and on small devices are streamed block by block. Raises ValueError for
        a device that is not there or an unknown `memory`.
        """
        device = torch.device(device)
        require_choice("memory", self.memory, MEMORY)
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device {device} is not available: PyTorch finds no CUDA device")
        if self._residents is not None:
            self._residents.clear()
            self._residents = None
        self._device = device
        if self.memory != "manual":
            tier = self._tier(device) if self.memory == "auto" else self.memory
            self._low_vram = tier != "resident"
            self.stream_weights = tier.startswith("streamed")
            if device.type == "cuda" and tier == "swapped":
                self._residents = Residents(device)
            logger.info("memory tier on %s: %s", device, tier)
            if tier == "streamed int8":
                self._quantize_once()
        if self._low_vram and device.type == "cuda":
            self._send_home()
        self.models.place(None if self._low_vram else device)
        if not self._low_vram:
            for helper in (self.image_cond_model, self._rembg_model):
                if helper is not None:
                    helper.to(device)

    @property
    def memory_tier(self) -> str:
        """What is in force: a name of MEMORY, but for "auto" and "manual"."""
        if self.stream_weights and self.low_vram:
            return "streamed int8" if self.memory == "streamed int8" else "streamed"
        return "swapped" if self.low_vram else "resident"

    @staticmethod
    def _tier(device: torch.device) -> str:
        """The tier for what is free on a device now, counting what this process holds there."""
        if device.type != "cuda":
            return "resident"
        free = (free_memory(device) or 0) + torch.cuda.memory_allocated(device)
        return "swapped" if memory_tier(free).name in ("resident", "swapped") else "streamed"

    def _send_home(self) -> None:
        """Move whatever lies on a device to host memory."""
        helpers = [m for m in (self.image_cond_model, self._rembg_model) if m is not None]
        for model in (*self.models.loaded().values(), *helpers):
            if hasattr(model, "to"):
                model.to(torch.device("cpu"))

    def _quantize_once(self) -> None:
        if not getattr(self, "_quantized", False):
            self.quantize("int8")

    def cuda(self) -> None:
        self.to(torch.device("cuda"))

    def cpu(self) -> None:
        self.to(torch.device("cpu"))

    def quantize(self, precision: Literal["int8", "fp8"]) -> None:
        """Run the flow models in 8 bits from now on (see `trellis2.models.quantize`); decoders keep their precision.

        Models that are not in memory yet are converted when they are loaded. There is no way back but to load the
        pipeline again. Raises ValueError for an unknown precision and for flow models that are quantised already.
        """
        require_choice("precision", precision, ("int8", "fp8"))

        def lower(model: nn.Module) -> None:
            if isinstance(model, FlowTransformer):
                quantize(model, precision)

        with self._lock:
            self.models.change(lower)
            self._quantized = True

    def _use(self, model: Any) -> AbstractContextManager[Any]:
        """`model` on the device for as long as it works."""
        if id(model) in self._kept:
            return nullcontext(model)
        network = network_of(model)
        if self._residents is not None and network is not None:
            return self._resident(model, network)
        return on_device(model, self.device, release=self.low_vram, stream=self.stream_weights and self.low_vram)

    @contextmanager
    def _resident(self, model: Any, network: nn.Module) -> Iterator[Any]:
        assert self._residents is not None
        with self._residents.use(network, working_reserve(self.device)):
            yield model

    def _prefetch(self, key: str) -> None:
        """Start bringing a network that the next stage needs, where networks take turns and there is room."""
        if self._residents is not None and key in self.models:
            self._residents.prefetch(self.models[key], working_reserve(self.device) // 2)

    @contextmanager
    def _keep(self, model: Any) -> Iterator[Any]:
        """As `_use`; uses inside do not move the model again."""
        with self._use(model):
            known = id(model) in self._kept
            self._kept.add(id(model))
            try:
                yield model
            finally:
                if not known:
                    self._kept.discard(id(model))

    def _with_room(self, stage: Callable[..., Result], *args: Any) -> Result:
        """`stage(*args)`, and if memory runs out while idle networks lie on the device, once more without them."""
        try:
            return stage(*args)
        except torch.OutOfMemoryError:
            if self._residents is None:
                raise
        logger.info("memory ran out on %s: idle networks leave", self.device)
        self._residents.make_room(device_limit(self.device) or 0)
        torch.cuda.empty_cache()
        return stage(*args)

    def _model(self, key: str) -> Any:
        if key not in self.models:
            raise PipelineConfigError(f"this pipeline has no model {key!r}; it has: {', '.join(self.models)}")
        return self.models[key]

    def _empty_cache(self) -> None:
        """Give cached device memory back where others may need it: giving it back and asking again takes time."""
        if self.device.type != "cuda":
            return
        free, total = torch.cuda.mem_get_info(self.device)
        if free < total / 4:
            torch.cuda.empty_cache()

    # images ----------------------------------------------------------------------------------------------------------

    @property
    def rembg_model(self) -> Any:
        """The background remover; a loader is run on first use."""
        if callable(self._rembg_model) and getattr(self._rembg_model, "is_loader", False):
            self._rembg_model = self._rembg_model()
            if self._rembg_model is not None and not self.low_vram and self._device is not None:
                self._rembg_model.to(self._device)
        return self._rembg_model

    @rembg_model.setter
    def rembg_model(self, model: Any) -> None:
        self._rembg_model = model

    def preprocess_image(self, image: Image.Image) -> Image.Image:
        """Cut the subject out and crop to it: a square RGB image on black.

        Transparency, where there is any, says what the subject is; otherwise the background remover does.
        Raises ValueError for an image without a visible subject.
        """
        image = to_8bit(image)
        if min(image.size) < _MIN_IMAGE_SIDE:
            raise ValueError(
                f"image is {image.width} x {image.height} pixels; "
                f"each side needs at least {_MIN_IMAGE_SIDE} for a subject to be seen"
            )
        transparent = has_transparency(image)
        image = limit_size(image)
        if not transparent:
            remover = self.rembg_model
            if remover is None:
                raise ValueError(
                    "image is opaque and this pipeline has no background remover; give an image with transparency"
                )
            with self._use(remover):
                image = remover(image.convert("RGB"))
        return crop_to_foreground(image)

    @torch.no_grad()
    def get_cond(
        self,
        image: Tensor | Sequence[Image.Image],  # [B, 3, H, W] in 0…1, or B images
        resolution: int,
        include_neg_cond: bool = True,
    ) -> dict[str, Tensor]:
        """Image tokens [B, L, C] as `cond`, and zeros of the same shape as `neg_cond`.

        PIL images are resized to `resolution` pixels a side.
        """
        if isinstance(image, Tensor):
            image = image.to(self.device)
        with self._lock, self._use(self.image_cond_model) as encoder:
            encoder.image_size = resolution
            cond = encoder(image)
        if not bool(torch.isfinite(cond).all()):
            raise ValueError("the image encoder gave values that are not finite; its weights may be damaged")
        return {"cond": cond, "neg_cond": torch.zeros_like(cond)} if include_neg_cond else {"cond": cond}

    def conditions(
        self,
        image: Image.Image | Sequence[Image.Image],
        resolutions: Sequence[int],
        *,
        preprocess_image: bool = True,
        monitor: Monitor | None = None,
    ) -> dict[int, dict[str, Any]]:
        """Conditions of one image, or of several that show one object, by image size.

        Of several images, `cond` is what `fusion` asks for: the tokens of all joined, or `ViewConditions`.
        Raises ValueError for no image or more than 8.
        """
        images: list[Any] = list(image) if isinstance(image, (list, tuple)) else [image]
        if not 1 <= len(images) <= MAX_IMAGES:
            raise ValueError(f"image must be one image or up to {MAX_IMAGES} of the same object, got {len(images)}")
        require_choice("fusion", self.fusion, FUSIONS)
        monitor = Monitor() if monitor is None else monitor
        with self._lock:
            with monitor.stage("image"):
                pictures = [self.preprocess_image(one) if preprocess_image else one for one in images]
            with monitor.stage("image encoder"), self._keep(self.image_cond_model):
                return {size: self._joined([self.get_cond([one], size) for one in pictures]) for size in resolutions}

    def _joined(self, conds: Sequence[dict[str, Tensor]]) -> dict[str, Any]:
        """One condition of several: tokens [1, L, C] each."""
        if len(conds) == 1:
            return dict(conds[0])
        tokens = [one["cond"] for one in conds]
        if self.fusion == "concat":
            joined = torch.cat(tokens, dim=1)
            return {"cond": joined, "neg_cond": torch.zeros_like(joined)}
        return {"cond": ViewConditions(tokens), "neg_cond": conds[0]["neg_cond"]}
