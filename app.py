"""Image to 3D in a browser: `python app.py`, then open http://127.0.0.1:7860. `--help` lists the options."""

from __future__ import annotations

import sys

from trellis2.apps.launch import launch

if __name__ == "__main__":
    sys.exit(launch("image"))
