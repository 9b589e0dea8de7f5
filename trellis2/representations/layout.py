"""Channel layouts: which columns of an attribute tensor hold which attribute."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

__all__ = ["PBR_ATTR_LAYOUT", "check_layout", "split_channels"]

#: Columns of the volumetric PBR attributes (o_voxel channel order).
PBR_ATTR_LAYOUT: Mapping[str, slice] = MappingProxyType(
    {"base_color": slice(0, 3), "metallic": slice(3, 4), "roughness": slice(4, 5), "alpha": slice(5, 6)}
)


def check_layout(layout: Mapping[str, slice], channels: int) -> dict[str, slice]:
    """Copy `layout`; raise ValueError if an entry reaches outside `channels` columns."""
    for name, part in layout.items():
        start, stop, step = part.start or 0, part.stop, part.step
        if step not in (None, 1) or stop is None or not 0 <= start < stop <= channels:
            raise ValueError(f"layout[{name!r}] must be a slice inside the {channels} attribute channels, got {part}")
    return dict(layout)


def split_channels(attrs: Tensor, layout: Mapping[str, slice]) -> dict[str, Tensor]:
    """Columns of `attrs` [N, C] by name, as views."""
    return {name: attrs[:, part] for name, part in layout.items()}
