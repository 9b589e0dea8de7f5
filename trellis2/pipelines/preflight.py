"""Finding out that everything can be had before gigabytes are downloaded and minutes are spent."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from trellis2.modules.dinov3_files import CONVERSIONS

from .errors import PipelineLoadError
from .files import Source, explain

__all__ = ["check_downloads"]

logger = logging.getLogger(__name__)
#: (repository, file, options) -> bytes that have to be downloaded; raises what the hub raises.
Probe = Callable[[str, str, dict[str, Any]], int]


def _probe(repo_id: str, filename: str, options: dict[str, Any]) -> int:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import LocalEntryNotFoundError

    revision = options.get("revision")
    cached = try_to_load_from_cache(repo_id, filename, cache_dir=options.get("cache_dir"), revision=revision)
    if isinstance(cached, str):
        return 0
    if options.get("local_files_only"):
        raise LocalEntryNotFoundError(f"{filename} is not in the local cache")
    url = hf_hub_url(repo_id, filename, revision=revision)
    return int(get_hf_file_metadata(url, token=options.get("token"), timeout=10).size or 0)


def check_downloads(source: Source, stems: Iterable[str], encoder: str | None = None, probe: Probe = _probe) -> int:
    """Ask the hub for every file that is not here; returns the bytes that will be downloaded.

    `stems` are those of the networks, `encoder` the repository of the image encoder. Raises PipelineLoadError that
    names all that cannot be had and what to do about it, or a disk that is too small; nothing is downloaded.
    """
    problems, total = [], 0
    for stem in dict.fromkeys(stems):
        if source.local_stem(stem) is not None:
            continue
        choices = source.repositories(stem)
        error = None
        for repo_id, name, keywords in choices:
            try:
                total += sum(probe(repo_id, f"{name}{suffix}", keywords) for suffix in (".json", ".safetensors"))
                break
            except ImportError as missing:
                raise PipelineLoadError(f"downloading needs the package huggingface_hub: {missing}") from None
            except Exception as failure:  # the hub raises many kinds
                error = explain(repo_id, f"{name}.safetensors", failure)
        else:
            problems.append(error or f"model {stem!r} is not in {source.path}")
    if encoder is not None and not Path(encoder).exists() and source.mirror(encoder) is None:
        keywords = source.other_repositories()
        reasons = []
        for repo_id in (encoder, *CONVERSIONS.get(encoder, ())):
            try:
                total += probe(repo_id, "model.safetensors", keywords)
                break
            except Exception as failure:
                reasons.append(explain(repo_id, "model.safetensors", failure))
        else:
            problems += reasons
    if problems:
        raise PipelineLoadError(
            f"{len(problems)} part(s) of {source.path} cannot be had; nothing was downloaded: {'; '.join(problems)}"
        )
    if total:
        folder = Path(source.hub.cache_dir or Path.home())
        existing = next(path for path in (folder, *folder.resolve().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if total > free:
            raise PipelineLoadError(
                f"{source.path} takes {total / 1e9:.1f} GB, but {existing} has {free / 1e9:.1f} GB left; "
                "choose another cache_dir, or set HF_HOME"
            )
        logger.warning("%s: %.1f GB will be downloaded when they are needed", source.path, total / 1e9)
    return total
