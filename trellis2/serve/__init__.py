"""HTTP server: a queue of jobs on disk, one worker process a device."""

from __future__ import annotations
