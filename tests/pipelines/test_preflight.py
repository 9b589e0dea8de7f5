"""What cannot be had is found out before anything is downloaded."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from trellis2.pipelines import Trellis2ImageTo3DPipeline
from trellis2.pipelines.errors import PipelineLoadError
from trellis2.pipelines.files import HubOptions, Source
from trellis2.pipelines.preflight import check_downloads
from trellis2.pipelines.published import DINOV3_REPOSITORY, pipeline_json
from trellis2.pipelines.random_checkpoint import make_random_checkpoint

STEMS = list(pipeline_json()["args"]["models"].values())
REPO = "microsoft/TRELLIS.2-4B"


class GatedRepoError(Exception):
    pass


class EntryNotFoundError(Exception):
    pass


class Hub:
    """Sizes of files; asking for others, or from gated repositories, fails."""

    def __init__(self, *, gated: tuple[str, ...] = (), size: int = 1000) -> None:
        self.gated, self.size = gated, size
        self.asked: list[tuple[str, str]] = []

    def __call__(self, repo: str, name: str, options: dict[str, Any]) -> int:
        self.asked.append((repo, name))
        if repo in self.gated:
            raise GatedRepoError("401")
        if repo == REPO and name.startswith("microsoft/"):
            raise EntryNotFoundError("404")
        return self.size


def test_every_file_is_asked_for_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    hub = Hub()
    with caplog.at_level(logging.WARNING):
        total = check_downloads(Source(REPO), STEMS, DINOV3_REPOSITORY, hub)
    assert total == 1000 * (2 * len(STEMS) + 1)
    assert "will be downloaded" in caplog.text
    assert ("microsoft/TRELLIS-image-large", "ckpts/ss_dec_conv3d_16l8_fp16.safetensors") in hub.asked
    assert (DINOV3_REPOSITORY, "model.safetensors") in hub.asked


def test_gated_encoder_is_no_problem_while_a_conversion_is_open() -> None:
    hub = Hub(gated=(DINOV3_REPOSITORY,))
    check_downloads(Source(REPO), STEMS, DINOV3_REPOSITORY, hub)
    assert hub.asked[-1][0].startswith("timm/")


def test_all_problems_are_told_at_once() -> None:
    timm = "timm/vit_large_patch16_dinov3_qkvb.lvd1689m"
    hub = Hub(gated=(DINOV3_REPOSITORY, timm, "microsoft/TRELLIS-image-large"))
    with pytest.raises(PipelineLoadError, match="nothing was downloaded") as caught:
        check_downloads(Source(REPO), STEMS, DINOV3_REPOSITORY, hub)
    text = str(caught.value)
    assert "3 part(s)" in text
    assert "ss_dec_conv3d_16l8_fp16" in text
    assert text.count("accept its licence on the web page, then run `hf auth login`") == 3


def test_disk_that_is_too_small_is_told(tmp_path: Path) -> None:
    source = Source(REPO, HubOptions(cache_dir=str(tmp_path / "not yet there")))
    with pytest.raises(PipelineLoadError, match="choose another cache_dir"):
        check_downloads(source, STEMS, None, Hub(size=10**15))


def test_what_is_here_is_not_asked_for(tmp_path: Path) -> None:
    make_random_checkpoint(tmp_path / "pipe")
    hub = Hub()
    assert check_downloads(Source(str(tmp_path / "pipe")), STEMS, DINOV3_REPOSITORY, hub) == 0
    assert hub.asked == []


def test_loading_a_folder_without_its_neighbours_says_so_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    folder = make_random_checkpoint(tmp_path / "pipe")
    shutil.rmtree(folder / "microsoft")
    shutil.rmtree(folder / "facebook")
    monkeypatch.setattr("trellis2.pipelines.preflight._probe.__code__", _offline.__code__)
    with pytest.raises(PipelineLoadError, match=r"3 part\(s\).*Hub cannot be reached"):
        Trellis2ImageTo3DPipeline.from_pretrained(str(folder))


def _offline(repo_id: str, filename: str, options: dict[str, Any]) -> int:
    class OfflineModeIsEnabled(Exception):
        pass

    raise OfflineModeIsEnabled
