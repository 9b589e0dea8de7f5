"""Web pages over the job queue of `trellis2.serve`: image to 3D, and texturing of a given mesh."""

from __future__ import annotations
