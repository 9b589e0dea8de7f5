"""Finding the files of a pipeline: a local folder, a mirror beside it, or the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import PipelineLoadError

__all__ = ["HubOptions", "Source", "explain"]


@dataclass(frozen=True)
class HubOptions:
    """How to talk to the Hub; `None` leaves the library's default."""

    revision: str | None = None
    cache_dir: str | None = None
    token: str | bool | None = None
    local_files_only: bool = False

    def keywords(self) -> dict[str, Any]:
        out: dict[str, Any] = {"local_files_only": self.local_files_only}
        for name in ("revision", "cache_dir", "token"):
            if getattr(self, name) is not None:
                out[name] = getattr(self, name)
        return out


def _download(repo_id: str, filename: str, options: dict[str, Any]) -> str:
    from huggingface_hub import hf_hub_download

    return hf_hub_download(repo_id, filename, **options)


@dataclass(frozen=True)
class Source:
    """Where a pipeline comes from: a folder, or a Hub repository."""

    path: str
    hub: HubOptions = field(default_factory=HubOptions)
    download: Callable[[str, str, dict[str, Any]], str] = _download

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for a Hub repository."""
        path = Path(self.path)
        return path if path.is_dir() else None

    def config_file(self, name: str) -> Path:
        """The pipeline file `name`, downloaded if need be. Raises PipelineLoadError."""
        if self.folder is not None:
            path = self.folder / name
            if not path.is_file():
                raise PipelineLoadError(f"pipeline file not found: {path}")
            return path
        if Path(self.path).is_file():
            raise PipelineLoadError(f"a pipeline is a folder with {name}, but {self.path} is a file")
        if not _is_repo_id(self.path):
            raise PipelineLoadError(f"pipeline folder not found: {self.path}")
        return Path(self._fetch(self.path, name, self.hub.keywords(), note=f" (there is no folder {self.path} either)"))

    def model_stem(self, stem: str) -> str:
        """Local path, without suffix, of the pair `stem.json` + `stem.safetensors`.

        Tried in this order: an absolute path; the pipeline's folder; a mirror of another repository inside or beside
        that folder; the pipeline's Hub repository; `stem` as `owner/repository/path` on the Hub.
        Raises PipelineLoadError, which names everything that was tried.
        """
        found = self.local_stem(stem)
        if found is not None:
            return found
        tried = [str(candidate) for candidate in self._local_candidates(stem)]
        errors = []
        for repo_id, name, keywords in self.repositories(stem):
            tried.append(f"https://huggingface.co/{repo_id} ({name})")
            try:
                config = self._fetch(repo_id, f"{name}.json", keywords)
                self._fetch(repo_id, f"{name}.safetensors", keywords)
                return config[: -len(".json")]
            except PipelineLoadError as error:
                errors.append(str(error))
        detail = f" ({errors[-1]})" if errors else ""
        raise PipelineLoadError(f"model {stem!r} not found; tried {', '.join(tried)}{detail}")

    def repositories(self, stem: str) -> list[tuple[str, str, dict[str, Any]]]:
        """Where on the Hub a stem may be: repository, stem there, and options."""
        repo, _, rest = _split_repo(stem)
        options = []
        if self.folder is None and not Path(stem).is_absolute():
            options.append((self.path, stem, self.hub.keywords()))
        if repo and rest:
            options.append((repo, rest, self.other_repositories()))
        return options

    def other_repositories(self) -> dict[str, Any]:
        """Options for other repositories than the pipeline's, whose revision means nothing there."""
        return {k: v for k, v in self.hub.keywords().items() if k != "revision"}

    def local_stem(self, stem: str) -> str | None:
        """As `model_stem` without the Hub; None where there is nothing. Raises PipelineLoadError for half a pair."""
        for candidate in self._local_candidates(stem):
            missing = [s for s in (".json", ".safetensors") if not Path(f"{candidate}{s}").is_file()]
            if not missing:
                return str(candidate)
            if len(missing) == 1:
                raise PipelineLoadError(f"model file not found: {candidate}{missing[0]}")
        return None

    def _local_candidates(self, stem: str) -> list[Path]:
        if Path(stem).is_absolute():
            return [Path(stem)]
        folder = self.folder
        if folder is None:
            return []
        candidates = [folder / stem]
        owner, name, rest = _split_parts(stem)
        if rest:  # owner/repository/path: a mirror of that repository
            candidates += [folder.parent / name / rest, folder.parent.parent / owner / name / rest]
        return candidates

    def mirror(self, repo_id: str) -> Path | None:
        """The folder of another repository (`owner/name`) inside or beside the pipeline's folder, if there is one."""
        folder = self.folder
        if folder is None or not _is_repo_id(repo_id):
            return None
        owner, name = repo_id.split("/")
        candidates = [folder / repo_id, folder.parent / name, folder.parent.parent / owner / name]
        return next((path for path in candidates if path.is_dir()), None)

    def _fetch(self, repo_id: str, filename: str, keywords: dict[str, Any], note: str = "") -> str:
        try:
            return self.download(repo_id, filename, keywords)
        except ImportError as error:
            raise PipelineLoadError(f"downloading needs the package huggingface_hub: {error}") from None
        except Exception as error:
            raise PipelineLoadError(f"{explain(repo_id, filename, error)}{note}") from None


def _is_repo_id(path: str) -> bool:
    parts = path.split("/")
    return len(parts) == 2 and all(parts) and not path.startswith((".", "~")) and "\\" not in path


def _split_parts(stem: str) -> tuple[str, str, str]:
    owner, _, tail = stem.partition("/")
    name, _, rest = tail.partition("/")
    return owner, name, rest


def _split_repo(stem: str) -> tuple[str, str, str]:
    owner, name, rest = _split_parts(stem)
    return f"{owner}/{name}", name, rest if not Path(stem).is_absolute() else ""


def explain(repo_id: str, filename: str, error: Exception) -> str:
    """One line for the ways in which a download fails."""
    kind = {cls.__name__ for cls in type(error).__mro__}
    where = f"{filename} of {repo_id} on the Hugging Face Hub"
    if "GatedRepoError" in kind:
        return f"cannot read {where}: access is gated; accept its licence on the web page, then run `hf auth login`"
    if "EntryNotFoundError" in kind and "LocalEntryNotFoundError" not in kind:
        return f"cannot read {where}: the repository has no such file"
    if "RevisionNotFoundError" in kind:
        return f"cannot read {where}: no such revision"
    if "RepositoryNotFoundError" in kind:
        return f"cannot read {where}: no such repository, or it is private and needs a token"
    if "OfflineModeIsEnabled" in kind or "LocalEntryNotFoundError" in kind:
        return f"cannot read {where}: it is not in the local cache and the Hub cannot be reached"
    lines = str(error).strip().splitlines()
    return f"cannot read {where}: {type(error).__name__}: {lines[0] if lines else 'no details'}"
