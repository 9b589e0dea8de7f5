"""Command-line options that the server and the web pages share, and what they become."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
from pathlib import Path

from .api import ApiSettings
from .pool import WorkerPool
from .store import JobStore

__all__ = ["add_server_options", "default_devices", "is_loopback", "make_pool", "make_settings"]

ROOT = Path(__file__).resolve().parents[2]
logger = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    """Whether a host name can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def default_devices() -> list[str]:
    """Every CUDA device, or the CPU. Makes no CUDA context in this process."""
    import torch

    count = torch.cuda.device_count()
    return [f"cuda:{i}" for i in range(count)] if count else ["cpu"]


def add_server_options(parser: argparse.ArgumentParser, port: int, data: str) -> None:
    parser.add_argument("--pipeline", default=str(ROOT / "assets" / "models" / "mini"), help="folder or Hub repository")
    parser.add_argument("--texturing-pipeline", help="where texturing_pipeline.json is, if not there")
    parser.add_argument("--devices", nargs="+", help="one worker each (default: every CUDA device, else cpu)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    parser.add_argument("--port", type=int, default=port)
    parser.add_argument("--data", type=Path, default=Path(data), help="folder of the queue and its files")
    parser.add_argument("--keep-hours", type=float, default=24, help="finished jobs are deleted afterwards")
    parser.add_argument("--max-upload-mib", type=int, default=64, help="most a request may send")
    parser.add_argument("--max-queued", type=int, default=1000, help="more waiting jobs are refused")
    parser.add_argument("--time-limit", type=float, default=3600, help="seconds a job may run")
    parser.add_argument("--public-host", action="append", default=[], help="a name by which clients call the server")
    parser.add_argument("--token-file", type=Path, help="file whose content clients must send as bearer token")


def make_settings(arguments: argparse.Namespace) -> ApiSettings:
    """Limits from the options. Raises ValueError for a token that is too short, OSError if its file cannot be read."""
    token = None
    if arguments.token_file is not None:
        token = arguments.token_file.read_text(encoding="utf-8").strip()
        if len(token) < 16:
            raise ValueError(f"the token in {arguments.token_file} must have at least 16 characters, got {len(token)}")
    hosts = (*ApiSettings.hosts, *arguments.public_host)
    if not is_loopback(arguments.host):
        if token is None:
            logger.warning("anyone who reaches %s:%d can use it; see --token-file", arguments.host, arguments.port)
        hosts = hosts if arguments.public_host else ("*",)
    return ApiSettings(
        max_body=arguments.max_upload_mib << 20,
        keep_seconds=arguments.keep_hours * 3600,
        hosts=hosts,
        token=token,
    )


def make_pool(arguments: argparse.Namespace) -> tuple[JobStore, WorkerPool]:
    """The queue, and its workers (not started)."""
    devices = arguments.devices or default_devices()
    store = JobStore(arguments.data, arguments.max_queued)
    options = {"pipeline": arguments.pipeline, "texturing": arguments.texturing_pipeline}
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    target = "trellis2.serve.runner:PipelineRunner"
    return store, WorkerPool(store, devices, target, options, threads=threads, time_limit=arguments.time_limit)
