"""Frozen image encoders of the published pipelines: patch tokens of DINOv2 and DINOv3.

Letters: B images, S image size, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .dinov3 import DinoV3
from .dinov3_files import load_dinov3
from .norm import layer_norm_32

__all__ = ["DinoV2FeatureExtractor", "DinoV3FeatureExtractor", "imagenet_normalize", "images_to_tensor"]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def images_to_tensor(images: Sequence[Image.Image], image_size: int) -> Tensor:
    """PIL images to float32 [B, 3, S, S] in [0, 1]: Lanczos in the image's own mode, then RGB (alpha is dropped)."""
    if not isinstance(images, (list, tuple)) or not images:
        raise TypeError("images must be a tensor [B, 3, H, W] or a non-empty list of PIL images")
    arrays = []
    for image in images:
        if not isinstance(image, Image.Image):
            raise TypeError(f"images must be PIL images, got {type(image).__name__}")
        resized = image.resize((image_size, image_size), Image.Resampling.LANCZOS).convert("RGB")
        arrays.append(np.asarray(resized, dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def imagenet_normalize(images: Tensor) -> Tensor:
    """(x − mean) / std of [B, 3, H, W] in [0, 1]."""
    mean = torch.tensor(_MEAN, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(_STD, dtype=images.dtype, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / std


class _FeatureExtractor:
    """A frozen model behind one call: PIL images or a tensor to tokens."""

    model: nn.Module
    image_size: int

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move or cast the model, as Module.to."""
        self.model.to(*args, **kwargs)
        return self

    def cuda(self) -> Any:
        return self.to("cuda")

    def cpu(self) -> Any:
        return self.to("cpu")

    def eval(self) -> Any:
        self.model.eval()
        return self

    def _prepare(self, images: Tensor | Sequence[Image.Image]) -> Tensor:
        if not isinstance(images, Tensor):
            images = images_to_tensor(images, self.image_size)
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be [B, 3, H, W], got {tuple(images.shape)}")
        return imagenet_normalize(images.to(self.device))

    def __call__(self, images: Tensor | Sequence[Image.Image]) -> Tensor:
        """Tensor [B, 3, H, W] in [0, 1], used at its size, or PIL images, resized to image_size² -> [B, tokens, C]."""
        with torch.no_grad():
            return self.extract_features(self._prepare(images))

    def extract_features(self, images: Tensor) -> Tensor:
        """Normalised images to tokens."""
        raise TypeError(f"{type(self).__name__} must define extract_features")


class DinoV3FeatureExtractor(_FeatureExtractor):
    """Tokens of a DINOv3 ViT before its final norm, then a parameter-free layer norm.

    model_name: local folder or hub repository with the weights in any published layout (see `load_dinov3`); `model`
    takes a loaded one instead, a `DinoV3` or a `DINOv3ViTModel` of transformers 4 or 5. Tokens are the class token, the
    registers, and the patches row by row.
    """

    def __init__(self, model_name: str, image_size: int = 512, model: nn.Module | None = None) -> None:
        self.model_name = model_name
        self.image_size = image_size
        model = load_dinov3(model_name) if model is None else model
        self.model = model.eval().requires_grad_(False)

    def _last_layer(self) -> nn.Module:
        """The last transformer layer, wherever the library's version keeps the list."""
        layers = [m for m in self.model.modules() if type(m).__name__ == "DINOv3ViTLayer"]
        if not layers:
            raise TypeError(f"{type(self.model).__name__} has no DINOv3ViTLayer; pass a DINOv3ViTModel")
        return layers[-1]

    def extract_features(self, images: Tensor) -> Tensor:
        dtype = next(self.model.parameters()).dtype
        if isinstance(self.model, DinoV3):
            return layer_norm_32(self.model(images.to(dtype)))
        captured: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            captured.append(output[0] if isinstance(output, tuple) else output)

        handle = self._last_layer().register_forward_hook(keep)
        try:
            dtype = next(self.model.get_submodule("embeddings.patch_embeddings").parameters()).dtype
            self.model(pixel_values=images.to(dtype))
        finally:
            handle.remove()
        return layer_norm_32(captured[-1])


class DinoV2FeatureExtractor(_FeatureExtractor):
    """Tokens of a DINOv2 ViT before its final norm (`x_prenorm`), then a parameter-free layer norm.

    model_name: an entry of the torch.hub repository `facebookresearch/dinov2`, e.g. `dinov2_vitl14_reg`, whose code
    torch.hub downloads and runs; `model` takes a loaded one instead.
    """

    def __init__(self, model_name: str, image_size: int = 518, model: nn.Module | None = None) -> None:
        self.model_name = model_name
        self.image_size = image_size
        if model is None:
            model = torch.hub.load("facebookresearch/dinov2", model_name, pretrained=True)
        self.model = model.eval().requires_grad_(False)

    def extract_features(self, images: Tensor) -> Tensor:
        dtype = next(self.model.parameters()).dtype
        return layer_norm_32(self.model(images.to(dtype), is_training=True)["x_prenorm"])
