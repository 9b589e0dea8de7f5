"""Models on disk: a pair NAME.json (class and constructor arguments) and NAME.safetensors (weights)."""

from __future__ import annotations

import difflib
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .configurable import init_args
from .conv_layouts import translate_conv_keys
from .empty_init import EmptyInit

__all__ = ["build_model", "from_pretrained", "load_weights", "read_safetensors", "save_pretrained"]

_RECOMPUTED = ("rope_phases", "pos_emb")
"""Position buffers that files may hold; models compute them."""


def build_model(name: str, args: Mapping[str, Any], **overrides: Any) -> nn.Module:
    """Construct a registered model. Raises ValueError for unknown classes and arguments, naming the nearest."""
    from . import MODELS, get_model_class

    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}{_nearest(name, list(MODELS))}, choose from: {', '.join(MODELS)}")
    cls = get_model_class(name)
    known = list(inspect.signature(cls).parameters)
    merged = {**args, **overrides}
    for key in merged:
        if key not in known:
            raise ValueError(f"unknown argument {key!r} of {name}{_nearest(key, known)}")
    return cls(**merged)


def _nearest(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a file on the CPU. Raises ValueError naming the file if it is truncated or not safetensors."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from error


def load_weights(model: nn.Module, state: Mapping[str, Tensor], source: str = "the state dict") -> None:
    """Copy weights into a model, cast to the model's types.

    Strict: raises ValueError listing missing, unexpected and misshapen keys. Position buffers in the file
    (`rope_phases`, `pos_emb`) are ignored, since models compute them; sparse convolutions in the layouts of spconv and
    torchsparse are translated.
    """
    own = model.state_dict()
    state = translate_conv_keys(state, own)
    given = {k: v for k, v in state.items() if k in own or k.rsplit(".", 1)[-1] not in _RECOMPUTED}
    problems = []
    missing = [k for k in own if k not in given]
    unexpected = [k for k in given if k not in own]
    shapes = [
        f"{k} {tuple(given[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in given and given[k].shape != own[k].shape
    ]
    for title, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if keys:
            more = f" … and {len(keys) - 20} more" if len(keys) > 20 else ""
            problems.append(f"{len(keys)} {title}: {', '.join(keys[:20])}{more}")
    if problems:
        raise ValueError(f"weights of {source} do not fit {type(model).__name__}: {'; '.join(problems)}")
    model.load_state_dict(given, strict=True)


def _hub_files(path: str) -> tuple[Path, Path]:
    """Download path = 'org/repo/stem…' from the Hugging Face hub."""
    parts = path.split("/")
    repo, stem = "/".join(parts[:2]), "/".join(parts[2:])
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ImportError(f"loading {path!r} from the hub needs the package huggingface_hub") from error
    try:
        return tuple(Path(hf_hub_download(repo, f"{stem}.{kind}")) for kind in ("json", "safetensors"))  # type: ignore[return-value]
    except Exception as error:  # the hub raises many kinds; all mean that the files could not be had
        raise OSError(
            f"cannot get the model {path!r}: there is no local {path}.json with {path}.safetensors, and the hub "
            f"repository {repo!r} failed with {type(error).__name__}: {error}\n"
            "Check the path, the network, and for gated repositories your access and `hf auth login`."
        ) from error


def _locate(path: str | Path) -> tuple[Path, Path]:
    text = str(path)
    config, weights = Path(f"{text}.json"), Path(f"{text}.safetensors")
    present = [p.is_file() for p in (config, weights)]
    if all(present):
        return config, weights
    if any(present):
        lost = weights if present[0] else config
        raise FileNotFoundError(f"a model needs both {config} and {weights}; {lost.name} is not there")
    parts = text.split("/")
    local = isinstance(path, Path) or text.startswith((".", "/", "~")) or "\\" in text or len(parts) < 3
    if local or "" in parts or Path(parts[0]).is_dir():
        raise FileNotFoundError(f"no model at {text}: {config} and {weights} are not there")
    return _hub_files(text)


def from_pretrained(path: str | Path, **kwargs: Any) -> nn.Module:
    """Load a model from `path`.json and `path`.safetensors, local or 'org/repo/stem' on the Hugging Face hub.

    kwargs override constructor arguments. The model is on the CPU and in training mode, as constructed; weights take
    the types the constructor chose. Raises FileNotFoundError or OSError when the files cannot be had, and
    ValueError when they are damaged or do not fit.
    """
    config_path, weights_path = _locate(path)
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        name, args = config["name"], config["args"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f'{config_path} must hold {{"name": …, "args": {{…}}}}: {error!r}') from error
    if not isinstance(args, dict):
        raise ValueError(f"{config_path}: args must be an object, got {type(args).__name__}")
    state = read_safetensors(weights_path)
    with EmptyInit():
        model = build_model(name, args, **kwargs)
    load_weights(model, state, source=str(weights_path))
    return model


def _write_atomically(path: Path, write: Callable[[str], object]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    try:
        write(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save_pretrained(model: nn.Module, path: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write `path`.json and `path`.safetensors, each by a temporary file and a rename.

    dtype: cast floating-point weights on disk; they are widened again on loading. Raises TypeError for models that do
    not record their constructor arguments.
    """
    from safetensors.torch import save_file

    config = {"name": type(model).__name__, "args": init_args(model)}
    state = {}
    for key, value in model.state_dict().items():
        value = value.detach().cpu()
        if dtype is not None and value.is_floating_point():
            value = value.to(dtype)
        state[key] = value.contiguous().clone()
    weights, text = Path(f"{path}.safetensors"), Path(f"{path}.json")
    weights.parent.mkdir(parents=True, exist_ok=True)
    _write_atomically(weights, lambda name: save_file(state, name))
    document = json.dumps(config, indent=4) + "\n"
    _write_atomically(text, lambda name: Path(name).write_text(document, encoding="utf-8"))
