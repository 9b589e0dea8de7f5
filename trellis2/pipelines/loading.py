"""From a folder or a Hub repository to a pipeline object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from .config import ModelSpec, read_pipeline_json
from .errors import PipelineConfigError, PipelineLoadError, unknown_key
from .files import Source
from .placement import ModelStore
from .rembg import CONVERSIONS, MATTING_MODELS, build_matting

if TYPE_CHECKING:
    from .base import Pipeline

__all__ = ["LazyMatting", "build_conditioner", "load_pipeline"]

P = TypeVar("P", bound="Pipeline")


def load_pipeline(cls: type[P], source: Source, config_file: str, *, lazy: bool) -> P:
    """Read the pipeline file, find its networks, build the pipeline."""
    path = source.config_file(config_file)
    name, args = read_pipeline_json(path)
    if name != cls.__name__:
        raise PipelineConfigError(f"{path} describes a {name}, not a {cls.__name__}")
    models = args.get("models")
    if not isinstance(models, Mapping):
        raise PipelineConfigError("args.models must be an object of model key to path")
    try:
        store = ModelStore(
            {
                key: _loader(source, stem)
                for key, stem in models.items()
                if isinstance(stem, str) and (cls.model_names_to_load is None or key in cls.model_names_to_load)
            }
        )
        _check_encoder_and_downloads(source, [models[key] for key in store], args)
        pipeline = cls.from_config(args, store, source)
    except PipelineConfigError as error:
        raise PipelineConfigError(f"{path}: {error}") from None
    pipeline._pretrained_args = args
    if not lazy:
        for key in store:
            store[key]
    return pipeline


def _check_encoder_and_downloads(source: Source, stems: list[str], args: Mapping[str, Any]) -> None:
    """Raise PipelineLoadError if a part is neither here nor to be had."""
    from .preflight import check_downloads

    spec = args.get("image_cond_model")
    known = spec if isinstance(spec, Mapping) and spec.get("name") == "DinoV3FeatureExtractor" else {}
    arguments = known.get("args")
    name = arguments.get("model_name") if isinstance(arguments, Mapping) else None
    check_downloads(source, stems, name if isinstance(name, str) else None)


def _loader(source: Source, stem: str) -> Callable[[], nn.Module]:
    """A function that loads one network. Local files are looked up at once, downloads happen when it is called."""
    known = source.model_stem(stem) if source.folder is not None and "/" not in stem else None
    if known is None and source.folder is not None:
        known = _if_local(source, stem)

    def load() -> nn.Module:
        from trellis2 import models

        return models.from_pretrained(known or source.model_stem(stem))

    return load


def _if_local(source: Source, stem: str) -> str | None:
    """The local stem; None if it may be on the Hub. Raises PipelineLoadError if it can only be local and is missing."""
    offline = Source(source.path, source.hub, _no_download)
    try:
        return offline.model_stem(stem)
    except PipelineLoadError as error:
        if stem.count("/") >= 2 and "model file not found" not in str(error):
            return None  # owner/repository/path
        raise


def _no_download(repo_id: str, filename: str, keywords: dict[str, Any]) -> str:
    raise FileNotFoundError("not local")


def build_conditioner(spec: ModelSpec, source: Source) -> Any:
    """The image encoder; the `model` of an ImageEncoder is found as the networks of the pipeline are.

    Raises PipelineConfigError for an unknown class or argument, PipelineLoadError if its weights cannot be read.
    """
    from trellis2.models import build_image_cond_model

    args = dict(spec.args)
    if spec.name == "ImageEncoder" and isinstance(args.get("model"), str):
        args["model"] = source.model_stem(args["model"])
    if spec.name == "DinoV3FeatureExtractor" and isinstance(args.get("model_name"), str):
        from trellis2.modules.dinov3_files import load_dinov3

        mirror = source.mirror(args["model_name"])
        keywords = source.other_repositories()
        try:
            args["model"] = load_dinov3(
                str(mirror or args["model_name"]), lambda repo, name: source.download(repo, name, keywords)
            )
        except (OSError, ValueError) as error:
            raise PipelineLoadError(f"image encoder: {error}") from None
    try:
        model = build_image_cond_model({"name": spec.name, "args": args})
    except (KeyError, TypeError, ValueError) as error:
        raise PipelineConfigError(f"args.image_cond_model: {error}") from None
    except OSError as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise PipelineLoadError(f"image encoder {spec.name} cannot be loaded: {reason}") from None
    if isinstance(model, nn.Module):
        model.eval().requires_grad_(False)
    return model


class LazyMatting:
    """A background remover that is built when it is first called."""

    is_loader = True

    def __init__(self, spec: ModelSpec, source: Source) -> None:
        if spec.name not in MATTING_MODELS:
            raise unknown_key("args.rembg_model", spec.name, MATTING_MODELS)
        self.spec = spec
        self.source = source

    def __call__(self) -> Any:
        args = dict(self.spec.args)
        if self.spec.name == "BiRefNet":
            name = str(args.get("model_name", "ZhengPeng7/BiRefNet"))
            mirrors = (self.source.mirror(repository) for repository in (CONVERSIONS.get(name, name), name))
            args["model_name"] = next((str(mirror) for mirror in mirrors if mirror is not None), name)
            args["download"] = self._download
        return build_matting(self.spec.name, args)

    def _download(self, repository: str, name: str) -> str:
        return self.source.download(repository, name, self.source.other_repositories())

    def to(self, device: Any) -> None:
        """Nothing is in memory yet."""
