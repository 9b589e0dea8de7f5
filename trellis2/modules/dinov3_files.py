"""Finding and reading the weights of a DINOv3 image encoder: local folder, hub, or an open conversion of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .dinov3 import DinoV3, DinoV3Config, dinov3_config_from_weights, to_dinov3_keys

__all__ = ["CONVERSIONS", "find_dinov3", "load_dinov3"]

_log = logging.getLogger(__name__)
_WEIGHTS = "model.safetensors"
#: Repositories that hold the same weights under other keys and ask for no access.
CONVERSIONS: Mapping[str, tuple[str, ...]] = {
    "facebook/dinov3-vits16-pretrain-lvd1689m": ("timm/vit_small_patch16_dinov3_qkvb.lvd1689m",),
    "facebook/dinov3-vitb16-pretrain-lvd1689m": ("timm/vit_base_patch16_dinov3_qkvb.lvd1689m",),
    "facebook/dinov3-vitl16-pretrain-lvd1689m": ("timm/vit_large_patch16_dinov3_qkvb.lvd1689m",),
}

Download = Callable[[str, str], str]


def _download(repository: str, name: str) -> str:
    from huggingface_hub import hf_hub_download

    return hf_hub_download(repository, name)


def find_dinov3(model_name: str, download: Download = _download) -> tuple[Path, Path | None]:
    """Paths of the weights and of `config.json` (None where there is none).

    `model_name` is a folder, a safetensors file, or `owner/repository` on the hub, whose open conversion is taken if
    the repository itself is gated or cannot be had. Raises OSError saying what to do.
    """
    path = Path(model_name)
    if path.is_file():
        return path, None
    if path.is_dir():
        found = path / _WEIGHTS
        if not found.is_file():
            raise OSError(f"cannot load the image encoder from {path}: it has no {_WEIGHTS}")
        config = path / "config.json"
        return found, config if config.is_file() else None
    if model_name.count("/") != 1 or model_name.startswith((".", "/", "~")):
        raise OSError(f"cannot load the image encoder {model_name!r}: no such folder, and no name of a hub repository")
    reasons = []
    for repository in (model_name, *CONVERSIONS.get(model_name, ())):
        try:
            weights = Path(download(repository, _WEIGHTS))
            settings = Path(download(repository, "config.json")) if repository == model_name else None
        except ImportError as error:
            raise OSError(f"downloading {repository} needs the package huggingface_hub: {error}") from None
        except Exception as error:  # the hub raises many kinds
            kinds = {cls.__name__ for cls in type(error).__mro__}
            gated = "GatedRepoError" in kinds
            reasons.append(f"{repository}: {'access is gated' if gated else _first_line(error)}")
            continue
        if repository != model_name:
            _log.warning("image encoder %s cannot be had (%s); taking the same weights from %s", model_name, reasons[0],
                         repository)  # fmt: skip
        return weights, settings
    raise OSError(
        f"cannot load the image encoder {model_name!r} ({'; '.join(reasons)}). It is gated: request access on its page "
        "and log in with `hf auth login`; or, offline, copy its config.json and model.safetensors to "
        f"PIPELINE_FOLDER/{model_name}"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def load_dinov3(model_name: str, download: Download = _download) -> DinoV3:
    """A DINOv3 model with its weights, in eval mode on the CPU, in the files' precision.

    Raises OSError if the files cannot be had, ValueError if they are damaged or hold something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights, settings = find_dinov3(model_name, download)
    try:
        state: dict[str, Tensor] = to_dinov3_keys(load_file(str(weights)))
    except SafetensorError as error:
        raise ValueError(f"{weights} is not a complete safetensors file: {error}") from None
    content: dict[str, Any] = json.loads(settings.read_text(encoding="utf-8")) if settings is not None else {}
    if content.get("model_type") == "dinov3_vit":
        config = DinoV3Config.from_json(content)
    else:  # the settings of other libraries say nothing of the sizes
        config = dinov3_config_from_weights(state)
    model = DinoV3(config).to(next(iter(state.values())).dtype)
    wrong = set(model.state_dict()) ^ set(state)
    if wrong:
        raise ValueError(f"{weights} does not fit a DINOv3 transformer: {', '.join(sorted(wrong)[:8])}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{weights} does not fit its configuration: {_first_line(error)}") from None
    return model.eval()
