"""Flexible dual grid -> mesh: published vectors, hand-worked example, gradients, bad input."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from o_voxel._native import native_module
from o_voxel.convert import flexible_dual_grid_to_mesh

UNIT = [[-0.5, -0.5, -0.5], [0.5, 0.5, 0.5]]
needs_native = pytest.mark.skipif(native_module() is None, reason="the compiled core is not built")
BACKENDS = [pytest.param("native", marks=needs_native), "reference"]


def two_cube(dtype=torch.float32):
    """Eight voxels, row = 4x + 2y + z, three flags on row 0."""
    coords = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], dtype=torch.int32)
    dual = torch.full((8, 3), 0.5, dtype=dtype)
    dual[0] = torch.tensor([0.2, 0.3, 0.4])
    dual[3] = torch.tensor([0.9, 0.1, 0.7])
    flags = torch.zeros(8, 3, dtype=torch.bool)
    flags[0] = True
    return coords, dual, flags, torch.arange(1, 9, dtype=dtype)[:, None]


@pytest.mark.parametrize("backend", BACKENDS)
def test_published_vectors(vectors_dir, backend):
    data = np.load(vectors_dir / "o_voxel" / "fdg_to_mesh.npz")
    t = {key: torch.from_numpy(data[key]) for key in data.files}
    run = partial(
        flexible_dual_grid_to_mesh, t["coords"], t["dual_vertices_u8"].float() / 255, t["intersected"],
        aabb=UNIT, grid_size=int(t["grid_size"]), backend=backend,
    )  # fmt: skip
    vertices, triangles = run(split_weight=None, quirks="published")
    torch.testing.assert_close(vertices, t["vertices"], atol=1e-6, rtol=0)
    assert torch.equal(triangles, t["triangles_no_weight"])
    assert torch.equal(run(split_weight=t["split_weight"])[1], t["triangles_split_weight"])
    vertices, triangles = run(split_weight=t["split_weight"], train=True)
    torch.testing.assert_close(vertices, t["train_vertices"], atol=1e-6, rtol=0)
    assert torch.equal(triangles.long(), t["train_triangles"].long())


@pytest.mark.parametrize("backend", BACKENDS)
def test_worked_example(backend):
    *grid, weight = two_cube()
    run = partial(flexible_dual_grid_to_mesh, *grid, aabb=[[0, 0, 0], [2, 2, 2]], grid_size=2, backend=backend)
    _, triangles = run(weight)
    assert triangles.tolist() == [[0, 1, 2], [2, 1, 3], [0, 4, 1], [1, 4, 5], [0, 2, 4], [4, 2, 6]]
    _, triangles = run(None, quirks="published")
    assert triangles.tolist() == [[0, 1, 3], [0, 3, 2], [0, 4, 5], [0, 5, 1], [0, 2, 6], [0, 6, 4]]
    vertices, triangles = run(weight, train=True)
    centers = [[0.52, 0.88, 1.02], [0.94375, 0.4625, 0.98125], [0.95227277, 0.96818179, 0.48409089]]
    torch.testing.assert_close(vertices[8:], torch.tensor(centers))
    assert triangles[:4].tolist() == [[0, 1, 8], [1, 3, 8], [3, 2, 8], [2, 0, 8]]
    assert triangles.dtype == torch.int32 and run(weight, train=True, quirks="published")[1].dtype == torch.int64


@pytest.mark.parametrize(("lifted", "diagonal"), [(1, {0, 3}), (2, {0, 3}), (0, {1, 2}), (3, {1, 2})])
def test_flatter_diagonal_is_chosen(lifted, diagonal):
    """Of a flat quad with one corner lifted, that corner is cut off."""
    coords, dual, flags, _ = two_cube()
    flags[0] = torch.tensor([True, False, False])  # quad of rows 0, 1, 3, 2
    dual[:] = 0.5
    dual[lifted, 0] = 0.9
    _, triangles = flexible_dual_grid_to_mesh(coords, dual, flags, None, [[0, 0, 0], [2, 2, 2]], grid_size=2)
    assert set(triangles[0].tolist()) & set(triangles[1].tolist()) == diagonal


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients(backend):
    coords, dual, flags, weight = two_cube(torch.float64)
    run = partial(flexible_dual_grid_to_mesh, coords, aabb=[[0, 0, 0], [2, 2, 2]], grid_size=2, backend=backend)

    def vertices(d, w):
        return run(dual_vertices=d, intersected_flag=flags, split_weight=w, train=True)[0]

    assert torch.autograd.gradcheck(vertices, (dual.requires_grad_(), weight.requires_grad_()))
    run(dual_vertices=dual, intersected_flag=flags, split_weight=weight)[0].sum().backward()
    assert torch.equal(dual.grad, torch.ones_like(dual))


def random_grid(seed, count=(2, 6, 4), voxels=60, dtype=torch.float32):
    """Distinct voxels in random order with random vertices, flags and weights."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor(count).expand(3)
    coords = torch.unique((torch.rand(voxels, 3, generator=generator) * size).int(), dim=0)
    coords = coords[torch.randperm(len(coords), generator=generator)]
    dual = torch.rand(len(coords), 3, generator=generator, dtype=dtype)
    flags = torch.rand(len(coords), 3, generator=generator) < 0.5
    weight = torch.rand(len(coords), 1, generator=generator, dtype=dtype) + 0.1
    return coords, dual, flags, weight


FORMS = ["weights", "flatter", "published", "training"]


def convert(grid, form, count, **options):
    """Vertices, triangles and the gradients of a fixed weighted sum of the vertices."""
    coords, dual, flags, weight = grid
    leaves = dual.clone().requires_grad_(), weight.clone().requires_grad_()
    vertices, triangles = flexible_dual_grid_to_mesh(
        coords, leaves[0], flags, leaves[1] if form in ("weights", "training") else None, UNIT, grid_size=count,
        train=form == "training", quirks="published" if form == "published" else None, **options,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    vertices.backward(torch.randn(vertices.shape, generator=generator, dtype=vertices.dtype).to(vertices.device))
    return [t.detach().cpu() for t in (vertices, triangles, leaves[0].grad) if t is not None] + (
        [leaves[1].grad.cpu()] if form == "training" else []
    )


@needs_native
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), form=st.sampled_from(FORMS), dtype=st.sampled_from([torch.float32, torch.float64]))
def test_all_forms_equal_the_reference(seed, form, dtype):
    grid = random_grid(seed, dtype=dtype)
    native, reference = (convert(grid, form, (2, 6, 4), backend=b) for b in ("native", "reference"))
    assert torch.equal(native[0], reference[0]) and torch.equal(native[1], reference[1])
    for a, b in zip(native[2:], reference[2:], strict=True):  # up to 12 terms, in another order
        torch.testing.assert_close(a, b, rtol=1e-4 if dtype == torch.float32 else 1e-10, atol=1e-5)


@needs_native
def test_flat_surfaces_are_cut_alike():
    """On a plane both diagonals are equally flat: rounding decides, and must decide alike."""
    x, y = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    coords = torch.stack([x, y, torch.full_like(x, 3)], -1).reshape(-1, 3).int()
    dual = torch.rand(len(coords), 3, generator=torch.Generator().manual_seed(0))
    dual[:, 2] = 0.3
    flags = torch.zeros(len(coords), 3, dtype=torch.bool)
    flags[:, 2] = True
    grid = coords, dual, flags, torch.ones(len(coords), 1)
    assert torch.equal(
        convert(grid, "flatter", 40, backend="native")[1], convert(grid, "flatter", 40, backend="reference")[1]
    )


@needs_native
def test_result_does_not_depend_on_threads(monkeypatch):
    grid = random_grid(5, 64, 40_000)
    results = []
    for threads in ("1", "5"):
        monkeypatch.setenv("OVOXEL_NUM_THREADS", threads)
        results.append(convert(grid, "training", 64, backend="native"))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@needs_native
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.sampled_from([1, 3, 5, (2, 6, 4), 2048]))
def test_native_equals_reference(seed, count):
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor(count).expand(3)
    low = torch.randint(0, 2, (1,), generator=generator) * (size - 6).clamp(min=0)  # also the far corner
    coords = low + (torch.rand(60, 3, generator=generator) * (size - low).clamp(max=6)).long()
    coords = torch.unique(coords, dim=0).int()
    coords = coords[torch.randperm(len(coords), generator=generator)]
    dual = torch.rand(len(coords), 3, generator=generator)
    flags = torch.rand(len(coords), 3, generator=generator) < 0.5
    box = [[0, 0, 0], size.tolist()]
    results = [
        flexible_dual_grid_to_mesh(coords, dual, flags, None, box, grid_size=count, backend=b)
        for b in ("native", "reference")
    ]
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    rows = {tuple(c): i for i, c in enumerate(coords.tolist())}
    complete = 0
    for voxel, axis in flags.nonzero().tolist():
        others = [a for a in range(3) if a != axis]
        cells = [list(coords[voxel].tolist()) for _ in range(4)]
        for i, cell in enumerate(cells):
            cell[others[0]] += i & 1
            cell[others[1]] += i >> 1
        complete += all(tuple(cell) in rows for cell in cells)
    assert len(results[0][1]) == 2 * complete


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("train", [False, True])
def test_empty_grid(backend, train):
    vertices, triangles = flexible_dual_grid_to_mesh(
        torch.zeros(0, 3, dtype=torch.int32), torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.bool),
        torch.ones(0, 1), UNIT, grid_size=8, train=train, backend=backend,
    )  # fmt: skip
    assert vertices.shape == (0, 3) and triangles.shape == (0, 3)


def test_half_precision_is_widened():
    coords, dual, flags, weight = two_cube()
    far = coords + 1000
    vertices, _ = flexible_dual_grid_to_mesh(
        far, dual.half(), flags, weight.half(), [[0, 0, 0], [1024, 1024, 1024]], grid_size=1024, train=True
    )
    torch.testing.assert_close(vertices[:8], far + dual.half().float())


def test_wide_coordinates_do_not_wrap():
    coords, dual, flags, _ = two_cube()
    with pytest.raises(ValueError, match="grid_size"):
        flexible_dual_grid_to_mesh(coords.long() + 2**32, dual, flags, None, [[0, 0, 0], [2, 2, 2]], grid_size=2)


def test_voxel_size_wins():
    *grid, _ = two_cube()
    vertices, _ = flexible_dual_grid_to_mesh(*grid, None, [[0, 0, 0], [4, 4, 4]], voxel_size=1, grid_size=2)
    torch.testing.assert_close(vertices[7], torch.full((3,), 1.5))


@pytest.mark.gpu
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("voxels", "count", "dtype"),
    [
        (0, 8, torch.float32),
        (1, 1, torch.float32),
        (500, 8, torch.float64),
        (3000, (2048, 3, 4), torch.float32),
        (2_000_000, 120, torch.float32),  # more than 2^20 rows
    ],
)
def test_cuda_equals_cpu_bit_by_bit(form, voxels, count, dtype):
    grid = random_grid(voxels, count, voxels, dtype)
    cpu, cuda, again = (convert([t.to(d) for t in grid], form, count) for d in ("cpu", "cuda", "cuda"))
    for a, b, c in zip(cpu, cuda, again, strict=True):
        assert torch.equal(a, b) and torch.equal(b, c)


@pytest.mark.gpu
def test_cuda_gradients():
    coords, dual, flags, weight = (t.cuda() for t in two_cube(torch.float64))

    def vertices(d, w):
        return flexible_dual_grid_to_mesh(coords, d, flags, w, [[0, 0, 0], [2, 2, 2]], grid_size=2, train=True)[0]

    assert torch.autograd.gradcheck(vertices, (dual.requires_grad_(), weight.requires_grad_()))


@pytest.mark.gpu
def test_cuda_runs_on_the_current_stream():
    grid = [t.cuda() for t in random_grid(1, 32, 20_000)]
    expected = convert(grid, "weights", 32)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        got = convert(grid, "weights", 32)
    stream.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("row", "message"), [([0, 0, 0], "unique"), ([9, 0, 0], "grid_size"), ([0, -1, 0], "grid_size")]
)
def test_cuda_refuses_bad_coordinates(row, message):
    coords, dual, flags, _ = (t.cuda() for t in two_cube())
    coords[7] = torch.tensor(row)
    with pytest.raises(ValueError, match=message):
        flexible_dual_grid_to_mesh(coords, dual, flags, None, [[0, 0, 0], [2, 2, 2]], grid_size=2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(8, 3, dtype=torch.int32), "unique"),
        (0, torch.full((8, 3), 2, dtype=torch.int32), "grid_size"),
        (0, torch.full((8, 3), -1, dtype=torch.int32), "grid_size"),
        (0, torch.zeros(8, 3), "integer"),
        (1, torch.zeros(7, 3), "dual_vertices must have shape"),
        (1, torch.zeros(8, 3, dtype=torch.int32), "float"),
        (2, torch.zeros(8, 1, dtype=torch.bool), "intersected_flag must have shape"),
        (3, torch.ones(7, 1), "split_weight must have shape"),
    ],
)
def test_bad_input_is_refused(position, value, message, backend):
    arguments = list(two_cube())
    arguments[position] = value
    with pytest.raises(ValueError, match=message):
        flexible_dual_grid_to_mesh(*arguments, [[0, 0, 0], [2, 2, 2]], grid_size=2, backend=backend)


def test_training_needs_weights():
    *grid, _ = two_cube()
    with pytest.raises(ValueError, match="split_weight"):
        flexible_dual_grid_to_mesh(*grid, None, [[0, 0, 0], [2, 2, 2]], grid_size=2, train=True)
    with pytest.raises(ValueError, match="aabb"):
        flexible_dual_grid_to_mesh(*grid, None, None, grid_size=2)
    with pytest.raises(TypeError, match="coords"):
        flexible_dual_grid_to_mesh(grid[0].numpy(), *grid[1:], None, UNIT, grid_size=2)
