"""Choice of implementation: argument, environment, and an installed nvdiffrast."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch

from o_voxel._native import native_module
from o_voxel.rasterize import DepthPeeler, antialias, external, interpolate, rasterize, texture
from o_voxel.rasterize.selection import BACKEND_VARIABLE, select_backend

ANY = torch.zeros(1)


def test_auto_prefers_the_compiled_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BACKEND_VARIABLE, raising=False)
    assert select_backend("auto", ANY) == ("native" if native_module() is not None else "reference")


def test_environment_chooses_but_an_argument_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, "nvdiffrast")
    assert select_backend("auto", ANY) == "nvdiffrast"
    assert select_backend("reference", ANY) == "reference"
    monkeypatch.setenv(BACKEND_VARIABLE, "opengl")
    with pytest.raises(ValueError, match=f"{BACKEND_VARIABLE} must be one of"):
        select_backend("auto", ANY)


def test_native_on_a_device_without_it_says_so() -> None:
    with pytest.raises(RuntimeError, match="needs the compiled core for meta"):
        select_backend("native", torch.zeros(1, device="meta"))


def test_nvdiffrast_must_be_there_and_on_a_gpu() -> None:
    pos, tri = torch.zeros(3, 4), torch.zeros(1, 3, dtype=torch.int32)
    with pytest.raises(ValueError, match="needs CUDA tensors"):
        rasterize(pos, tri, (2, 2), backend="nvdiffrast")


def test_calls_reach_nvdiffrast_in_its_own_form(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    class Context:
        def __init__(self, device: torch.device) -> None:
            self.device = device

    class Peeler:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            calls.append(("peel", args, kwargs))

        def __enter__(self) -> Peeler:
            return self

        def __exit__(self, *exc: object) -> None:
            calls.append(("leave", exc, {}))

        def rasterize_next_layer(self) -> tuple[torch.Tensor, torch.Tensor]:
            return rast, rast

    def record(name: str, result: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append((name, args, kwargs))
            return result

        return call

    rast = torch.zeros(1, 2, 2, 4)
    fake = types.ModuleType("nvdiffrast.torch")
    fake.RasterizeCudaContext = Context  # type: ignore[attr-defined]
    fake.DepthPeeler = Peeler  # type: ignore[attr-defined]
    fake.rasterize = record("rasterize", (rast, rast))  # type: ignore[attr-defined]
    fake.interpolate = record("interpolate", (torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 2)))  # type: ignore[attr-defined]
    fake.texture = record("texture", torch.zeros(1, 2, 2, 1))  # type: ignore[attr-defined]
    fake.antialias = record("antialias", torch.zeros(1, 2, 2, 1))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "nvdiffrast", types.ModuleType("nvdiffrast"))
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", fake)
    monkeypatch.setattr(external, "_on_gpu", lambda tensor: None)
    external._module.cache_clear()
    external._context.cache_clear()
    try:
        pos, tri = torch.zeros(5, 4), torch.zeros(1, 3, dtype=torch.int64)
        assert isinstance(rasterize(pos, tri, 2, grad_db=True, backend="nvdiffrast"), tuple)
        interpolate(torch.zeros(5, 3), rast, tri, rast, [1], backend="nvdiffrast")
        texture(torch.zeros(2, 2, 1), torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 4), backend="nvdiffrast")
        antialias(torch.zeros(1, 2, 2, 1), rast, pos, tri, pos_gradient_boost=2.0, backend="nvdiffrast")
        with DepthPeeler(pos, tri, 2, backend="nvdiffrast") as peeler:
            assert peeler.rasterize_next_layer() is rast
        with pytest.raises(ValueError, match="takes no peel_depth"):
            rasterize(pos, tri, 2, torch.zeros(2, 2), backend="nvdiffrast")
        with pytest.raises(ValueError, match="no boundary_mode 'mirror'"):
            texture(torch.zeros(2, 2, 1), torch.zeros(1, 2, 2, 2), boundary_mode="mirror", backend="nvdiffrast")
    finally:
        external._module.cache_clear()
        external._context.cache_clear()
    names = [name for name, _, _ in calls]
    assert names == ["rasterize", "interpolate", "texture", "antialias", "peel", "leave"]
    _, (context, corners, index), options = calls[0]
    assert isinstance(context, Context) and corners.shape == (1, 5, 4) and index.dtype == torch.int32
    assert options == {"resolution": [2, 2], "ranges": None, "grad_db": True}
    assert calls[1][2]["diff_attrs"] == [1]
    assert calls[2][2]["filter_mode"] == "linear-mipmap-linear"
    assert calls[3][2]["pos_gradient_boost"] == 2.0
