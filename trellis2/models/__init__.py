"""The networks of the system, loaded on first use.

`MODELS` maps the class names of configuration files to the modules that define them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cond_model import build_image_cond_model
    from .image_encoder import ImageEncoder
    from .loading import build_model, from_pretrained, load_weights, save_pretrained
    from .quantization import QuantizationReport, quantize
    from .sc_vaes.fdg_vae import FlexiDualGridVaeDecoder, FlexiDualGridVaeEncoder
    from .sc_vaes.sparse_unet_vae import SparseUnetVaeDecoder, SparseUnetVaeEncoder
    from .sparse_structure_flow import SparseStructureFlowModel
    from .sparse_structure_vae import SparseStructureDecoder, SparseStructureEncoder
    from .structured_latent_flow import ElasticSLatFlowModel, SLatFlowModel

__all__ = [
    "MODELS",
    "ElasticSLatFlowModel",
    "FlexiDualGridVaeDecoder",
    "FlexiDualGridVaeEncoder",
    "ImageEncoder",
    "QuantizationReport",
    "SLatFlowModel",
    "SparseStructureDecoder",
    "SparseStructureEncoder",
    "SparseStructureFlowModel",
    "SparseUnetVaeDecoder",
    "SparseUnetVaeEncoder",
    "build_image_cond_model",
    "build_model",
    "from_pretrained",
    "get_model_class",
    "load_weights",
    "quantize",
    "save_pretrained",
]

MODELS: dict[str, str] = {
    "ElasticSLatFlowModel": "structured_latent_flow",
    "FlexiDualGridVaeDecoder": "sc_vaes.fdg_vae",
    "FlexiDualGridVaeEncoder": "sc_vaes.fdg_vae",
    "ImageEncoder": "image_encoder",
    "SLatFlowModel": "structured_latent_flow",
    "SparseStructureDecoder": "sparse_structure_vae",
    "SparseStructureEncoder": "sparse_structure_vae",
    "SparseStructureFlowModel": "sparse_structure_flow",
    "SparseUnetVaeDecoder": "sc_vaes.sparse_unet_vae",
    "SparseUnetVaeEncoder": "sc_vaes.sparse_unet_vae",
}
_FUNCTIONS = {
    "build_image_cond_model": "cond_model",
    "build_model": "loading",
    "from_pretrained": "loading",
    "load_weights": "loading",
    "quantize": "quantization",
    "QuantizationReport": "quantization",
    "save_pretrained": "loading",
}


def get_model_class(name: str) -> Any:
    """The class of a registered name. Raises ValueError for other names."""
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}, choose from: {', '.join(MODELS)}")
    return getattr(importlib.import_module(f".{MODELS[name]}", __name__), name)


def __getattr__(name: str) -> Any:
    module = MODELS.get(name) or _FUNCTIONS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{module}", __name__), name)
