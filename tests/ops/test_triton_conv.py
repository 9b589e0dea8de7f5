"""Triton kernels of the sparse convolution against a float64 oracle that shares nothing with them.

The kernels run on a CUDA device, or on the CPU where triton interprets (`TRITON_INTERPRET=1`, see test_interpreted.py);
there they see fewer and smaller cases.
"""

from __future__ import annotations

import random

import pytest
import torch

from trellis2.ops import backends
from trellis2.ops.child_conv import add_child_skip_, add_child_skip_reference, child_cells, sparse_conv3d_children
from trellis2.ops.child_coords import child_coords, child_coords_reference
from trellis2.ops.conv_configs import ConvConfig
from trellis2.ops.neighbor_map import build_neighbor_map, find_neighbors, refine_neighbors
from trellis2.ops.neighborhood import Neighborhood
from trellis2.ops.sparse_conv import sparse_conv3d
from trellis2.ops.triton_support import interpreting

DEVICE = "cpu" if interpreting() else "cuda"
INTERPRETED = DEVICE == "cpu"
kernel = [] if INTERPRETED else [pytest.mark.gpu]
pytestmark = kernel
NUM_CASES = 5 if INTERPRETED else 220
CHANNELS = (1, 2, 3, 5, 8, 16, 17, 24, 31, 32, 33, 40, 63, 64, 65, 96, 128, 130, 200, 256, 300, 512, 700, 1024)
#: Relative L2 error: the inputs are exact, so what is left is the rounding of the result and of float32 sums.
TOLERANCE = {torch.float32: 5e-6, torch.float16: 5e-4, torch.bfloat16: 4e-3}


def oracle(feats, weight, bias, coords, dilation=(1, 1, 1)):
    """The definition, voxel by voxel offset, from coordinates alone, in float64. Differentiable."""
    size = coords.amax(0).tolist() if len(coords) else [0] * 4
    reach = [k // 2 * d for k, d in zip(weight.shape[1:4], dilation)]
    shape = [size[0] + 1, *(s + 1 + 2 * r for s, r in zip(size[1:], reach))]
    grid = torch.full(shape, -1, dtype=torch.long, device=coords.device)
    c = coords.long()
    grid[c[:, 0], c[:, 1] + reach[0], c[:, 2] + reach[1], c[:, 3] + reach[2]] = torch.arange(
        len(c), device=coords.device
    )
    out = bias.double().expand(len(c), -1) if bias is not None else feats.new_zeros(len(c), weight.shape[0]).double()
    for k1 in range(weight.shape[1]):
        for k2 in range(weight.shape[2]):
            for k3 in range(weight.shape[3]):
                at = [c[:, 1 + i] + k * d for i, (k, d) in enumerate(zip((k1, k2, k3), dilation))]
                source = grid[c[:, 0], at[0], at[1], at[2]]
                rows = (source >= 0).nonzero().squeeze(1)
                out = out.index_add(0, rows, feats.double()[source[rows]] @ weight[:, k1, k2, k3].double().T)
    return out


def voxels(g, size, batch, density):
    coords = (torch.rand(batch, *size, generator=g) < density).nonzero().int()
    return coords[torch.randperm(len(coords), generator=g)].to(DEVICE)


def relative(a, b):
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm().clamp_min(1e-12)) if b.numel() else 0.0


def random_case(seed):
    pick = random.Random(seed)
    g = torch.Generator().manual_seed(seed)
    kernel_size = pick.choice([(3, 3, 3)] * 5 + [(1, 1, 1), (5, 5, 5), (1, 3, 5), (5, 1, 3)])
    dilation = pick.choice([(1, 1, 1)] * 4 + [(2, 2, 2), (1, 2, 3)])
    channels = [c for c in CHANNELS if c <= (40 if INTERPRETED else 1024)]
    ci, co = pick.choice(channels), pick.choice(channels)
    side = pick.choice([1, 2, 3] if INTERPRETED else [1, 2, 4, 9, 16])
    size = [side, max(1, side - 1), side + 1]
    coords = voxels(g, size, pick.choice([1, 2, 3]), pick.choice([0.0, 0.05, 0.3, 0.7, 1.0]))
    dtypes = [torch.float32, torch.float16, torch.bfloat16]
    dtype = pick.choice(dtypes[:2] if INTERPRETED else dtypes)  # the interpreter multiplies bfloat16 wrongly
    volume = kernel_size[0] * kernel_size[1] * kernel_size[2]
    feats = torch.randn(len(coords), ci, generator=g).to(DEVICE, dtype)
    weight = (torch.randn(co, *kernel_size, ci, generator=g) * (ci * volume) ** -0.5).to(DEVICE, dtype)
    bias = torch.randn(co, generator=g).to(DEVICE, dtype) if pick.random() < 0.7 else None
    return coords, feats, weight, bias, kernel_size, dilation


@pytest.mark.parametrize("seed", range(NUM_CASES))
def test_kernel_equals_the_oracle_forward_and_backward(seed):
    coords, feats, weight, bias, kernel_size, dilation = random_case(seed)
    hood = find_neighbors(coords, kernel_size, dilation)
    leaves = [t.requires_grad_() for t in (feats, weight, bias) if t is not None]
    out = sparse_conv3d(feats, weight, bias, hood, backend="triton")
    assert out.dtype == feats.dtype
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, out.dtype)
    grads = torch.autograd.grad(out, leaves, probe)
    exact = [t.detach().double().requires_grad_() for t in leaves]
    expected = oracle(exact[0], exact[1], exact[2] if bias is not None else None, coords, dilation)
    expected_grads = torch.autograd.grad(expected, exact, probe.double())
    for name, a, b in zip(
        ("output", "features", "weight", "bias"), (out, *grads), (expected, *expected_grads), strict=False
    ):
        assert relative(a, b) <= TOLERANCE[feats.dtype], (name, tuple(feats.shape), tuple(weight.shape))


@pytest.mark.parametrize("seed", range(2 if INTERPRETED else 12))
def test_kernel_map_equals_the_dictionary_of_rows(seed):
    pick, g = random.Random(seed), torch.Generator().manual_seed(seed)
    side = pick.choice([3, 5] if INTERPRETED else [2, 7, 30])
    coords = voxels(g, [side] * 3, pick.choice([1, 3]), pick.choice([0.1, 0.6, 1.0]))
    coords[:, 1:] += pick.choice([0, 1, 4097, 32767 - side])
    hood = find_neighbors(coords, (3, 3, 3))
    assert torch.equal(hood.table, build_neighbor_map(coords, (3, 3, 3)))
    present = (hood.table < len(coords)).int()
    assert torch.equal(hood.tap_masks(), (present << torch.arange(27, device=DEVICE)).sum(1, dtype=torch.int32))


@pytest.mark.parametrize(
    ("row", "message"), [([0, 1, 1, 1], "unique"), ([0, -1, 0, 0], "lie in"), ([0, 0, 0, 1 << 15], "lie")]
)
def test_kernel_map_refuses_what_the_reference_refuses(row, message):
    coords = torch.tensor([[0, 1, 1, 1], [0, 2, 1, 1], row], dtype=torch.int32, device=DEVICE)
    hood = find_neighbors(coords, (3, 3, 3))
    part = hood[1:]
    feats, weight = torch.ones(3, 4, device=DEVICE), torch.ones(4, 3, 3, 3, 4, device=DEVICE)
    for use in (
        lambda: sparse_conv3d(feats, weight, None, hood, backend="triton"),
        lambda: sparse_conv3d(feats, weight, None, part, backend="triton"),
        lambda: hood.table,
        lambda: hood.pairs(),
        hood.confirm,
    ):
        with pytest.raises(ValueError, match=message):
            use()


def children_of(coords, g, density=0.5):
    bits = torch.rand(len(coords), 8, generator=g).to(DEVICE) < density
    parents, places = torch.nonzero(bits, as_tuple=True)
    local = torch.stack([places & 1, places >> 1 & 1, places >> 2], 1).int()
    fine = torch.cat([coords[parents, :1], coords[parents, 1:] * 2 + local], 1)
    order = torch.randperm(len(fine), generator=g).to(DEVICE)
    return fine[order], parents[order], places[order]


def test_kernel_map_of_children_equals_a_map_built_anew():
    g = torch.Generator().manual_seed(3)
    coords = voxels(g, [3, 4, 3] if INTERPRETED else [9, 8, 10], 2, 0.5)
    fine, parents, places = children_of(coords, g)
    cells = child_cells(parents, places, len(coords))
    hood = refine_neighbors(find_neighbors(coords, (3, 3, 3)), fine, parents, cells)
    assert torch.equal(hood.table, build_neighbor_map(fine, (3, 3, 3)))


@pytest.mark.parametrize(("ci", "co"), [(16, 8), (9, 5)] if INTERPRETED else [(16, 8), (9, 5), (128, 64), (256, 128)])
def test_kernel_makes_the_channels_of_the_children_that_exist(ci, co):
    g = torch.Generator().manual_seed(4)
    coords = voxels(g, [4, 4, 4] if INTERPRETED else [20, 20, 20], 1, 0.4)
    _, parents, places = children_of(coords, g, 0.4)
    cells = child_cells(parents, places, len(coords))
    feats = torch.randn(len(coords), ci, generator=g).to(DEVICE)
    weight = (torch.randn(8 * co, 3, 3, 3, ci, generator=g) * (9 * ci) ** -0.5).to(DEVICE)
    bias = torch.randn(8 * co, generator=g).to(DEVICE)
    hood = find_neighbors(coords, (3, 3, 3))
    out = sparse_conv3d_children(feats, weight, bias, hood, cells, len(parents))
    wide = oracle(feats, weight, bias, coords).view(len(coords), 8, co)
    assert relative(out, wide[parents, places]) <= TOLERANCE[torch.float32]


@pytest.mark.parametrize("factor", [2, 3])
def test_kernel_names_the_coordinates_of_children(factor):
    g = torch.Generator().manual_seed(11)
    coords = voxels(g, [4, 3, 5], 2, 0.5)
    parents, places = torch.nonzero(torch.rand(len(coords), factor**3, generator=g).to(DEVICE) < 0.3, as_tuple=True)
    expected = child_coords_reference(coords, parents, places, factor)
    assert torch.equal(child_coords(coords, parents, places, factor), expected)
    assert child_coords(coords, parents[:0], places[:0], factor).shape == (0, 4)


def test_kernel_adds_the_skip_of_children():
    g = torch.Generator().manual_seed(5)
    coords = voxels(g, [4, 4, 4], 1, 0.5)
    _, parents, places = children_of(coords, g)
    feats = torch.randn(len(coords), 24, generator=g).to(DEVICE)
    out = torch.randn(len(parents), 15, generator=g).to(DEVICE)
    expected = add_child_skip_reference(out.clone(), feats, parents, places)
    torch.testing.assert_close(add_child_skip_(out.clone(), feats, parents, places), expected)


def test_kernel_repeats_bit_for_bit_and_does_not_depend_on_the_order_of_rows():
    g = torch.Generator().manual_seed(6)
    coords = voxels(g, [4, 4, 4] if INTERPRETED else [30, 30, 30], 1, 0.4)
    feats = torch.randn(len(coords), 24, generator=g).to(DEVICE)
    weight = (torch.randn(20, 3, 3, 3, 24, generator=g) * 0.05).to(DEVICE)
    first = _forward_backward(coords, feats, weight)
    for a, b in zip(first, _forward_backward(coords, feats, weight)):
        assert torch.equal(a, b)
    order = torch.randperm(len(coords), generator=g).to(DEVICE)
    shuffled = _forward_backward(coords[order], feats[order], weight)
    assert torch.equal(shuffled[0], first[0][order])


def _forward_backward(coords, feats, weight):
    leaves = [feats.clone().requires_grad_(), weight.clone().requires_grad_()]
    out = sparse_conv3d(leaves[0], leaves[1], None, find_neighbors(coords, (3, 3, 3)), backend="triton")
    return out.detach(), *torch.autograd.grad(out, leaves, torch.sin(out.detach() * 100))


def test_kernel_serves_some_rows_of_the_map():
    g = torch.Generator().manual_seed(7)
    coords = voxels(g, [5, 5, 5], 1, 0.5)
    feats = torch.randn(len(coords), 16, generator=g).to(DEVICE)
    weight = torch.randn(16, 3, 3, 3, 16, generator=g).to(DEVICE) * 0.1
    hood = find_neighbors(coords, (3, 3, 3))
    whole = sparse_conv3d(feats, weight, None, hood, backend="triton")
    assert torch.equal(sparse_conv3d(feats, weight, None, hood[7:21], backend="triton"), whole[7:21])


@pytest.mark.parametrize(("ci", "groups", "slices"), [(24, 1, 2), (70, 1, 4), (130, 3, 2), (16, 3, 8)])
@pytest.mark.parametrize("bk", [16, 32])
def test_kernel_gives_a_row_the_same_bits_in_any_tile(ci, groups, slices, bk):
    """The pieces of a sum are cut where its taps and channels are, not where those of the tile are."""
    from trellis2.ops.triton_conv import conv_rows

    g = torch.Generator().manual_seed(15)
    coords = voxels(g, [7, 6, 5], 1, 0.25)
    feats = torch.randn(len(coords), ci, generator=g).to(DEVICE)
    weight = (torch.randn(16, 27, ci, generator=g) * 0.1).to(DEVICE)
    hood = find_neighbors(coords, (3, 3, 3))
    config = ConvConfig(32, 16, bk, 2, 4, groups, slices)
    whole = conv_rows(feats, weight, None, hood, config=config)
    exact = oracle(feats, weight.unflatten(1, (3, 3, 3)), None, coords)
    assert relative(whole, exact) <= TOLERANCE[torch.float32]
    for rows in (slice(0, 1), slice(3, 8), slice(20, 45)):
        other = config if INTERPRETED else config._replace(bk=48 - bk)  # NumPy sums 16 and 32 terms differently
        assert torch.equal(conv_rows(feats, weight, None, hood[rows], config=other), whole[rows])


@pytest.mark.skipif(INTERPRETED, reason="a million rows take hours when interpreted")
def test_more_rows_than_two_to_the_twenty():
    g = torch.Generator().manual_seed(8)
    coords = voxels(g, [128, 128, 128], 1, 0.62)
    assert len(coords) > 1 << 20
    feats = torch.randn(len(coords), 32, generator=g).to(DEVICE, torch.float16).requires_grad_()
    weight = (torch.randn(32, 3, 3, 3, 32, generator=g) * 0.05).to(DEVICE, torch.float16).requires_grad_()
    hood = find_neighbors(coords, (3, 3, 3))
    out = sparse_conv3d(feats, weight, None, hood, backend="triton")
    probe = out.detach() / 1024  # sums of a million products must stay within float16
    grads = torch.autograd.grad(out, (feats, weight), probe)
    exact = [t.detach().double().requires_grad_() for t in (feats, weight)]
    expected = oracle(*exact, None, coords)
    expected_grads = torch.autograd.grad(expected, exact, probe.double())
    for a, b in zip((out, *grads), (expected, *expected_grads)):
        assert relative(a, b) <= TOLERANCE[torch.float16]
        if a is not grads[1]:
            worst = (a.detach().double() - b.detach()).norm(dim=1) / b.detach().norm(dim=1).clamp_min(1e-6)
            assert float(worst.max()) < 0.02  # no single row is lost in the norm


@pytest.mark.skipif(INTERPRETED, reason="needs 10 GB of device memory")
def test_offsets_past_two_to_the_thirty_one():
    """2.4 M rows of 1024 channels: the last rows lie beyond 2^31 elements."""
    rows, channels = (1 << 21) + (1 << 18), 1024
    z = torch.arange(rows, dtype=torch.int32, device=DEVICE)
    coords = torch.stack([torch.zeros_like(z), z >> 14, torch.zeros_like(z), z & 16383], 1)
    feats = torch.zeros(rows, channels, device=DEVICE, dtype=torch.float16)
    feats[-300:] = torch.randn(300, channels, generator=torch.Generator().manual_seed(9)).to(DEVICE, torch.float16)
    weight = (torch.randn(1024, 1, 1, 3, channels, generator=torch.Generator().manual_seed(10)) * 0.02).to(
        DEVICE, torch.float16
    )
    hood = Neighborhood(build_neighbor_map(coords, (1, 1, 3)))
    out = sparse_conv3d(feats, weight, None, hood, backend="triton")
    tail = slice(rows - 400, rows)
    expected = oracle(feats[tail], weight, None, coords[tail])
    assert relative(out[tail][100:], expected[100:]) <= TOLERANCE[torch.float16]
    assert not out[: rows - 400].any()


def _arrangement_of(coords, groups):
    from trellis2.ops.triton_neighbors import arrange

    hood = find_neighbors(coords, (3, 3, 3))
    return hood, arrange(hood, 32, groups)


@pytest.mark.parametrize("groups", [1, 3])
def test_kernel_orders_every_row_once_and_lists_the_taps_of_each_half(groups):
    coords = voxels(torch.Generator().manual_seed(12), [5, 5, 4], 1, 0.5)
    hood, found = _arrangement_of(coords, groups)
    n = len(coords)
    order = found.order.view(groups, -1, 32).cpu()
    neighbors = found.neighbors.view(27, -1, 32).cpu()
    table = torch.cat([hood.table, hood.table.new_full((1, 27), n)]).cpu()  # row −1: nothing
    for g in range(groups):
        assert sorted(order[g].flatten()[order[g].flatten() >= 0].tolist()) == list(range(n))
        for tile in range(order.shape[1]):
            wanted = []
            for v in range(9 * g, 9 * g + 9) if groups == 3 else range(27):
                rows = table[order[g, tile].long(), v]
                assert torch.equal(torch.where(rows < n, rows, -1), neighbors[v, tile])
                halves = sum(1 << h for h in range(2) if (rows[16 * h : 16 * h + 16] < n).any())
                if halves:
                    wanted.append(v | halves << 16)
            assert found.taps[g, tile, : int(found.counts[g, tile])].tolist() == wanted


def test_kernel_schedules_the_heaviest_tiles_first():
    from trellis2.ops.triton_neighbors import _heaviest_first

    counts = torch.randint(0, 6, (2, 150), generator=torch.Generator().manual_seed(13), dtype=torch.int32).to(DEVICE)
    expected = torch.sort(counts, dim=1, descending=True, stable=True).indices
    assert torch.equal(_heaviest_first(counts).long(), expected)
    assert _heaviest_first(counts.new_zeros(1, 5000)) is None


def test_kernel_pairs_join_every_row_with_its_neighbours():
    coords = voxels(torch.Generator().manual_seed(14), [5, 5, 4], 1, 0.5)
    hood = find_neighbors(coords, (3, 3, 3))
    pairs = hood.pairs()
    taps, rows = torch.nonzero((hood.table < len(coords)).T.contiguous(), as_tuple=True)
    assert torch.equal(pairs.rows_out.long(), rows) and torch.equal(pairs.rows_in, hood.table[rows, taps])
    table, first = hood.work_items(7)
    assert table.shape[1] == int(first[-1]) and int((table[1] - table[0]).max()) <= 7
    assert torch.cat([torch.arange(a, b) for a, b in table.T.tolist()]).tolist() == list(range(pairs.starts[-1]))
    bounds = [int(table[0, i]) if i < table.shape[1] else pairs.starts[-1] for i in first.tolist()]
    assert bounds == list(pairs.starts)


@pytest.mark.parametrize(("rows", "channels"), [(0, 5), (1, 1), (130, 7), (1100, 300)])
def test_kernel_sums_columns(rows, channels):
    from trellis2.ops.triton_conv import column_sums

    x = torch.randn(rows, channels, generator=torch.Generator().manual_seed(16)).to(DEVICE, torch.float16)
    torch.testing.assert_close(column_sums(x).double(), x.double().sum(0), rtol=1e-6, atol=1e-4)


def test_kernel_is_the_choice_for_the_device():
    assert backends.backends("sparse_conv")[0].name == "triton"
    assert backends.backends("sparse_conv")[0].reason(torch.device(DEVICE)) is None
