"""Devices, versions and optional packages."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from typing import Any

import o_voxel
import torch

import trellis2

from ..utils.memory import memory_tier

__all__ = ["ACCELERATORS", "accelerators", "advice", "devices", "versions"]

_PACKAGES = ("triton", "numpy", "transformers", "safetensors", "huggingface_hub")
ACCELERATORS = {
    "flash_attn": "attention backend flash_attn",
    "flash_attn_interface": "attention backend flash_attn_3 (Hopper)",
    "xformers": "attention backend xformers",
    "nvdiffrast": "another rasteriser for the renderers",
    "spconv": "only for comparisons in benchmarks",
}
"""Packages that are used when present and never needed, and what for."""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _system() -> tuple[str, ...]:
    return (platform.system(), platform.machine(), *platform.libc_ver())


def versions() -> dict[str, Any]:
    """Versions of what results depend on; None where a package is not installed."""
    found: dict[str, Any] = {"python": platform.python_version(), "system": " ".join(filter(None, _system()))}
    found |= {name: _version(name) for name in _PACKAGES}
    found |= {"trellis2": trellis2.__version__, "o_voxel": o_voxel.__version__, "torch": torch.__version__}
    found["cuda"] = torch.version.cuda
    found["hip"] = torch.version.hip
    found["cudnn"] = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    return found


def accelerators() -> dict[str, str | None]:
    """Version of each optional accelerator, 'found' if it does not say, None if it is absent."""
    out: dict[str, str | None] = {}
    for module in ACCELERATORS:
        present = importlib.util.find_spec(module) is not None
        out[module] = (_version(module.replace("_", "-")) or "found") if present else None
    return out


def devices() -> list[dict[str, Any]]:
    """The CPU and every CUDA device: name, memory, tier."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows: list[dict[str, Any]] = [
        {
            "device": "cpu",
            "name": platform.processor() or platform.machine(),
            "cores": threads,
            "torch_threads": torch.get_num_threads(),
            "compiler": next((c for c in ("cc", "gcc", "clang", "cl") if shutil.which(c)), None),
        }
    ]
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(i)
        free, total = torch.cuda.mem_get_info(i)
        tier = memory_tier(total)
        rows.append(
            {
                "device": f"cuda:{i}",
                "name": properties.name,
                "capability": f"{properties.major}.{properties.minor}",
                "multiprocessors": properties.multi_processor_count,
                "memory_gb": round(total / 1e9, 2),
                "free_gb": round(free / 1e9, 2),
                "tier": tier.name,
                "tier_meaning": tier.meaning,
            }
        )
    return rows


def advice(found: dict[str, Any]) -> list[str]:
    """What to install or change for more speed, given a report."""
    lines = []
    cuda = [d for d in found["devices"] if d["device"] != "cpu"]
    if not cuda:
        if found["versions"]["cuda"] is None and found["versions"]["hip"] is None:
            lines.append("PyTorch is a CPU build; on a machine with an NVIDIA GPU install a CUDA build of torch")
        else:
            lines.append(
                "PyTorch finds no GPU; everything runs on the CPU, which takes minutes where a GPU takes seconds"
            )
    elif found["versions"]["triton"] is None:
        lines.append("triton is not installed: sparse convolution and the fused operations use slower backends; "
                     "`pip install triton` (it comes with CUDA builds of torch on Linux)")  # fmt: skip
    elif found["devices"][0]["compiler"] is None:
        lines.append("there is no C compiler, which triton needs for its launchers; install gcc or clang")
    core = found["voxel_core"]
    if core["state"] == "absent":
        lines.append("the compiled core of o_voxel is not built: `pip install ./o-voxel` needs a C++ compiler")
    elif cuda and core["state"] == "ok" and not core["with_cuda"]:
        lines.append("o_voxel was built without CUDA; rebuild it where nvcc is found: `pip install ./o-voxel`")
    faster = any(found["accelerators"][m] for m in ("flash_attn", "flash_attn_interface", "xformers"))
    if cuda and not faster and all(float(d["capability"]) < 9 for d in cuda):
        lines.append("flash-attn may speed attention up: `pip install flash-attn` (optional)")
    return lines
