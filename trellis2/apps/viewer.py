"""The preview: one picture at a time out of modes x views, changed in the page without asking the server anything
but the picture."""

from __future__ import annotations

import html
from typing import NamedTuple

from trellis2.serve.preview_names import ENVIRONMENTS, MAPS, NUM_VIEWS, picture_name

__all__ = ["MODES", "Mode", "asset_html", "placeholder_html", "viewer_html"]


class Mode(NamedTuple):
    key: str
    label: str


_LABELS = {
    "clay": "Clay",
    "normal": "Normals",
    "base_color": "Base colour",
    "metallic": "Metallic",
    "roughness": "Roughness",
    "alpha": "Opacity",
}
MODES = (
    *(Mode(f"shaded-{name}", name.capitalize()) for name in ENVIRONMENTS),
    *(Mode(name, _LABELS[name]) for name in MAPS),
)


def placeholder_html(text: str = "The preview appears here.") -> str:
    return f'<div class="viewer viewer-empty"><p>{html.escape(text)}</p></div>'


def viewer_html(base_url: str, name: str, modes: tuple[str, ...], view: int = 0) -> str:
    """The viewer of pictures under `base_url`; `modes` (keys) are there, in the order of `MODES`."""
    known = [mode for mode in MODES if mode.key in modes]
    if not known:
        return placeholder_html()
    base, group = html.escape(base_url, quote=True), html.escape(f"mode-{name}", quote=True)

    def radio(mode: Mode, checked: bool) -> str:
        flag = " checked" if checked else ""
        return (
            f'<label><input type="radio" name="{group}" value="{mode.key}"{flag}>'
            f"<span>{html.escape(mode.label)}</span></label>"
        )

    shaded = [mode for mode in known if mode.key.startswith("shaded-")]
    maps = [mode for mode in known if mode not in shaded]
    first = known[0]
    rows = (
        [f"<fieldset><legend>Light</legend>{''.join(radio(m, m is first) for m in shaded)}</fieldset>"]
        if shaded
        else []
    )
    rows += (
        [f"<fieldset><legend>Surface</legend>{''.join(radio(m, m is first) for m in maps)}</fieldset>"] if maps else []
    )
    return (
        f'<div class="viewer" data-base="{base}" data-views="{NUM_VIEWS}">'
        f'<img src="{base}{picture_name(first.key, view)}" alt="Preview, {html.escape(first.label)}, view {view + 1}" '
        'draggable="false">'
        f'<label class="viewer-turn"><span>Turn</span><input type="range" min="0" max="{NUM_VIEWS - 1}" step="1" '
        f'value="{view}" aria-label="Turn the object"></label>{"".join(rows)}</div>'
    )


def asset_html(url: str | None, text: str = "The finished file appears here, to turn and to zoom.") -> str:
    """An interactive view of a GLB, or `text` where there is none."""
    if url is None:
        return placeholder_html(text)
    source = html.escape(url, quote=True)
    return (
        f'<model-viewer class="asset-view" src="{source}" camera-controls loading="eager" touch-action="pan-y" '
        'shadow-intensity="0.6" '
        'tone-mapping="neutral" interaction-prompt="none" alt="The finished object. Drag or use the arrow keys to turn '
        'it."></model-viewer>'
    )
