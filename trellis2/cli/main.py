"""From arguments to exit code."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .arguments import make_parser
from .runner import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, Job, Runner

__all__ = ["main"]


class _Pipelines:
    """Loads each pipeline class once, when the first job needs it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self._loaded: dict[type, Any] = {}

    def __call__(self, kind: type) -> Any:
        if kind not in self._loaded:
            import torch

            pipeline = kind.from_pretrained(self.args.pipeline, local_files_only=self.args.offline)  # type: ignore[attr-defined]
            pipeline.memory = self.args.memory
            pipeline.to(self.args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self._loaded[kind] = pipeline
        return self._loaded[kind]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 all failed, 2 bad arguments, 3 some inputs failed, 130 interrupted."""
    args = make_parser().parse_args(argv)
    level = logging.ERROR if getattr(args, "quiet", False) else logging.WARNING
    logging.basicConfig(level=level, format="%(levelname)s: %(message)s")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")  # read when CUDA is first used
    try:
        if args.command == "info":
            return _info(args)
        from . import commands

        makers: dict[str, Callable[..., list[Job]]] = {
            "generate": commands.generate_jobs,
            "texture": commands.texture_jobs,
            "export": commands.export_jobs,
            "encode": commands.encode_jobs,
            "decode": commands.decode_jobs,
        }
        jobs = makers[args.command](args, _Pipelines(args))
        args.output.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        if args.debug:
            raise
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return EXIT_USAGE
    try:
        runner = Runner(args.command, args.output, resume=args.resume, quiet=args.quiet, debug=args.debug)
        return runner.run(jobs)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED


def _info(args: argparse.Namespace) -> int:
    from .describe import describe

    code = 0
    for path in args.inputs:
        try:
            sys.stdout.write(json.dumps(describe(path), indent=2) + "\n")
        except (OSError, ValueError) as error:
            if args.debug:
                raise
            sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
            code = EXIT_FAILED
    return code
