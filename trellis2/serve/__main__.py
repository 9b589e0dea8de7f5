"""Serve a pipeline over HTTP.

    python -m trellis2.serve                                          # the bundled pipeline on http://127.0.0.1:8000
    python -m trellis2.serve --pipeline microsoft/TRELLIS.2-4B --devices cuda:0 cuda:1
    curl -F images=@photo.png http://127.0.0.1:8000/v1/generate

The interface is described at /docs of the running server. Listens on this machine only unless --host says otherwise.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        import uvicorn

        from .api import create_app
        from .options import add_server_options, make_pool, make_settings
    except ImportError as error:
        print(f"error: the server needs the extra 'app' (pip install '.[app]'): {error}", file=sys.stderr)
        return 1
    from .requests import CHECKS

    parser = argparse.ArgumentParser(prog="python -m trellis2.serve", description=(__doc__ or "").split("\n")[0])
    add_server_options(parser, port=8000, data="serve-data")
    arguments = parser.parse_args(argv)
    try:
        settings = make_settings(arguments)
        store, pool = make_pool(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    app = create_app(store, pool, CHECKS, settings)
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="info", timeout_graceful_shutdown=5)
    return 0


if __name__ == "__main__":
    sys.exit(main())
