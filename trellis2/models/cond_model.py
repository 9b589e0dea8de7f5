"""The image condition model of a pipeline or a training run, from its specification in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["build_image_cond_model"]


def build_image_cond_model(spec: Mapping[str, Any], root: str | Path | None = None) -> Any:
    """Build {"name": …, "args": {…}}; the result is called with a tensor or a list of PIL images and gives tokens.

    Names: DinoV2FeatureExtractor, DinoV3FeatureExtractor, ImageEncoder. For ImageEncoder, args is either
    {"model": stem}, loaded by from_pretrained (relative to `root` if such a file is there), or the constructor's
    arguments. All have `image_size`, `to(device)` and `eval()`; ImageEncoder comes in eval mode without gradients
    when loaded. Raises ValueError for other names.
    """
    from . import ImageEncoder, from_pretrained

    name, args = spec.get("name"), dict(spec.get("args") or {})
    if name == "ImageEncoder":
        if "model" not in args:
            return ImageEncoder(**args)
        stem = args.pop("model")
        path: str | Path = stem
        if root is not None and Path(f"{Path(root) / stem}.json").is_file():
            path = Path(root) / stem
        image_size = args.pop("image_size", None)
        model = from_pretrained(path, **args).eval().requires_grad_(False)
        if not isinstance(model, ImageEncoder):
            raise ValueError(f"{path} must hold an ImageEncoder, got {type(model).__name__}")
        if image_size is not None:
            model.image_size = image_size
        return model
    from ..modules import image_feature_extractor

    if name not in ("DinoV2FeatureExtractor", "DinoV3FeatureExtractor"):
        raise ValueError(
            "image_cond_model name must be DinoV2FeatureExtractor, DinoV3FeatureExtractor or ImageEncoder, "
            f"got {name!r}"
        )
    return getattr(image_feature_extractor, name)(**args)
