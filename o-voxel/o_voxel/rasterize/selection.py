"""Which implementation a rasteriser call runs on."""

from __future__ import annotations

import os
from typing import Literal

from torch import Tensor

from o_voxel._device import cuda_core
from o_voxel._native import native_module

__all__ = ["BACKEND_VARIABLE", "RasterBackend", "select_backend"]

RasterBackend = Literal["auto", "native", "reference", "nvdiffrast"]
BACKEND_VARIABLE = "O_VOXEL_RASTER_BACKEND"
_CHOICES = ("auto", "native", "reference", "nvdiffrast")


def select_backend(
    backend: RasterBackend, tensor: Tensor, *, through_cpu: bool = False
) -> Literal["native", "reference", "nvdiffrast"]:
    """The backend for a call on the device of `tensor`.

    "auto" takes the environment variable `O_VOXEL_RASTER_BACKEND` if it is set, else the compiled core where it serves
    the device (with `through_cpu` a core without CUDA serves CUDA tensors, by copying), else plain PyTorch. Raises
    ValueError on an unknown name and RuntimeError if "native" is asked for but not built for the device.
    """
    source = "backend"
    if backend == "auto" and os.environ.get(BACKEND_VARIABLE):
        backend, source = os.environ[BACKEND_VARIABLE], BACKEND_VARIABLE  # type: ignore[assignment]
    if backend not in _CHOICES:
        raise ValueError(f"{source} must be one of {', '.join(_CHOICES)}, got {backend!r}")
    on_cpu = tensor.device.type == "cpu" or (tensor.is_cuda and through_cpu)
    if on_cpu:
        served = native_module() is not None
    else:
        served = tensor.is_cuda and cuda_core("triangle_rasterizing", tensor.device) is not None
    if backend == "auto":
        return "native" if served else "reference"
    if backend == "native" and not served:
        raise RuntimeError(f"backend='native' needs the compiled core for {tensor.device.type}: pip install ./o-voxel")
    return backend
