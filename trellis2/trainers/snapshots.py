"""Pictures of data and of the averaged models' outputs during a run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..utils.dist_utils import barrier
from .image_grid import save_image_grid
from .rng_state import get_rng_state, set_rng_state

__all__ = ["SnapshotMixin"]


class SnapshotMixin:
    """Part of `BasicTrainer`: uses its models, averages, loader and folders."""

    if TYPE_CHECKING:  # attributes of the trainer

        def __getattr__(self, name: str) -> Any: ...

    @contextlib.contextmanager
    def ema_weights(self) -> Iterator[None]:
        """Models hold the first average inside the block, and are in eval mode."""
        assert self.ema is not None
        masters = [p.detach().clone() for p in self.model_params]
        values = self.precision.unflatten(next(iter(self.ema.copies.values())))
        modes = {key: model.training for key, model in self.models.items()}
        try:
            with torch.no_grad():
                for param, value in zip(self.model_params, values):
                    param.copy_(value)
            for model in self.models.values():
                model.eval()
            yield
        finally:
            with torch.no_grad():
                for param, value in zip(self.model_params, masters):
                    param.copy_(value)
            for key, model in self.models.items():
                model.train(modes[key])

    def run_snapshot(self, num_samples: int, batch_size: int = 4, verbose: bool = False) -> dict[str, Tensor]:
        """Images to save: name → [N, 3, H, W] in [0, 1]. The default has none."""
        return {}

    def visualize_sample(self, sample: Any) -> Tensor | dict[str, Tensor]:
        """Images of a batch of data, [N, 3, H, W] in [0, 1], if the dataset can draw it."""
        draw = getattr(self.dataset, "visualize_sample", None)
        return draw(sample) if draw is not None else {}

    def snapshot_batches(self, num_samples: int, batch_size: int) -> Iterator[dict[str, Any]]:
        """A fixed subset of the data, assembled as in training, in batches."""
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(len(self.dataset), generator=generator)[:num_samples]
        for i, part in enumerate(order.split(batch_size)):
            yield self.loader.assemble(part.tolist(), seed=i)

    def snapshot_dataset(self, num_samples: int = 100, batch_size: int = 4) -> None:
        """Write `samples/dataset.jpg` (or one file a key)."""
        images: dict[str, list[Tensor]] = {}
        for batch in self.snapshot_batches(num_samples, batch_size):
            drawn = self.visualize_sample(batch)
            for key, value in (drawn if isinstance(drawn, dict) else {"": drawn}).items():
                images.setdefault(key, []).append(value.cpu())
        for key, parts in images.items():
            save_image_grid(torch.cat(parts), self.output_dir / "samples" / f"dataset{'_' + key if key else ''}.jpg")

    def snapshot(
        self, suffix: str | None = None, num_samples: int | None = None, batch_size: int = 4, verbose: bool = False
    ) -> None:
        """Draw the averaged models' outputs into `samples/<suffix>/`; process 0 works, the others wait."""
        if self.is_master:
            suffix = suffix or f"step{self.step:07d}"
            rng = get_rng_state(self.device)
            try:
                with self.ema_weights(), torch.no_grad(), self.precision.autocast():
                    images = self.run_snapshot(
                        num_samples or self.config.num_snapshot_samples, self.config.snapshot_batch_size, verbose
                    )
            finally:
                set_rng_state(rng, self.device)
            for name, value in images.items():
                save_image_grid(value.cpu(), self.output_dir / "samples" / suffix / f"{name}_{suffix}.jpg")
        barrier()
