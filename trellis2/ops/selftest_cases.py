"""Inputs on which the self-test compares a backend with the reference, for every operation of the registry.

A case makes inputs on a device and returns a function that runs one implementation on them: name of an output ->
tensor, gradients included where the operation has them. Large cases have more than 2²⁰ rows.
Letters: N rows, C channels, V taps, L tokens, H heads, D head dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["CASES", "Case", "EXACT", "TOLERANCES"]

Run = Callable[..., Any]
Outputs = dict[str, Tensor]

TOLERANCES = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Bounds on the relative L2 error by type of the inputs: about four roundings of the type (float32: of sums of some
thousand terms in another order). The worst row may have eight times that."""
EXACT = 0.0
"""For integer results."""
_LARGE = (1 << 20) + 4321


class Case(NamedTuple):
    """One comparison."""

    name: str
    large: bool
    tolerance: float
    prepare: Callable[[torch.device], Callable[[Run], Outputs]]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, seed: int, scale: float = 1.0) -> Tensor:
    """Gaussian numbers; small tensors hold the same on every device, large ones are drawn where they are needed."""
    if device.type == "cuda" and math.prod(shape) > 1 << 22:
        generator = torch.Generator(device).manual_seed(seed)
        return (torch.randn(shape, generator=generator, device=device) * scale).to(dtype)
    return (torch.randn(shape, generator=_generator(seed)) * scale).to(device, dtype)


def _surface(size: int, device: torch.device, batch: int = 1) -> Tensor:
    """Coordinates [N, 4] int32 of a wavy sheet three cells thick in a size³ grid, in shuffled row order."""
    axis = torch.arange(size)
    x, y = (g.reshape(-1) for g in torch.meshgrid(axis, axis, indexing="ij"))
    height = ((x * 0.37).sin() + (y * 0.23).cos()) * size / 8 + size / 2
    layers = [torch.stack([torch.full_like(x, b), x, y, height.long() + k], 1) for b in range(batch) for k in range(3)]
    coords = torch.cat(layers).int()
    order = torch.randperm(coords.shape[0], generator=_generator(5))
    coords = coords[order]
    return coords[torch.argsort(coords[:, 0], stable=True)].to(device)


def _with_gradients(run: Callable[[], Tensor], inputs: dict[str, Tensor]) -> Outputs:
    """The output and the gradients of a fixed weighting of it."""
    leaves = list(inputs.values())
    with torch.enable_grad():
        out = run()
        # Off centre: sums over a million rows are not zero up to rounding, and still fit in float16.
        probe = (torch.linspace(-1, 1, out.numel(), device=out.device) + 2**-9).view_as(out).to(out.dtype)
        grads = torch.autograd.grad(out, leaves, probe)
    return {"output": out.detach(), **{f"gradient of {name}": g for name, g in zip(inputs, grads)}}


def _conv(size: int, batch: int, channels: tuple[int, int], dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        from .neighbor_map import build_neighbor_map
        from .neighborhood import Neighborhood

        ci, co = channels
        coords = _surface(size, device, batch)
        table = build_neighbor_map(coords, (3, 3, 3))
        feats = _normal((coords.shape[0], ci), device, dtype, 1)
        weight = _normal((co, 3, 3, 3, ci), device, dtype, 2, (9 * ci) ** -0.5)
        bias = _normal((co,), device, dtype, 3)

        def call(run: Run) -> Outputs:
            leaves = {n: t.detach().requires_grad_() for n, t in (("feats", feats), ("weight", weight), ("bias", bias))}
            return _with_gradients(lambda: run(*leaves.values(), Neighborhood(table)), leaves)

        return call

    return prepare


def _map(size: int, batch: int) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        coords = _surface(size, device, batch)
        return lambda run: {"map": run(coords, (3, 3, 3), (1, 1, 1)).table}

    return prepare


def _attention(tokens: int, keys: int, heads: int, dim: int, dtype: torch.dtype, gradients: bool) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        q = _normal((1, tokens, heads, dim), device, dtype, 1)
        k, v = (_normal((1, keys, heads, dim), device, dtype, s) for s in (2, 3))

        def call(run: Run) -> Outputs:
            if not gradients:
                with torch.no_grad():
                    return {"output": run(q, k, v)}
            leaves = {n: t.detach().requires_grad_() for n, t in (("q", q), ("k", k), ("v", v))}
            return _with_gradients(lambda: run(*leaves.values()), leaves)

        return call

    return prepare


def _residual_norm(rows: int, channels: int, samples: int, dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        from .fused_norm import RowSamples

        x, branch = (_normal((rows, channels), device, dtype, s) for s in (1, 2))
        gate, shift, scale = (_normal((samples, channels), device, dtype, s, 0.3) for s in (3, 4, 5))
        weight, bias = (_normal((channels,), device, torch.float32, s) for s in (6, 7))
        index = torch.arange(rows, device=device) * samples // rows
        sizes = RowSamples(index, torch.bincount(index, minlength=samples))

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            total, normed = run(x.clone(), branch, gate, weight, bias, shift, scale, sizes, 1e-6, True)
            plain = run(x.clone(), branch[:1], None, None, None, None, None, sizes, 1e-6, True)
            return {"sum": total, "norm": normed, "sum with one row": plain[0], "norm with one row": plain[1]}

        return call

    return prepare


def _norm_rope(tokens: int, heads: int, dim: int, dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        x = _normal((tokens, heads, dim), device, dtype, 1)
        gammas = [_normal((heads // 2, dim), device, torch.float32, s) for s in (2, 3)]
        angles = torch.randn(tokens, dim // 2, generator=_generator(4)).to(device)
        phases = torch.polar(torch.ones_like(angles), angles)

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            return {"output": run(x.clone(), gammas, phases)}

        return call

    return prepare


def _linear_gelu(rows: int, channels: tuple[int, int], dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        x = _normal((rows, channels[0]), device, dtype, 1)
        weight = _normal((channels[1], channels[0]), device, dtype, 2, channels[0] ** -0.5)
        bias = _normal((channels[1],), device, dtype, 3)

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            return {"output": run(x, weight, bias)}

        return call

    return prepare


def _norm_silu(rows: int, channels: int, dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        x = _normal((rows, channels), device, dtype, 1)
        weight, bias = (_normal((channels,), device, torch.float32, s) for s in (2, 3))

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            plain = run(x, None, None, 1e-6, False)
            return {"activated": run(x.clone(), weight, bias, 1e-6, True), "plain": plain}

        return call

    return prepare


def _norm_mlp(rows: int, channels: int, dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        from .row_mlp import MlpWeights

        h, residual = (_normal((rows, channels), device, dtype, s) for s in (1, 2))
        norm = [_normal((channels,), device, torch.float32, s) for s in (3, 4)]
        w1 = _normal((4 * channels, channels), device, dtype, 5, channels**-0.5)
        w2 = _normal((channels, 4 * channels), device, dtype, 6, (4 * channels) ** -0.5)
        b1, b2 = (_normal((n,), device, dtype, s) for n, s in ((4 * channels, 7), (channels, 8)))

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            return {"output": run(h.clone(), residual, MlpWeights(norm[0], norm[1], w1, b1, w2, b2), 1e-6)}

        return call

    return prepare


def _norm_linear(rows: int, channels: int, outputs: int, dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        x = _normal((rows, channels), device, dtype, 1)
        weight = _normal((outputs, channels), device, torch.float32, 2, channels**-0.5)
        bias = _normal((outputs,), device, torch.float32, 3)

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            return {"output": run(x, weight, bias, 1e-5, torch.float32)}

        return call

    return prepare


def _grid_sample(size: int, points: int, mode: str, dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        coords = _surface(size, device, 2)
        feats = _normal((coords.shape[0], 6), device, dtype, 1)
        near = coords[torch.randint(coords.shape[0], (2, points), generator=_generator(2)).to(device), 1:]
        grid = near + _normal((2, points, 3), device, torch.float32, 3)
        shape = (2, 6, size, size, size)

        def call(run: Run) -> Outputs:
            leaves = {"feats": feats.detach().requires_grad_()}
            return _with_gradients(lambda: run(leaves["feats"], coords, shape, grid, mode), leaves)

        return call

    return prepare


def _children(coords: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """About half of the children of every voxel: coordinates [T, 4] int32, parent rows [T], places [T] int64."""
    bits = torch.rand(coords.shape[0], 8, generator=_generator(9)).to(coords.device) < 0.5
    parents, places = torch.nonzero(bits, as_tuple=True)
    local = torch.stack([places & 1, places >> 1 & 1, places >> 2], 1).int()
    fine = torch.cat([coords[parents, :1], coords[parents, 1:] * 2 + local], 1)
    return fine, parents, places


def _refined_map(size: int) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        from . import neighbor_map as maps
        from .child_conv import child_cells
        from .neighborhood import Neighborhood

        coords = _surface(size, device, 2)
        fine, parents, places = _children(coords)
        coarse = Neighborhood(maps.build_neighbor_map(coords, (3, 3, 3)))
        cells = child_cells(parents, places, coords.shape[0])

        def call(run: Run) -> Outputs:
            if run is maps._run_anew:  # which may use another fast backend
                return {"map": maps.build_neighbor_map(fine, (3, 3, 3))}
            return {"map": run(coarse, fine, parents, cells).table}

        return call

    return prepare


def _conv_children(size: int, channels: tuple[int, int], dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        from .child_conv import child_cells, sparse_conv3d_children_reference
        from .neighbor_map import build_neighbor_map
        from .neighborhood import Neighborhood

        ci, co = channels
        coords = _surface(size, device)
        fine, parents, places = _children(coords)
        cells = child_cells(parents, places, coords.shape[0])
        table = build_neighbor_map(coords, (3, 3, 3))
        feats = _normal((coords.shape[0], ci), device, dtype, 1)
        weight = _normal((8 * co, 3, 3, 3, ci), device, dtype, 2, (9 * ci) ** -0.5)
        bias = _normal((8 * co,), device, dtype, 3)

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            plain = {"backend": "reference"} if run is sparse_conv3d_children_reference else {}
            return {"output": run(feats, weight, bias, Neighborhood(table), cells, fine.shape[0], **plain)}

        return call

    return prepare


def _child_coords(size: int, factor: int) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        coords = _surface(size, device, 2)
        bits = torch.rand(coords.shape[0], factor**3, generator=_generator(9)).to(device) < 4 / factor**3
        parents, places = torch.nonzero(bits, as_tuple=True)
        return lambda run: {"coordinates": run(coords, parents, places, factor)}

    return prepare


def _child_skip(size: int, channels: tuple[int, int], dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        coords = _surface(size, device)
        fine, parents, places = _children(coords)
        feats = _normal((coords.shape[0], channels[0]), device, dtype, 1)
        out = _normal((fine.shape[0], channels[1]), device, dtype, 2)

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            return {"output": run(out.clone(), feats, parents, places)}

        return call

    return prepare


def _quantize_rows(rows: int, channels: int, gelu: bool) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        x = _normal((rows, channels), device, torch.bfloat16, 1)

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            codes, scale = run(x, gelu)
            return {"values": codes.float() * scale, "scale": scale}

        return call

    return prepare


def _widen_int8(shape: tuple[int, int], dtype: torch.dtype) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        from .low_precision import quantize_int8

        codes, scale = quantize_int8(_normal(shape, device, torch.float32, 1))

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            return {"weight": run(codes, scale, dtype)}

        return call

    return prepare


def _fp8_linear(rows: int, channels: tuple[int, int], gelu: bool) -> Any:
    def prepare(device: torch.device) -> Callable[[Run], Outputs]:
        from .low_precision import quantize_fp8

        x = _normal((rows, channels[0]), device, torch.bfloat16, 1)
        codes, scale = quantize_fp8(_normal((channels[1], channels[0]), device, torch.float32, 2, channels[0] ** -0.5))
        bias = _normal((channels[1],), device, torch.float32, 3)

        @torch.no_grad()
        def call(run: Run) -> Outputs:
            return {"output": run(x, codes, scale, bias, gelu)}

        return call

    return prepare


def _typed(name: str, large: bool, dtype: torch.dtype, prepare: Any) -> Case:
    return Case(f"{name}, {str(dtype).removeprefix('torch.')}", large, TOLERANCES[dtype], prepare)


_F32, _F16, _BF16 = torch.float32, torch.float16, torch.bfloat16
_FP8 = 2e-2
"""Codes of 3 mantissa bits on the boundary between two may fall either way."""
CASES: dict[str, list[Case]] = {
    "sparse_conv": [
        _typed("64 to 64 channels", False, _F16, _conv(20, 2, (64, 64), _F16)),
        _typed("128 to 256 channels", False, _F16, _conv(20, 2, (128, 256), _F16)),
        _typed("512 to 512 channels", False, _BF16, _conv(34, 1, (512, 512), _BF16)),
        _typed("40 to 24 channels", False, _BF16, _conv(16, 2, (40, 24), _BF16)),
        _typed("7 to 5 channels", False, _F32, _conv(16, 1, (7, 5), _F32)),
        _typed("more than 2²⁰ rows", True, _F16, _conv(592, 1, (64, 64), _F16)),
    ],
    "neighbor_map": [
        Case("small", False, EXACT, _map(24, 3)),
        Case("more than 2²⁰ rows", True, EXACT, _map(592, 1)),
    ],
    "attention": [
        _typed("self", False, _F16, _attention(203, 203, 3, 64, _F16, False)),
        _typed("cross with gradients", False, _BF16, _attention(130, 77, 2, 128, _BF16, True)),
        _typed("self with gradients", False, _F32, _attention(67, 67, 2, 16, _F32, True)),
        _typed("more than 2²⁰ rows", True, _BF16, _attention(_LARGE // 12, 77, 12, 128, _BF16, False)),
    ],
    "residual_norm": [
        _typed("three samples", False, _BF16, _residual_norm(333, 96, 3, _BF16)),
        _typed("odd width", False, _F32, _residual_norm(100, 37, 1, _F32)),
        _typed("more than 2²⁰ rows", True, _F16, _residual_norm(_LARGE, 128, 1, _F16)),
    ],
    "norm_rope": [
        _typed("small", False, _BF16, _norm_rope(77, 6, 128, _BF16)),
        _typed("small", False, _F32, _norm_rope(77, 4, 16, _F32)),
        _typed("more than 2²⁰ rows", True, _BF16, _norm_rope(_LARGE // 24, 24, 128, _BF16)),
    ],
    "norm_silu": [
        _typed("small", False, _F16, _norm_silu(333, 96, _F16)),
        _typed("odd width", False, _F32, _norm_silu(100, 37, _F32)),
        _typed("more than 2²⁰ rows", True, _F16, _norm_silu(_LARGE, 128, _F16)),
    ],
    "norm_mlp": [
        _typed("narrow", False, _F16, _norm_mlp(333, 64, _F16)),
        _typed("narrow", False, _BF16, _norm_mlp(200, 128, _BF16)),
        _typed("wide", False, _F16, _norm_mlp(100, 192, _F16)),
        _typed("odd width", False, _F32, _norm_mlp(50, 20, _F32)),
        _typed("more than 2²⁰ rows", True, _F16, _norm_mlp(_LARGE, 64, _F16)),
    ],
    "norm_linear": [
        _typed("small", False, _F32, _norm_linear(77, 64, 6, _F16)),
        _typed("odd width", False, _F32, _norm_linear(50, 37, 7, _F32)),
        _typed("more than 2²⁰ rows", True, _F32, _norm_linear(_LARGE, 64, 7, _F16)),
    ],
    "grid_sample": [
        _typed("trilinear", False, _F32, _grid_sample(24, 500, "trilinear", _F32)),
        _typed("nearest", False, _F32, _grid_sample(24, 500, "nearest", _F32)),
        _typed("trilinear", False, _F16, _grid_sample(24, 500, "trilinear", _F16)),
        _typed("more than 2²⁰ rows", True, _F32, _grid_sample(420, _LARGE // 2, "trilinear", _F32)),
    ],
    "refined_neighbor_map": [
        Case("small", False, EXACT, _refined_map(16)),
        Case("more than 2²⁰ rows", True, EXACT, _refined_map(216)),
    ],
    "sparse_conv_children": [
        _typed("128 to 64 channels", False, _F16, _conv_children(16, (128, 64), _F16)),
        _typed("20 to 12 channels", False, _F32, _conv_children(12, (20, 12), _F32)),
        _typed("more than 2²⁰ rows", True, _F16, _conv_children(300, (128, 64), _F16)),
    ],
    "child_coords": [
        Case("halves", False, EXACT, _child_coords(16, 2)),
        Case("thirds", False, EXACT, _child_coords(12, 3)),
        Case("more than 2²⁰ rows", True, EXACT, _child_coords(216, 2)),
    ],
    "child_skip": [
        _typed("small", False, _F16, _child_skip(20, (64, 32), _F16)),
        _typed("small", False, _F32, _child_skip(20, (24, 15), _F32)),
        _typed("more than 2²⁰ rows", True, _F16, _child_skip(300, (128, 64), _F16)),
    ],
    "quantize_rows": [
        Case("with GELU", False, _FP8, _quantize_rows(77, 96, True)),
        Case("odd width", False, _FP8, _quantize_rows(50, 37, False)),
        Case("more than 2²⁰ rows", True, _FP8, _quantize_rows(_LARGE, 128, False)),
    ],
    "widen_int8": [
        _typed("odd width", False, _BF16, _widen_int8((50, 37), _BF16)),
        _typed("more than 2²⁰ rows", True, _F16, _widen_int8((_LARGE, 16), _F16)),
    ],
    "fp8_linear": [
        Case("with GELU", False, _FP8, _fp8_linear(77, (96, 160), True)),
        Case("more than 2²⁰ rows", True, _FP8, _fp8_linear(_LARGE, (64, 96), False)),
    ],
    "linear_gelu": [
        _typed("small", False, _BF16, _linear_gelu(77, (96, 160), _BF16)),
        _typed("small", False, _F32, _linear_gelu(50, (40, 24), _F32)),
        _typed("more than 2²⁰ rows", True, _F16, _linear_gelu(_LARGE, (64, 96), _F16)),
    ],
}
"""By operation. An operation without cases cannot be tested, and its fast backends are reported as untested."""
