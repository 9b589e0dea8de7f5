"""Process groups on any device: set-up, reading on one process, ordering of processes."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    "barrier",
    "broadcast_floats",
    "get_rank",
    "get_world_size",
    "local_master_first",
    "master_first",
    "read_file_dist",
    "setup_dist",
    "unwrap_dist",
]


def _initialised() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_rank() -> int:
    """Rank of this process, 0 without a process group."""
    return dist.get_rank() if _initialised() else 0


def get_world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if _initialised() else 1


def barrier() -> None:
    """Wait for all processes; does nothing without a process group."""
    if _initialised():
        dist.barrier()


def setup_dist(
    rank: int,
    local_rank: int,
    world_size: int,
    master_addr: str,
    master_port: str | int,
    backend: str | None = None,
) -> None:
    """Export the rendezvous variables and join the process group (NCCL with CUDA devices, else gloo)."""
    os.environ.update(
        MASTER_ADDR=str(master_addr),
        MASTER_PORT=str(master_port),
        WORLD_SIZE=str(world_size),
        RANK=str(rank),
        LOCAL_RANK=str(local_rank),
    )
    if backend is None:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend, rank=rank, world_size=world_size)


def _comm_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def broadcast_floats(values: list[float]) -> list[float]:
    """The numbers of process 0, on every process (float64)."""
    if not _initialised() or dist.get_world_size() == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=_comm_device())
    dist.broadcast(tensor, src=0)
    return tensor.tolist()


def read_file_dist(path: str | os.PathLike[str]) -> io.BytesIO:
    """Bytes of a file, read by process 0 and broadcast."""
    if not _initialised() or dist.get_world_size() == 1:
        with open(path, "rb") as f:
            return io.BytesIO(f.read())
    device = _comm_device()
    data = b""
    if dist.get_rank() == 0:
        with open(path, "rb") as f:
            data = f.read()
    size = torch.tensor([len(data)], dtype=torch.int64, device=device)
    dist.broadcast(size, src=0)
    if dist.get_rank() == 0:
        buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)
    else:
        buffer = torch.empty(int(size.item()), dtype=torch.uint8, device=device)
    dist.broadcast(buffer, src=0)
    return io.BytesIO(buffer.cpu().numpy().tobytes())


def unwrap_dist(model: nn.Module) -> nn.Module:
    """The module inside a `DistributedDataParallel` wrapper, or the module itself."""
    return model.module if isinstance(model, DistributedDataParallel) else model


@contextlib.contextmanager
def _first(is_first: bool) -> Iterator[None]:
    if not _initialised():
        yield
        return
    if is_first:
        try:
            yield
        finally:
            dist.barrier()
    else:
        dist.barrier()
        yield


def master_first() -> Any:
    """Context: process 0 runs the body first, the others afterwards."""
    return _first(get_rank() == 0)


def local_master_first() -> Any:
    """Context: the first process of each node runs the body first (`LOCAL_RANK` tells which)."""
    return _first(int(os.environ.get("LOCAL_RANK", "0")) == 0)
