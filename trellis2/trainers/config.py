"""Experiment files: JSON → frozen dataclasses, checked before anything is allocated.

    {"models": {"<key>": {"name", "args"}}, "dataset": {"name", "args"}, "trainer": {"name", "args"}}

Order of precedence: class defaults < file < `--set` overrides.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

__all__ = [
    "ComponentConfig",
    "ExperimentConfig",
    "apply_overrides",
    "check_keys",
    "keyword_names",
    "load_experiment",
    "parse_experiment",
    "validate_experiment",
]

_TOP_LEVEL = ("models", "dataset", "trainer")
# Given by the launcher, never by the file.
_TRAINER_RUNTIME = {"self", "models", "dataset", "output_dir", "load_dir", "step", "device", "seed"}


@dataclass(frozen=True)
class ComponentConfig:
    """A registry name with the keyword arguments for it."""

    name: str
    args: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "args": copy.deepcopy(dict(self.args))}


@dataclass(frozen=True)
class ExperimentConfig:
    """One training experiment."""

    models: Mapping[str, ComponentConfig]
    dataset: ComponentConfig
    trainer: ComponentConfig

    def to_dict(self) -> dict[str, Any]:
        return {
            "models": {key: model.to_dict() for key, model in self.models.items()},
            "dataset": self.dataset.to_dict(),
            "trainer": self.trainer.to_dict(),
        }


def check_keys(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise ValueError, with the nearest known name, if a given key is not known."""
    known = sorted(set(known))
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"unknown key {key!r} in {where}; {hint}")


def _component(data: Any, where: str) -> ComponentConfig:
    if not isinstance(data, Mapping):
        raise TypeError(f"{where} must be an object with `name` and `args`, got {type(data).__name__}")
    check_keys(data, ("name", "args"), where)
    if not isinstance(data.get("name"), str):
        raise ValueError(f"{where}.name must be a string, got {data.get('name')!r}")
    args = data.get("args", {})
    if not isinstance(args, Mapping):
        raise TypeError(f"{where}.args must be an object, got {type(args).__name__}")
    return ComponentConfig(data["name"], copy.deepcopy(dict(args)))


def parse_experiment(data: Mapping[str, Any]) -> ExperimentConfig:
    """Mapping → `ExperimentConfig`; checks the outer schema only (see `validate_experiment`)."""
    check_keys(data, _TOP_LEVEL, "the experiment")
    for key in _TOP_LEVEL:
        if key not in data:
            raise ValueError(f"the experiment lacks {key!r}")
    if not isinstance(data["models"], Mapping) or not data["models"]:
        raise ValueError("models must be an object with at least one entry")
    return ExperimentConfig(
        models={key: _component(value, f"models.{key}") for key, value in data["models"].items()},
        dataset=_component(data["dataset"], "dataset"),
        trainer=_component(data["trainer"], "trainer"),
    )


def load_experiment(path: str | Path) -> ExperimentConfig:
    """Read an experiment file."""
    text = Path(path).read_text()
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    return parse_experiment(data)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def apply_overrides(config: ExperimentConfig, overrides: Sequence[str]) -> ExperimentConfig:
    """Apply `path=value` texts, e.g. `trainer.max_steps=100`, `models.encoder.num_blocks=[0,1]`.

    The value is JSON, or a string if it is not JSON. `args` may be left out of the path: `trainer.max_steps` means
    `trainer.args.max_steps`, `trainer.name` the name.
    """
    data = config.to_dict()
    for text in overrides:
        path, separator, value = text.partition("=")
        if not separator:
            raise ValueError(f"an override has the form path=value, got {text!r}")
        parts = path.split(".")
        check_keys(parts[:1], _TOP_LEVEL, "the override")
        if parts[0] == "models":
            if len(parts) < 3:
                raise ValueError(f"an override of a model names it and a key (models.encoder.use_fp16), got {path!r}")
            check_keys(parts[1:2], data["models"], "models")
            node, rest = data["models"][parts[1]], parts[2:]
        else:
            if len(parts) < 2:
                raise ValueError(f"an override names a key, e.g. trainer.max_steps, got {path!r}")
            node, rest = data[parts[0]], parts[1:]
        if rest[0] not in ("name", "args"):
            rest = ["args", *rest]
        for part in rest[:-1]:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        node[rest[-1]] = _value(value)
    return parse_experiment(data)


def keyword_names(cls: type) -> set[str]:
    """Names accepted by `cls(...)`; walks the bases as long as a constructor passes `**kwargs` on.

    A class attribute `CONFIG` (a dataclass) adds its fields: arguments collected there instead of in a signature.
    """
    names: set[str] = set()
    for base in cls.__mro__:
        config = base.__dict__.get("CONFIG")
        if config is not None:
            names.update(f.name for f in fields(config))
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        parameters = list(inspect.signature(init).parameters.values())
        names.update(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}


def validate_experiment(config: ExperimentConfig) -> None:
    """Check registry names and every argument name; raises ValueError that names the nearest known one."""
    from .. import datasets, models, trainers

    for key, model in config.models.items():
        check_keys([model.name], models.MODELS, "the names of trellis2.models")
        check_keys(model.args, keyword_names(getattr(models, model.name)), f"models.{key}.args ({model.name})")
    check_keys([config.dataset.name], datasets.__all__, "the names of trellis2.datasets")
    dataset_cls = getattr(datasets, config.dataset.name)
    check_keys(config.dataset.args, keyword_names(dataset_cls) - {"roots"}, f"dataset.args ({config.dataset.name})")
    check_keys([config.trainer.name], trainers.__all__, "the names of trellis2.trainers")
    trainer_cls = getattr(trainers, config.trainer.name)
    check_keys(
        config.trainer.args, keyword_names(trainer_cls) - _TRAINER_RUNTIME, f"trainer.args ({config.trainer.name})"
    )
    required = getattr(trainer_cls, "MODEL_KEYS", ())
    for key in required:
        if key not in config.models:
            raise ValueError(f"trainer {config.trainer.name} needs models.{key}")
    args = config.trainer.args
    if args.get("max_steps") is None and args.get("max_minutes") is None:
        raise ValueError("trainer.args needs max_steps or max_minutes")
    if args.get("batch_size") is None and args.get("batch_size_per_gpu") is None:
        raise ValueError("trainer.args needs batch_size or batch_size_per_gpu")
