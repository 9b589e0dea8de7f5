"""BiRefNet matting, an optional remover whose weights come from the Hugging Face Hub.

Source of the model: Zheng et al., Bilateral Reference for High-Resolution Dichotomous Image Segmentation, 2024.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

__all__ = ["BiRefNet"]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class BiRefNet:
    """Segmentation network run at a square `image_size`, its mask scaled back to the image."""

    def __init__(
        self, model_name: str = "ZhengPeng7/BiRefNet", image_size: int = 1024, trust_remote_code: bool = False
    ) -> None:
        """Load the weights (local folder or Hub id).

        The model's architecture is code inside its repository, which is only run with `trust_remote_code=True`
        or the environment variable `TRELLIS2_TRUST_REMOTE_CODE=1`. Raises OSError or ImportError if it cannot load.
        """
        import os

        if not (trust_remote_code or os.environ.get("TRELLIS2_TRUST_REMOTE_CODE") == "1"):
            raise OSError(f"{model_name} runs code from its repository; set TRELLIS2_TRUST_REMOTE_CODE=1 to allow that")
        from transformers import AutoModelForImageSegmentation

        self.model_name = model_name
        self.image_size = int(image_size)
        self.model: Any = AutoModelForImageSegmentation.from_pretrained(model_name, trust_remote_code=True)
        self.model.eval()

    def to(self, device: torch.device | str) -> None:
        self.model.to(device)

    def cuda(self) -> None:
        self.to("cuda")

    def cpu(self) -> None:
        self.to("cpu")

    @torch.no_grad()
    def __call__(self, image: Image.Image) -> Image.Image:
        """RGB image to RGBA image of the same size."""
        weight = next(self.model.parameters())
        side = self.image_size
        small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.asarray(small).astype(np.float32) / 255)
        x = (x - torch.tensor(_MEAN)) / torch.tensor(_STD)
        x = x.permute(2, 0, 1)[None].to(weight)  # [H, W, 3] -> [1, 3, H, W]
        mask = self.model(x)[-1].sigmoid()[0, 0].float().cpu().numpy()
        alpha = Image.fromarray((mask * 255).astype(np.uint8)).resize(image.size)
        out = image.convert("RGB")
        out.putalpha(alpha)
        return out
