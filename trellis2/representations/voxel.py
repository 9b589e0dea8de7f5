"""Sparse voxels with named attributes.

Letters: N voxels, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .layout import check_layout, split_channels

__all__ = ["Voxel"]


def _origin_tensor(origin: Tensor | Sequence[float], device: torch.device) -> Tensor:
    out = torch.as_tensor(origin, dtype=torch.float32, device=device)
    if out.shape != (3,):
        raise ValueError(f"origin must have 3 numbers, got shape {tuple(out.shape)}")
    return out


class Voxel:
    """Occupied cells of a regular grid, each with `C` attribute channels.

    Cell `i` spans `[i, i + 1) * voxel_size + origin`; its centre is `position`.
    """

    origin: Tensor  # [3] float32, world position of the grid's lower corner
    voxel_size: float
    coords: Tensor | None  # [N, 3] int32
    attrs: Tensor | None  # [N, C] float
    layout: dict[str, slice]

    def __init__(
        self,
        origin: Tensor | Sequence[float],
        voxel_size: float,
        coords: Tensor | None = None,  # [N, 3]
        attrs: Tensor | None = None,  # [N, C]
        layout: Mapping[str, slice] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """Build from tensors; `device` defaults to that of `coords`, else the CPU.

        Raises ValueError if the tensors do not match each other or `voxel_size` is not positive.
        """
        if device is None:
            device = coords.device if coords is not None else torch.device("cpu")
        device = torch.device(device)
        self._set_voxels(origin, voxel_size, coords, attrs, layout, device)

    def _set_voxels(
        self,
        origin: Tensor | Sequence[float],
        voxel_size: float,
        coords: Tensor | None,
        attrs: Tensor | None,
        layout: Mapping[str, slice] | None,
        device: torch.device,
    ) -> None:
        size = float(voxel_size)
        if not size > 0 or size == float("inf"):
            raise ValueError(f"voxel_size must be a positive number, got {voxel_size}")
        if coords is not None:
            if coords.ndim != 2 or coords.shape[1] != 3:
                raise ValueError(f"coords must have shape [N, 3], got {tuple(coords.shape)}")
            coords = coords.to(device=device, dtype=torch.int32)
        if attrs is not None:
            if coords is None or attrs.ndim != 2 or attrs.shape[0] != coords.shape[0]:
                have = None if coords is None else tuple(coords.shape)
                raise ValueError(
                    f"attrs must have shape [N, C], a row a voxel, got {tuple(attrs.shape)} for coords {have}"
                )
            attrs = attrs.to(device=device)
        self.origin = _origin_tensor(origin, device)
        self.voxel_size = size
        self.coords = coords
        self.attrs = attrs
        self.layout = check_layout(layout or {}, attrs.shape[1]) if attrs is not None else dict(layout or {})

    @property
    def device(self) -> torch.device:
        return self.origin.device

    @property
    def position(self) -> Tensor:
        """World positions of the voxel centres, [N, 3] float32."""
        return (self._coords() + 0.5) * self.voxel_size + self.origin

    def _coords(self) -> Tensor:
        if self.coords is None:
            raise ValueError("this Voxel holds no coords yet; set coords and attrs, or load a file")
        return self.coords

    def _attrs(self) -> Tensor:
        if self.attrs is None:
            raise ValueError("this Voxel holds no attrs yet; set coords and attrs, or load a file")
        return self.attrs

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Voxel:
        """The same voxels on another device."""
        move: dict[str, Any] = {"device": device, "non_blocking": non_blocking}
        return Voxel(
            self.origin.to(**move),
            self.voxel_size,
            None if self.coords is None else self.coords.to(**move),
            None if self.attrs is None else self.attrs.to(**move),
            self.layout,
            device,
        )

    def cuda(self, non_blocking: bool = False) -> Voxel:
        return self.to("cuda", non_blocking)

    def cpu(self) -> Voxel:
        return self.to("cpu")

    def split_attrs(self) -> dict[str, Tensor]:
        """Attributes by name, views of `attrs`."""
        return split_channels(self._attrs(), self.layout)

    def save(self, path: str | Path) -> None:
        """Write coords and named attributes through `o_voxel.io` (`.vxz`, `.npz`, `.ply` by suffix).

        Those formats store bytes: float attributes are taken as 0…1 and quantised to 0…255.
        """
        import o_voxel

        attrs = {}
        for name, value in self.split_attrs().items():
            value = value.detach().cpu()
            if value.is_floating_point():
                value = (value.clamp(0, 1) * 255).round().to(torch.uint8)
            attrs[name] = value
        o_voxel.io.write(str(path), self._coords().detach().cpu(), attrs)

    def load(self, path: str | Path) -> None:
        """Replace coords and attributes by those of a file; columns follow the file's order.

        Byte attributes become floats in 0…1.
        """
        import o_voxel

        coords, named = o_voxel.io.read(str(path))
        parts, layout, start = [], {}, 0
        for name, value in named.items():
            value = torch.as_tensor(value)
            value = value.float() / 255 if value.dtype == torch.uint8 else value.float()
            value = value.reshape(value.shape[0], -1)  # [N] -> [N, 1]
            layout[name] = slice(start, start + value.shape[1])
            start += value.shape[1]
            parts.append(value)
        coords = torch.as_tensor(coords)
        attrs = torch.cat(parts, dim=1) if parts else torch.zeros(coords.shape[0], 0)
        self._set_voxels(self.origin, self.voxel_size, coords, attrs, layout, self.device)
