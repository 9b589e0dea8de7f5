"""Where the files of a pipeline are looked for, and what is said when they are not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trellis2.pipelines.errors import PipelineLoadError
from trellis2.pipelines.files import HubOptions, Source


def pair(stem: Path) -> str:
    stem.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".json", ".safetensors"):
        Path(f"{stem}{suffix}").write_text("x")
    return str(stem)


class Hub:
    """A Hub with some files; everything asked for is noted."""

    def __init__(self, root: Path, files: dict[str, list[str]], error: type[Exception] = FileNotFoundError) -> None:
        self.root, self.files, self.error = root, files, error
        self.asked: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, repo: str, name: str, options: dict[str, Any]) -> str:
        self.asked.append((repo, name, options))
        if name not in self.files.get(repo, []):
            raise self.error("404")
        path = self.root / repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        return str(path)


def test_models_are_found_inside_the_folder_and_by_absolute_path(tmp_path: Path) -> None:
    inside = pair(tmp_path / "pipe" / "ckpts" / "a")
    outside = pair(tmp_path / "elsewhere" / "b")
    source = Source(str(tmp_path / "pipe"))
    assert source.model_stem("ckpts/a") == inside
    assert source.model_stem(outside) == outside


@pytest.mark.parametrize("mirror", ["TRELLIS-image-large", "../microsoft/TRELLIS-image-large"])
def test_another_repository_is_found_in_a_mirror_beside_the_folder(tmp_path: Path, mirror: str) -> None:
    folder = tmp_path / "models" / "TRELLIS.2-4B"
    folder.mkdir(parents=True)
    pair((tmp_path / "models" / mirror / "ckpts" / "ss_dec").resolve())
    found = Source(str(folder)).model_stem("microsoft/TRELLIS-image-large/ckpts/ss_dec")
    assert Path(f"{found}.safetensors").is_file()


def test_half_a_pair_is_named(tmp_path: Path) -> None:
    pair(tmp_path / "ckpts" / "a")
    (tmp_path / "ckpts" / "a.safetensors").unlink()
    with pytest.raises(PipelineLoadError, match=r"model file not found: .*a\.safetensors"):
        Source(str(tmp_path)).model_stem("ckpts/a")


def test_hub_repository_then_stem_as_repository(tmp_path: Path) -> None:
    files = {
        "org/pipe": ["pipeline.json", "ckpts/a.json", "ckpts/a.safetensors"],
        "org/other": ["ckpts/b.json", "ckpts/b.safetensors"],
    }
    hub = Hub(tmp_path, files)
    source = Source("org/pipe", HubOptions(revision="v1", token="t"), hub)
    assert source.config_file("pipeline.json") == tmp_path / "org/pipe/pipeline.json"
    assert source.model_stem("ckpts/a") == str(tmp_path / "org/pipe/ckpts/a")
    assert source.model_stem("org/other/ckpts/b") == str(tmp_path / "org/other/ckpts/b")
    repo, _, options = hub.asked[-1]
    assert repo == "org/other"
    assert options == {"local_files_only": False, "token": "t"}  # the revision is of the pipeline's repository
    assert hub.asked[0][2]["revision"] == "v1"


def test_error_names_everything_that_was_tried(tmp_path: Path) -> None:
    (tmp_path / "pipe").mkdir()
    source = Source(str(tmp_path / "pipe"), HubOptions(), Hub(tmp_path, {}))
    with pytest.raises(PipelineLoadError) as caught:
        source.model_stem("org/other/ckpts/b")
    text = str(caught.value)
    assert str(tmp_path / "pipe/org/other/ckpts/b") in text
    assert "https://huggingface.co/org/other (ckpts/b)" in text
    assert "\n" not in text


class GatedRepoError(Exception):
    pass


class LocalEntryNotFoundError(Exception):
    pass


class RepositoryNotFoundError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (GatedRepoError, "access is gated; accept its licence"),
        (LocalEntryNotFoundError, "not in the local cache and the Hub cannot be reached"),
        (RepositoryNotFoundError, "no such repository"),
        (ValueError, "ValueError: 404"),
    ],
)
def test_download_errors_are_explained_in_one_line(tmp_path: Path, error: type[Exception], match: str) -> None:
    source = Source("org/pipe", HubOptions(), Hub(tmp_path, {}, error))
    with pytest.raises(PipelineLoadError, match=match) as caught:
        source.config_file("pipeline.json")
    assert "there is no folder org/pipe either" in str(caught.value)


@pytest.mark.parametrize("path", ["./none", "/none/at/all", "none", "a/b/c"])
def test_what_cannot_be_a_repository_is_a_missing_folder(tmp_path: Path, path: str) -> None:
    hub = Hub(tmp_path, {})
    with pytest.raises(PipelineLoadError, match="pipeline folder not found"):
        Source(path, HubOptions(), hub).config_file("pipeline.json")
    assert hub.asked == []


def test_folder_without_pipeline_file_and_plain_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineLoadError, match="pipeline file not found"):
        Source(str(tmp_path)).config_file("pipeline.json")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(PipelineLoadError, match="is a file"):
        Source(str(tmp_path / "a.json")).config_file("pipeline.json")
