"""`--data_dir`: where the folders of each dataset are.

Accepted: a JSON object `{label: {role: folder}}` as text, the path of a JSON file with such an object, or
comma-separated folders whose standard sub-folders are derived from what the dataset asks for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ROLES", "parse_data_dir", "single_subfolder"]

ROLES = (
    "base",
    "mesh_dump",
    "dual_grid",
    "pbr_dump",
    "pbr_voxel",
    "asset_stats",
    "ss_latent",
    "shape_latent",
    "pbr_latent",
    "render_cond",
)

Roots = dict[str, dict[str, Path] | Path]


def _check(data: object, where: str) -> Roots:
    if not isinstance(data, Mapping) or not data:
        raise ValueError(f"{where} must be an object {{label: {{role: folder}}}}")
    out: Roots = {}
    for label, roles in data.items():
        if isinstance(roles, str):
            out[label] = Path(roles)
            continue
        if not isinstance(roles, Mapping) or not roles:
            raise ValueError(f"{where}: {label!r} must map roles to folders, got {roles!r}")
        for role in roles:
            if role not in ROLES and role not in ("aesthetic_scores", "thumbnails"):
                raise ValueError(f"{where}: unknown role {role!r} of {label!r}, choose from: {', '.join(ROLES)}")
        out[label] = {role: Path(folder) for role, folder in roles.items()}
    return out


def parse_data_dir(data_dir: str | Path | Mapping[str, object]) -> Roots:
    """Label → roles with folders, or → a folder whose roles the dataset derives itself."""
    if isinstance(data_dir, Mapping):
        return _check(data_dir, "data_dir")
    text = str(data_dir).strip()
    if text.startswith("{"):
        try:
            return _check(json.loads(text), "data_dir")
        except json.JSONDecodeError as error:
            raise ValueError(f"data_dir looks like JSON but is not valid: {error}") from error
    path = Path(text)
    if path.is_file():
        try:
            return _check(json.loads(path.read_text()), str(path))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not valid JSON: {error}") from error
    out: Roots = {}
    for part in text.split(","):
        folder = Path(part.strip())
        if not folder.is_dir():
            raise ValueError(f"data_dir: {folder} is neither a folder nor a JSON file nor a JSON object")
        label = folder.resolve().name
        while label in out:
            label += "_"
        out[label] = folder
    return out


def single_subfolder(folder: Path, name: str | None) -> Path:
    """`folder/name`, or the only sub-folder if no name is given; ValueError if that is ambiguous."""
    if name is not None:
        return folder / name
    candidates = sorted(p for p in folder.iterdir() if (p / "metadata.csv").is_file()) if folder.is_dir() else []
    if len(candidates) != 1:
        found = ", ".join(p.name for p in candidates) or "none"
        raise ValueError(f"{folder} must hold exactly one latent folder (found: {found}); name it in the dataset args")
    return candidates[0]
