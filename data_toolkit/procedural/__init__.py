"""Seeded procedural assets: asset `index` of a version is the same, to the byte, on every machine."""

from __future__ import annotations

from data_toolkit.procedural.generate import VERSION, Model, family_of, generate_asset, spec_sha256

__all__ = ["VERSION", "Model", "family_of", "generate_asset", "spec_sha256"]
