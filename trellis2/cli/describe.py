"""`info`: what files of this program hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["describe"]


def describe(path: Path) -> dict[str, Any]:
    """JSON values about a pipeline folder, latents, a manifest or a folder with one.

    Raises FileNotFoundError, or ValueError for anything else.
    """
    if not path.exists():
        raise FileNotFoundError(f"not found: {path}")
    if path.is_dir():
        if (path / "pipeline.json").is_file() or (path / "texturing_pipeline.json").is_file():
            return _pipeline(path)
        if (path / "manifest.jsonl").is_file():
            return _manifest(path / "manifest.jsonl")
        raise ValueError(f"{path} is neither a pipeline folder nor one with a manifest")
    if path.suffix == ".jsonl":
        return _manifest(path)
    if path.suffix == ".safetensors":
        from trellis2.pipelines.latents import load_latents

        latents = load_latents(path)
        channels = {"shape": latents.shape_slat.feats.shape[1]}
        if latents.tex_slat is not None:
            channels["texture"] = latents.tex_slat.feats.shape[1]
        return {
            "file": str(path),
            "kind": "latents",
            "resolution": latents.resolution,
            "tokens": len(latents.shape_slat.feats),
            "channels": channels,
            "info": dict(latents.info),
        }
    raise ValueError(f"{path} is none of: pipeline folder, latents (.safetensors), manifest (.jsonl)")


def _pipeline(folder: Path) -> dict[str, Any]:
    from trellis2.pipelines.config import ImageTo3DConfig, TexturingConfig, read_pipeline_json
    from trellis2.pipelines.files import Source

    out: dict[str, Any] = {"folder": str(folder), "kind": "pipeline", "files": {}}
    source = Source(str(folder))
    for name, parse in (("pipeline.json", ImageTo3DConfig.parse), ("texturing_pipeline.json", TexturingConfig.parse)):
        if not (folder / name).is_file():
            continue
        title, args = read_pipeline_json(folder / name)
        config: Any = parse(args)
        models = {}
        for key, stem in config.models.items():
            found = source.local_stem(stem)
            size = Path(f"{found}.safetensors").stat().st_size if found else None
            models[key] = {"stem": stem, "bytes": size}
        out["files"][name] = {
            "name": title,
            "models": models,
            "image_cond_model": config.image_cond_model.name,
            "rembg_model": config.rembg_model.name,
            "types": [str(key) for key in getattr(config, "pipeline_types", None) or config.texture_types],
            "default": getattr(config, "default_pipeline_type", None) or config.default_resolution,
        }
    return out


def _manifest(path: Path) -> dict[str, Any]:
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    seconds = sum(entry.get("seconds", 0) for entry in entries)
    names = sorted({str(entry.get("input")) for entry in entries})
    return {"file": str(path), "kind": "manifest", "jobs": len(entries), "seconds": round(seconds, 1), "inputs": names}
