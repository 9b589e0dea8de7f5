"""What the conversions on a GPU share."""

from __future__ import annotations

__all__ = ["CHUNK_WORK"]

# Most crossings and candidate cells (an upper bound per triangle) that are held at once: about 10 GB in the worst case,
# 2 GB on ordinary meshes. Results do not depend on it.
CHUNK_WORK = 1 << 27
