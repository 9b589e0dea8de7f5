"""BiRefNet matting: a segmentation network on the whole image, its mask scaled back.

By default the network is an ONNX graph, which is data: no code of its repository runs. ONNX Runtime computes it, on the
CPU or, with `onnxruntime-gpu`, on a CUDA device. Source of the model: Zheng et al., Bilateral Reference for
High-Resolution Dichotomous Image Segmentation, 2024.

Letters: S side of the network's square input.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image

__all__ = ["CONVERSIONS", "BiRefNet"]

logger = logging.getLogger(__name__)

_MEAN = np.array((0.485, 0.456, 0.406), np.float32)
_STD = np.array((0.229, 0.224, 0.225), np.float32)
_GRAPH = "onnx/model.onnx"
#: ONNX graphs with MIT weights, by the repository that a pipeline names. RMBG-2.0 is BiRefNet with other weights, which
#: are gated and not for commercial use: the open ones take their place.
CONVERSIONS: Mapping[str, str] = {
    "ZhengPeng7/BiRefNet": "onnx-community/BiRefNet-ONNX",
    "briaai/RMBG-2.0": "onnx-community/BiRefNet-ONNX",
}

Download = Callable[[str, str], str]  # repository, file -> local path


class BiRefNet:
    """Cuts out the subject that the network finds."""

    def __init__(
        self,
        model_name: str = "ZhengPeng7/BiRefNet",
        image_size: int = 1024,
        trust_remote_code: bool = False,
        download: Download | None = None,
    ) -> None:
        """`model_name`: an .onnx file, a folder with one, or a Hub repository (of `CONVERSIONS`, or one with a graph).

        With `trust_remote_code` or the environment variable `TRELLIS2_TRUST_REMOTE_CODE=1`, the code and weights of
        that repository are used through transformers. Raises OSError or ImportError if nothing can be loaded.
        """
        if trust_remote_code or os.environ.get("TRELLIS2_TRUST_REMOTE_CODE") == "1":
            self.network: _Network = _RemoteCode(model_name)
        else:
            self.network = _Graph(_find_graph(model_name, download or _from_hub))
        self.model_name = model_name
        self.image_size = self.network.side or int(image_size)

    def to(self, device: torch.device | str) -> None:
        self.network.to(torch.device(device))

    def cuda(self) -> None:
        self.to("cuda")

    def cpu(self) -> None:
        self.to("cpu")

    def __call__(self, image: Image.Image) -> Image.Image:
        """RGB image to RGBA image of the same size."""
        out = image.convert("RGB")
        small = out.resize((self.image_size,) * 2, Image.Resampling.BILINEAR)
        x = (np.asarray(small).astype(np.float32) / 255 - _MEAN) / _STD
        mask = self.network.mask(np.ascontiguousarray(x.transpose(2, 0, 1)[None]))
        out.putalpha(Image.fromarray((mask * 255).astype(np.uint8)).resize(out.size))
        return out


class _Network(Protocol):
    side: int | None  # of the input, if the network takes only one

    def to(self, device: torch.device) -> None: ...

    def mask(self, x: np.ndarray) -> np.ndarray:
        """Normalised image [1, 3, S, S] float32 to probabilities [S, S] float32."""
        ...


class _Graph:
    """An ONNX graph; its session lives from the first use to the next move."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self.path = path
        self._runtime = onnxruntime
        self._providers = ["CPUExecutionProvider"]
        self._session: Any = None
        shape = self._open().get_inputs()[0].shape
        self.side = shape[-1] if isinstance(shape[-1], int) else None

    def to(self, device: torch.device) -> None:
        wanted = ["CPUExecutionProvider"]
        if device.type == "cuda" and "CUDAExecutionProvider" in self._runtime.get_available_providers():
            wanted.insert(0, "CUDAExecutionProvider")
        if wanted != self._providers:
            self._providers, self._session = wanted, None

    def _open(self) -> Any:
        if self._session is None:
            options = self._runtime.SessionOptions()
            options.enable_cpu_mem_arena = False  # gigabytes that would stay between images
            try:
                self._session = self._runtime.InferenceSession(str(self.path), options, providers=self._providers)
            except Exception as error:  # the runtime raises kinds of its own
                raise OSError(f"{self.path} is not a graph that ONNX Runtime can run: {error}") from None
        return self._session

    def mask(self, x: np.ndarray) -> np.ndarray:
        session = self._open()
        entry = session.get_inputs()[0]
        x = x.astype(np.float16) if entry.type == "tensor(float16)" else x
        last = session.get_outputs()[-1].name  # coarser maps come first
        logits = np.asarray(session.run([last], {entry.name: x})[0], np.float32)[0, 0]
        if logits.min() >= 0 and logits.max() <= 1:
            return logits  # the graph ends with the sigmoid
        return 0.5 + 0.5 * np.tanh(0.5 * logits)


class _RemoteCode:
    """A network whose architecture is code inside its repository."""

    side: int | None = None

    def __init__(self, model_name: str) -> None:
        from transformers import AutoModelForImageSegmentation

        self.model: Any = AutoModelForImageSegmentation.from_pretrained(model_name, trust_remote_code=True)
        self.model.eval()

    def to(self, device: torch.device) -> None:
        self.model.to(device)

    @torch.no_grad()
    def mask(self, x: np.ndarray) -> np.ndarray:
        weight = next(self.model.parameters())
        logits = self.model(torch.from_numpy(x).to(weight))[-1]
        return logits.sigmoid()[0, 0].float().cpu().numpy()


def _find_graph(model_name: str, download: Download) -> Path:
    """The .onnx file of a local path or a Hub repository. Raises OSError that says why there is none."""
    path = Path(model_name)
    if path.is_dir():
        found = [path / _GRAPH, *sorted(path.glob("*.onnx"))]
        path = next((candidate for candidate in found if candidate.is_file()), path)
    if path.is_file() and path.suffix == ".onnx":
        return path
    if path.exists() or model_name.count("/") != 1:
        raise OSError(f"{model_name} holds no .onnx file")
    repository = CONVERSIONS.get(model_name, model_name)
    if repository != model_name:
        logger.info("background remover: the open weights of %s stand for %s", repository, model_name)
    try:
        return Path(download(repository, _GRAPH))
    except ImportError:
        raise
    except Exception as error:  # the hub raises many kinds
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise OSError(f"{_GRAPH} of {repository} cannot be had: {reason}") from None


def _from_hub(repository: str, name: str) -> str:
    from huggingface_hub import hf_hub_download

    return hf_hub_download(repository, name)
