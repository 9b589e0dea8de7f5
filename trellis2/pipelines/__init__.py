"""Image to textured 3D asset, and textures for a given mesh."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "CancelToken": ".progress",
    "Cancelled": ".progress",
    "Latents": ".latents",
    "Monitor": ".progress",
    "Pipeline": ".base",
    "PipelineConfigError": ".errors",
    "PipelineLoadError": ".errors",
    "PipelineType": ".pipeline_types",
    "StageError": ".errors",
    "Trellis2ImageTo3DPipeline": ".trellis2_image_to_3d",
    "Trellis2TexturingPipeline": ".trellis2_texturing",
    "assemble_pipeline": ".export",
}
_SUBMODULES = ("base", "rembg", "samplers")
__all__ = [*_NAMES, *_SUBMODULES, "from_pretrained"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name], __name__), name)
    if name in _SUBMODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def from_pretrained(path: str, config_file: str = "pipeline.json", **options: Any) -> Any:
    """Load whichever pipeline `config_file` in `path` (folder or Hub repository) names.

    `options` as for `Pipeline.from_pretrained`. Raises PipelineLoadError or PipelineConfigError.
    """
    from .config import read_pipeline_json
    from .errors import PipelineConfigError
    from .files import HubOptions, Source

    hub_names = ("revision", "cache_dir", "token", "local_files_only")
    hub = HubOptions(**{name: options[name] for name in hub_names if name in options})
    file = Source(str(path), hub).config_file(config_file)
    name, _ = read_pipeline_json(file)
    classes = ("Trellis2ImageTo3DPipeline", "Trellis2TexturingPipeline")
    if name not in classes:
        raise PipelineConfigError(f"{file}: unknown pipeline {name!r}, choose from: {', '.join(classes)}")
    return __getattr__(name).from_pretrained(path, config_file, **options)
