"""
Native core of o_voxel. Arrays cross as DLPack / buffer views; the GIL is released in long calls.
"""

from collections.abc import Sequence
from typing import Annotated, overload

import numpy
from numpy.typing import NDArray

with_cuda: bool = True

def mesh_to_dual_grid(
    vertices: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    voxel_size: Sequence[float],
    grid_size: Sequence[int],
    face_weight: float,
    boundary_weight: float,
    regularization_weight: float,
    odd_crossings: bool,
    published: bool,
) -> tuple:
    """Box-relative mesh -> (coords int32, dual vertices float32, flags uint8), each [N, 3]."""

def textured_triangles_to_attr(
    triangles: Annotated[NDArray[numpy.float32], "shape (None, 3, 3)"],
    normals: Annotated[NDArray[numpy.float32], "shape (None, 3, 3)"],
    uvs: Annotated[NDArray[numpy.float32], "shape (None, 3, None, 2)"],
    colors: Annotated[NDArray[numpy.float32], "shape (None, 3, 4)"],
    material_ids: Annotated[NDArray[numpy.int32], "shape (None,)"],
    factors: Annotated[NDArray[numpy.float64], "shape (None, 10)"],
    slots: Annotated[NDArray[numpy.int32], "shape (None, 13)"],
    textures: list,
    srgb_steps: Annotated[NDArray[numpy.float64], "shape (255)"],
    srgb_guess: Annotated[NDArray[numpy.uint8], "shape (4096)"],
    voxel_size: Sequence[float],
    grid_size: Sequence[int],
    mip_level_offset: float,
    published: bool,
) -> tuple:
    """
    Textured triangles -> (coords int32 [N, 3], uint8 arrays: base colour [N, 3], metallic [N, 1], roughness,
    emissive [N, 3], alpha, normal [N, 3]).
    """

def mip_levels(
    image: Annotated[NDArray[numpy.uint8], "shape (None, None, None)"],
    decode: Annotated[NDArray[numpy.float32], "shape (256)"],
    encode: Annotated[NDArray[numpy.uint8], "shape (65536)"] | None,
) -> list:
    """Halvings of an image uint8 [H, W, C] down to one texel, a list of arrays; encode: sRGB table or None."""

def mesh_to_dual_grid_cuda(
    vertices: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    voxel_size: Sequence[float],
    grid_size: Sequence[int],
    face_weight: float,
    boundary_weight: float,
    regularization_weight: float,
    odd_crossings: bool,
    published: bool,
    chunk_work: int,
    launch: tuple,
) -> tuple:
    """mesh_to_dual_grid on a GPU -> (N, bytes of the coords, dual vertices and flags)."""

def textured_triangles_to_attr_cuda(
    triangles: Annotated[NDArray[numpy.float32], "shape (None, 3, 3)"],
    normals: Annotated[NDArray[numpy.float32], "shape (None, 3, 3)"],
    uvs: Annotated[NDArray[numpy.float32], "shape (None, 3, None, 2)"],
    colors: Annotated[NDArray[numpy.float32], "shape (None, 3, 4)"],
    material_ids: Annotated[NDArray[numpy.int32], "shape (None,)"],
    factors: Annotated[NDArray[numpy.float64], "shape (None, 10)"],
    slots: Annotated[NDArray[numpy.int32], "shape (None, 13)"],
    textures: list,
    srgb_steps: Annotated[NDArray[numpy.float64], "shape (255)"],
    srgb_guess: Annotated[NDArray[numpy.uint8], "shape (4096)"],
    voxel_size: Sequence[float],
    grid_size: Sequence[int],
    mip_level_offset: float,
    published: bool,
    chunk_work: int,
    launch: tuple,
) -> tuple:
    """textured_triangles_to_attr on a GPU -> (N, bytes of the coords, bytes of each array)."""

def mip_levels_cuda(
    image: Annotated[NDArray[numpy.uint8], "shape (None, None, None)"],
    decode: Annotated[NDArray[numpy.float32], "shape (256)"],
    encode: Annotated[NDArray[numpy.uint8], "shape (65536)"] | None,
    launch: tuple,
) -> list:
    """mip_levels on a GPU -> list of the levels' bytes."""

@overload
def dual_mesh(
    coords: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    local: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    flags: Annotated[NDArray[numpy.bool_], "shape (None, 3)"],
    weight: Annotated[NDArray[numpy.float32], "shape (None,)"] | None,
    voxel_size: Sequence[float],
    origin: Sequence[float],
    grid_size: Sequence[int],
    split: int,
    train: bool,
) -> tuple: ...
@overload
def dual_mesh(
    coords: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    local: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    flags: Annotated[NDArray[numpy.bool_], "shape (None, 3)"],
    weight: Annotated[NDArray[numpy.float64], "shape (None,)"] | None,
    voxel_size: Sequence[float],
    origin: Sequence[float],
    grid_size: Sequence[int],
    split: int,
    train: bool,
) -> tuple:
    """
    coords int32 [N, 3], local [N, 3], flags bool [N, 3], weight [N] or None -> (number of quads, bytes of
    vertices [N, 3] and triangles int32 [2L, 3]); with train [N+L, 3] and [4L, 3] and what dual_mesh_backward
    takes.
    """

@overload
def dual_mesh_backward(
    coords: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    weight: Annotated[NDArray[numpy.float32], "shape (None,)"],
    vertices: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    quads: Annotated[NDArray[numpy.int32], "shape (None, 4)"],
    first: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    complete: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    slots: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    grad_vertices: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    voxel_size: Sequence[float],
    grid_size: Sequence[int],
) -> tuple: ...
@overload
def dual_mesh_backward(
    coords: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    weight: Annotated[NDArray[numpy.float64], "shape (None,)"],
    vertices: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    quads: Annotated[NDArray[numpy.int32], "shape (None, 4)"],
    first: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    complete: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    slots: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    grad_vertices: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    voxel_size: Sequence[float],
    grid_size: Sequence[int],
) -> tuple:
    """Gradients of the training form: bytes of those by local [N, 3] and weight [N]."""

@overload
def dual_mesh_cuda(
    coords: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    local: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    flags: Annotated[NDArray[numpy.bool_], "shape (None, 3)"],
    weight: Annotated[NDArray[numpy.float32], "shape (None,)"] | None,
    voxel_size: Sequence[float],
    origin: Sequence[float],
    grid_size: Sequence[int],
    split: int,
    train: bool,
    launch: tuple,
) -> tuple: ...
@overload
def dual_mesh_cuda(
    coords: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    local: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    flags: Annotated[NDArray[numpy.bool_], "shape (None, 3)"],
    weight: Annotated[NDArray[numpy.float64], "shape (None,)"] | None,
    voxel_size: Sequence[float],
    origin: Sequence[float],
    grid_size: Sequence[int],
    split: int,
    train: bool,
    launch: tuple,
) -> tuple:
    """dual_mesh on a GPU."""

@overload
def dual_mesh_backward_cuda(
    coords: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    weight: Annotated[NDArray[numpy.float32], "shape (None,)"],
    vertices: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    quads: Annotated[NDArray[numpy.int32], "shape (None, 4)"],
    first: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    complete: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    slots: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    grad_vertices: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    voxel_size: Sequence[float],
    grid_size: Sequence[int],
    launch: tuple,
) -> tuple: ...
@overload
def dual_mesh_backward_cuda(
    coords: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    weight: Annotated[NDArray[numpy.float64], "shape (None,)"],
    vertices: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    quads: Annotated[NDArray[numpy.int32], "shape (None, 4)"],
    first: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    complete: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    slots: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    grad_vertices: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    voxel_size: Sequence[float],
    grid_size: Sequence[int],
    launch: tuple,
) -> tuple:
    """dual_mesh_backward on a GPU."""

def curve_encode(coords: Annotated[NDArray[numpy.int32], "shape (None, 3)"], hilbert: bool, bits: int) -> object:
    """int32 [N, 3] -> bytes of codes [N]: int32 for up to 10 bits an axis, else int64."""

@overload
def curve_decode(codes: Annotated[NDArray[numpy.int32], "shape (None,)"], hilbert: bool, bits: int) -> object: ...
@overload
def curve_decode(codes: Annotated[NDArray[numpy.int64], "shape (None,)"], hilbert: bool, bits: int) -> object:
    """int32 or int64 codes [N] -> bytes of int32 [N, 3]."""

@overload
def curve_decode_cuda(
    codes: Annotated[NDArray[numpy.int32], "shape (None,)"], hilbert: bool, bits: int, launch: tuple
) -> object: ...
@overload
def curve_decode_cuda(
    codes: Annotated[NDArray[numpy.int64], "shape (None,)"], hilbert: bool, bits: int, launch: tuple
) -> object:
    """curve_decode on a GPU."""

def curve_encode_cuda(
    coords: Annotated[NDArray[numpy.int32], "shape (None, 3)"], hilbert: bool, bits: int, launch: tuple
) -> object:
    """curve_encode on a GPU."""

def decode_octree(data: bytes, depth: int, max_leaves: int) -> Annotated[NDArray[numpy.int32], "shape (None,)"]:
    """Leaf codes int32 [N], ascending, of pre-order octree bytes; ValueError on malformed bytes."""

def voxel_table(coords: Annotated[NDArray[numpy.int32], "shape (None, 4)"], size: tuple[int, int, int, int]) -> object:
    """Look-up table of coords int32 [N, 4] (batch, x, y, z) in size (batches, x, y, z), as bytes."""

def sample_sparse(
    feats: Annotated[NDArray[numpy.float32], "shape (None, None)"],
    coords: Annotated[NDArray[numpy.int32], "shape (None, 4)"],
    slots: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    size: tuple[int, int, int, int],
    points: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    nearest: bool,
    truncate: bool,
    normalize: bool,
) -> object:
    """Sample feats [N, C] at points [B * L, 3]: bytes of [B * L, C]."""

def sample_sparse_backward(
    grad_out: Annotated[NDArray[numpy.float32], "shape (None, None)"],
    coords: Annotated[NDArray[numpy.int32], "shape (None, 4)"],
    slots: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    size: tuple[int, int, int, int],
    points: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    nearest: bool,
    truncate: bool,
    normalize: bool,
) -> object:
    """Gradient by feats from grad_out [B * L, C]: bytes of float32 [N, C]."""

def voxel_table_cuda(
    coords: Annotated[NDArray[numpy.int32], "shape (None, 4)"], size: tuple[int, int, int, int], launch: tuple
) -> object:
    """voxel_table on a GPU."""

def sample_sparse_cuda(
    feats: Annotated[NDArray, "shape (None, None)"],
    coords: Annotated[NDArray[numpy.int32], "shape (None, 4)"],
    slots: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    size: tuple[int, int, int, int],
    points: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    nearest: bool,
    truncate: bool,
    normalize: bool,
    launch: tuple,
) -> object:
    """sample_sparse on a GPU; features float32, float16 or bfloat16, results alike."""

def sample_sparse_backward_cuda(
    grad_out: Annotated[NDArray, "shape (None, None)"],
    coords: Annotated[NDArray[numpy.int32], "shape (None, 4)"],
    slots: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    size: tuple[int, int, int, int],
    points: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    nearest: bool,
    truncate: bool,
    normalize: bool,
    ordered: bool,
    launch: tuple,
) -> object:
    """sample_sparse_backward on a GPU; `ordered` sums in one order, else with atomics."""

def rasterize(
    pos: Annotated[NDArray[numpy.float32], "shape ..."],
    tri: Annotated[NDArray[numpy.int32], "shape ..."],
    rast: Annotated[NDArray[numpy.float32], "shape ..."],
    db: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    peel: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    ranges: Annotated[NDArray[numpy.int32], "shape ..."] | None,
    launch: tuple | None,
) -> None:
    """Draw pos [B or 1,V,4], tri [F,3] (rows by ranges [B,2], on CPU) into rast and db [B,H,W,4]."""

def rasterize_grad(
    pos: Annotated[NDArray[numpy.float32], "shape ..."],
    tri: Annotated[NDArray[numpy.int32], "shape ..."],
    rast: Annotated[NDArray[numpy.float32], "shape ..."],
    grad_rast: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    grad_db: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    grad_pos: Annotated[NDArray[numpy.float32], "shape ..."],
    launch: tuple | None,
) -> None:
    """Add to grad_pos, shaped like pos [B or 1,V,4]."""

def interpolate(
    attr: Annotated[NDArray[numpy.float32], "shape ..."],
    tri: Annotated[NDArray[numpy.int32], "shape ..."],
    rast: Annotated[NDArray[numpy.float32], "shape ..."],
    db: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    chosen: Annotated[NDArray[numpy.int32], "shape ..."],
    out: Annotated[NDArray[numpy.float32], "shape ..."],
    out_da: Annotated[NDArray[numpy.float32], "shape ..."],
    launch: tuple | None,
) -> None:
    """attr [B or 1,V,C] at rast [B,P,4]: out [B,P,C]."""

def interpolate_grad(
    attr: Annotated[NDArray[numpy.float32], "shape ..."],
    tri: Annotated[NDArray[numpy.int32], "shape ..."],
    rast: Annotated[NDArray[numpy.float32], "shape ..."],
    db: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    chosen: Annotated[NDArray[numpy.int32], "shape ..."],
    grad_out: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    grad_da: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    grad_attr: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    grad_rast: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    grad_db: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    launch: tuple | None,
) -> None:
    """Add to grad_attr, write grad_rast and grad_db."""

def texture(
    levels: Sequence[Annotated[NDArray[numpy.float32], "shape ..."]],
    uv: Annotated[NDArray[numpy.float32], "shape ..."],
    uv_da: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    bias: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    filter: int,
    boundary: int,
    out: Annotated[NDArray[numpy.float32], "shape ..."],
    launch: tuple | None,
) -> None:
    """Sample levels [B or 1,H,W,C] at uv [B,P,2]."""

def texture_grad(
    levels: Sequence[Annotated[NDArray[numpy.float32], "shape ..."]],
    uv: Annotated[NDArray[numpy.float32], "shape ..."],
    uv_da: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    bias: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    filter: int,
    boundary: int,
    grad_out: Annotated[NDArray[numpy.float32], "shape ..."],
    grad_levels: Sequence[Annotated[NDArray[numpy.float32], "shape ..."]],
    grad_uv: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    grad_uv_da: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    grad_bias: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    launch: tuple | None,
) -> None:
    """Add to grad_levels, write the others."""

def build_mips(chain: Sequence[Annotated[NDArray[numpy.float32], "shape ..."]], launch: tuple | None) -> None:
    """Fill chain[1:] from chain[0] [B,H,W,C]."""

def build_mips_grad(grads: Sequence[Annotated[NDArray[numpy.float32], "shape ..."]], launch: tuple | None) -> None:
    """Add grads[1:] into grads[0]."""

def edge_neighbours(
    tri: Annotated[NDArray[numpy.int32], "shape ..."],
    out: Annotated[NDArray[numpy.int32], "shape ..."],
    launch: tuple | None,
) -> None:
    """Vertex across each edge, int32 [F,3]."""

def antialias(
    color: Annotated[NDArray[numpy.float32], "shape ..."],
    rast: Annotated[NDArray[numpy.float32], "shape ..."],
    pos: Annotated[NDArray[numpy.float32], "shape ..."],
    tri: Annotated[NDArray[numpy.int32], "shape ..."],
    opposite: Annotated[NDArray[numpy.int32], "shape ..."],
    alphas: Annotated[NDArray[numpy.float32], "shape ..."],
    out: Annotated[NDArray[numpy.float32], "shape ..."],
    launch: tuple | None,
) -> None:
    """Blend color [B,H,W,C] across silhouettes; also writes alphas [B,H,W,2]."""

def antialias_grad(
    color: Annotated[NDArray[numpy.float32], "shape ..."],
    rast: Annotated[NDArray[numpy.float32], "shape ..."],
    pos: Annotated[NDArray[numpy.float32], "shape ..."],
    tri: Annotated[NDArray[numpy.int32], "shape ..."],
    opposite: Annotated[NDArray[numpy.int32], "shape ..."],
    alphas: Annotated[NDArray[numpy.float32], "shape ..."],
    grad_out: Annotated[NDArray[numpy.float32], "shape ..."],
    grad_color: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    grad_pos: Annotated[NDArray[numpy.float32], "shape ..."] | None,
    launch: tuple | None,
) -> None:
    """Write grad_color, add to grad_pos."""

def render_voxels(
    position: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    half: Sequence[float],
    camera: Sequence[float],
    order_by_centre: bool,
    height: int,
    width: int,
) -> tuple:
    """First box hit per pixel: bytes of index int32 [H, W] (-1 none) and of camera depth float32 [H, W]."""

def render_voxels_cuda(
    position: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    half: Sequence[float],
    camera: Sequence[float],
    order_by_centre: bool,
    height: int,
    width: int,
    launch: tuple,
) -> tuple:
    """render_voxels on a GPU."""

def mesh_bvh_build(
    vertices: Annotated[NDArray, "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    padding: float,
) -> tuple:
    """-> bytes of (nodes, corners, ids); boxes grow by the padding."""

def mesh_bvh_nearest(
    num_faces: int,
    wide: bool,
    nodes: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    corners: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    ids: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    points: Annotated[NDArray, "shape (None, 3)"],
    normals: Annotated[NDArray, "shape (None, 3)"] | None,
    min_cos: float,
    limit: float,
    weights: bool,
) -> tuple:
    """-> bytes of (distance [N], face [N] int64, uvw [N, 3] or None), floats of the width of the points."""

def mesh_bvh_trace(
    num_faces: int,
    wide: bool,
    nodes: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    corners: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    ids: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    origins: Annotated[NDArray, "shape (None, 3)"],
    directions: Annotated[NDArray, "shape (None, 3)"],
    t_min: float,
    t_max: float,
) -> tuple:
    """-> bytes of (depth [N], of the width of the origins, face [N] int64, -1 = miss)."""

def mesh_bvh_count_hits(
    num_faces: int,
    wide: bool,
    nodes: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    corners: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    ids: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    origins: Annotated[NDArray, "shape (None, 3)"],
    directions: Annotated[NDArray, "shape (None, 3)"],
    t_min: float,
    t_max: float,
    max_hits: int,
) -> object:
    """-> bytes of hits [N] int64, at most max_hits."""

def mesh_bvh_build_cuda(
    vertices: Annotated[NDArray, "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    padding: float,
    launch: tuple,
) -> tuple:
    """-> bytes of (nodes, corners, ids); boxes grow by the padding."""

def mesh_bvh_nearest_cuda(
    num_faces: int,
    wide: bool,
    nodes: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    corners: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    ids: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    points: Annotated[NDArray, "shape (None, 3)"],
    normals: Annotated[NDArray, "shape (None, 3)"] | None,
    min_cos: float,
    limit: float,
    weights: bool,
    launch: tuple,
) -> tuple:
    """-> bytes of (distance [N], face [N] int64, uvw [N, 3] or None), floats of the width of the points."""

def mesh_bvh_trace_cuda(
    num_faces: int,
    wide: bool,
    nodes: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    corners: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    ids: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    origins: Annotated[NDArray, "shape (None, 3)"],
    directions: Annotated[NDArray, "shape (None, 3)"],
    t_min: float,
    t_max: float,
    launch: tuple,
) -> tuple:
    """-> bytes of (depth [N], of the width of the origins, face [N] int64, -1 = miss)."""

def mesh_bvh_count_hits_cuda(
    num_faces: int,
    wide: bool,
    nodes: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    corners: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    ids: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    origins: Annotated[NDArray, "shape (None, 3)"],
    directions: Annotated[NDArray, "shape (None, 3)"],
    t_min: float,
    t_max: float,
    max_hits: int,
    launch: tuple,
) -> object:
    """-> bytes of hits [N] int64, at most max_hits."""

def mesh_simplify(
    positions: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    target: int,
    boundary_weight: float,
    regularization: float,
    max_normal_angle_cos: float,
    last_phase: int,
    quadrics: Annotated[NDArray[numpy.float64], "shape (None, 10)"] | None = None,
    held: Annotated[NDArray[numpy.uint8], "shape (None,)"] | None = None,
) -> tuple:
    """
    positions in the unit box -> (positions [V',3] f64, faces [F',3] i32, vertex_source [V'] i32, phase,
    quadrics [V',10] f64, held [V'] u8)
    """

def mesh_simplify_with_seams(
    positions: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    wedges: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    uvs: Annotated[NDArray[numpy.float64], "shape (None, 2)"],
    target: int,
    boundary_weight: float,
    regularization: float,
    max_normal_angle_cos: float,
    last_phase: int,
    quadrics: Annotated[NDArray[numpy.float64], "shape (None, 10)"] | None = None,
    held: Annotated[NDArray[numpy.uint8], "shape (None,)"] | None = None,
) -> tuple:
    """-> (what mesh_simplify gives, wedges [F',3] i32, uvs [W',2] f64, wedge_source [W'] i32)"""

def mesh_collapse(
    positions: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    target: int,
    boundary_weight: float,
    regularization: float,
    max_normal_angle_cos: float,
    share: float,
    quadrics: Annotated[NDArray[numpy.float32], "shape (None, 10)"] | None = None,
    held: Annotated[NDArray[numpy.uint8], "shape (None,)"] | None = None,
) -> tuple:
    """
    positions in the unit box -> (V', F', rounds, positions [V',3] f32, faces [F',3] i32, source [V'] i32,
    quadrics [V',10] f32, held [V'] u8), the arrays as bytes
    """

def mesh_collapse_cuda(
    positions: Annotated[NDArray[numpy.float32], "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    target: int,
    boundary_weight: float,
    regularization: float,
    max_normal_angle_cos: float,
    share: float,
    launch: tuple,
    quadrics: Annotated[NDArray[numpy.float32], "shape (None, 10)"] | None = None,
    held: Annotated[NDArray[numpy.uint8], "shape (None,)"] | None = None,
) -> tuple:
    """`mesh_collapse` on tensors of a GPU"""

def mesh_components(
    n: int,
    pairs: Annotated[NDArray[numpy.int64], "shape (None, 2)"],
    differ: Annotated[NDArray[numpy.uint8], "shape (None,)"] | None,
    ordered: bool,
) -> tuple:
    """-> bytes of (labels [n] int64: smallest member of each component, parity [n], conflicts [m] or None)"""

def mesh_edges(faces: Annotated[NDArray[numpy.int64], "shape (None, 3)"]) -> tuple:
    """-> (edges [E,2], faces of each [E], sides [3F] by edge, offsets [E + 1]), all i64"""

def mesh_first_equal(words: Annotated[NDArray[numpy.int32], "shape (None, None)"]) -> object:
    """Rows [N, K] -> the first row that is equal to each [N] i64"""

def mesh_boundary_loops(
    start: Annotated[NDArray[numpy.int64], "shape (None,)"], end: Annotated[NDArray[numpy.int64], "shape (None,)"]
) -> tuple:
    """Boundary sides -> (vertices of all loops, offsets [K + 1]), i64"""

def mesh_close_loops(
    positions: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    offsets: Annotated[NDArray[numpy.int64], "shape (None,)"],
    chords: Annotated[NDArray[numpy.int64], "shape (None, 2)"],
) -> tuple:
    """-> (faces [T,3] i64 of places in the list of positions, beyond it: centres; centres [C,3] f64)"""

def mesh_components_cuda(
    n: int,
    pairs: Annotated[NDArray[numpy.int64], "shape (None, 2)"],
    differ: Annotated[NDArray[numpy.uint8], "shape (None,)"] | None,
    ordered: bool,
    launch: tuple,
) -> tuple:
    """mesh_components on a GPU; pairs must lie in [0, n), which is not checked."""

def unwrap_charts(
    vertices: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    max_spread: float,
    roundness: float,
    texel: float,
    project_cos: float,
    max_stretch: float,
    rounds: int,
    seconds: float,
) -> tuple:
    """
    -> (label [F] i32, corner [F,3] i32, vertex [W] i32, uv [W,2] f64 in units of length, effort: 0 full, 1
    cheap, 2 none)
    """

def unwrap_pack(
    uv: Annotated[NDArray[numpy.float64], "shape (None, 2)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    label: Annotated[NDArray[numpy.int32], "shape (None,)"],
    num_charts: int,
    resolution: int,
    padding: int,
    rectangles: bool,
    seconds: float,
) -> tuple:
    """-> (texels per unit or -1 if the charts do not fit, uv [W,2] f64 in texels, packed as bitmaps)"""

def unwrap_measure(
    vertices: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    texels: Annotated[NDArray[numpy.float64], "shape (None, 2)"],
    corner: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    label: Annotated[NDArray[numpy.int32], "shape (None,)"],
    num_charts: int,
    thin_width: float,
) -> tuple:
    """-> (thin charts, thin area, area, stretch, 1st and 99th percentile of relative density)"""

def remesh_mark_crossings(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Sequence[int],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: tuple | None,
    /,
) -> None:
    """(vertices, faces, size, bits, launch): grid edges that faces cross."""

def remesh_record_crossings(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Sequence[int],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg7: tuple | None,
    /,
) -> None:
    """(vertices, faces, size, bits, before, first, last, launch): outermost crossings on each edge."""

def remesh_doubled(
    arg0: Sequence[int],
    arg1: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg2: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: tuple | None,
    /,
) -> None:
    """(size, bits, before, first, last, out, launch): edges that several faces cross."""

def remesh_face_sides(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Sequence[int],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg7: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg8: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg9: tuple | None,
    /,
) -> None:
    """(vertices, faces, size, bits, before, first, last, outside, counts, launch): what faces border on."""

def remesh_ask_rows(
    arg0: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    arg2: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    arg3: tuple | None,
    /,
) -> None:
    """(faces, kinds, out, launch): unknown kinds from the faces before and after."""

def remesh_rim_hashes(
    arg0: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg2: tuple | None,
    /,
) -> None:
    """(faces, hashes, launch): 0 at vertices whose edges have even numbers of faces."""

def remesh_mark_rims(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: Sequence[int],
    arg4: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg5: tuple | None,
    /,
) -> None:
    """(vertices, faces, hashes, size, bits, launch): corners of cells on rims."""

def remesh_flood(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"] | None,
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"] | None,
    arg4: Sequence[int],
    arg5: tuple | None,
    /,
) -> None:
    """(labels, walls, closed, other, size, launch): spreads labels in place."""

def remesh_step(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"] | None,
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"] | None,
    arg4: Sequence[int],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: tuple | None,
    /,
) -> None:
    """(labels, walls, closed, other, size, out, launch): spreads labels by one node."""

def remesh_dilate(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Sequence[int],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: tuple | None,
    /,
) -> None:
    """(bits, size, out, launch): adds the 26 neighbours."""

def remesh_active_cells(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Sequence[int],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: tuple | None,
    /,
) -> None:
    """(inside, size, out, launch): cells that the surface passes."""

def remesh_active_edges(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Sequence[int],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: tuple | None,
    /,
) -> None:
    """(inside, size, out, launch): grid edges that the surface crosses."""

def remesh_sheet_nodes(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg2: Sequence[int],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: tuple | None,
    /,
) -> None:
    """(crossed, outside, size, out, launch): nodes on both sides of open sheets."""

def remesh_count_bits(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg2: tuple | None,
    /,
) -> None:
    """(bits, out, launch): members in every word."""

def remesh_list_bits(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: tuple | None,
    /,
) -> None:
    """(bits, before, out, launch): places of the members."""

def remesh_cell_sheets(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Sequence[int],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg5: tuple | None,
    /,
) -> None:
    """(inside, size, places, sheets, counts, launch): sheets of every cell."""

def remesh_cell_vertices(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Sequence[int],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg7: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg8: Annotated[NDArray[numpy.int64], "shape (None,)"] | None,
    arg9: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg10: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg11: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg12: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg13: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg14: Sequence[float],
    arg15: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg16: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    arg17: tuple | None,
    /,
) -> None:
    """
    (vertices, faces, size, crossed, before, first, last, inside, sheet_nodes, cell_bits, cell_before, sheets,
    first_vertex, places, options, out, kinds, launch): vertices of every cell.
    """

def remesh_quads(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Sequence[int],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg7: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg8: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg9: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg10: tuple | None,
    /,
) -> None:
    """
    (inside, size, cell_bits, cell_before, sheets, first_vertex, edges, before, vertices, faces, launch): two
    faces around every crossed grid edge.
    """

def remesh_mark_crossings_cuda(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Sequence[int],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: tuple | None,
    /,
) -> None:
    """(vertices, faces, size, bits, launch): grid edges that faces cross."""

def remesh_record_crossings_cuda(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Sequence[int],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg7: tuple | None,
    /,
) -> None:
    """(vertices, faces, size, bits, before, first, last, launch): outermost crossings on each edge."""

def remesh_doubled_cuda(
    arg0: Sequence[int],
    arg1: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg2: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: tuple | None,
    /,
) -> None:
    """(size, bits, before, first, last, out, launch): edges that several faces cross."""

def remesh_face_sides_cuda(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Sequence[int],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg7: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg8: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg9: tuple | None,
    /,
) -> None:
    """(vertices, faces, size, bits, before, first, last, outside, counts, launch): what faces border on."""

def remesh_ask_rows_cuda(
    arg0: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    arg2: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    arg3: tuple | None,
    /,
) -> None:
    """(faces, kinds, out, launch): unknown kinds from the faces before and after."""

def remesh_rim_hashes_cuda(
    arg0: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg2: tuple | None,
    /,
) -> None:
    """(faces, hashes, launch): 0 at vertices whose edges have even numbers of faces."""

def remesh_mark_rims_cuda(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: Sequence[int],
    arg4: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg5: tuple | None,
    /,
) -> None:
    """(vertices, faces, hashes, size, bits, launch): corners of cells on rims."""

def remesh_flood_cuda(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"] | None,
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"] | None,
    arg4: Sequence[int],
    arg5: tuple | None,
    /,
) -> None:
    """(labels, walls, closed, other, size, launch): spreads labels in place."""

def remesh_step_cuda(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"] | None,
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"] | None,
    arg4: Sequence[int],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: tuple | None,
    /,
) -> None:
    """(labels, walls, closed, other, size, out, launch): spreads labels by one node."""

def remesh_dilate_cuda(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Sequence[int],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: tuple | None,
    /,
) -> None:
    """(bits, size, out, launch): adds the 26 neighbours."""

def remesh_active_cells_cuda(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Sequence[int],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: tuple | None,
    /,
) -> None:
    """(inside, size, out, launch): cells that the surface passes."""

def remesh_active_edges_cuda(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Sequence[int],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: tuple | None,
    /,
) -> None:
    """(inside, size, out, launch): grid edges that the surface crosses."""

def remesh_sheet_nodes_cuda(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg2: Sequence[int],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: tuple | None,
    /,
) -> None:
    """(crossed, outside, size, out, launch): nodes on both sides of open sheets."""

def remesh_count_bits_cuda(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg2: tuple | None,
    /,
) -> None:
    """(bits, out, launch): members in every word."""

def remesh_list_bits_cuda(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: tuple | None,
    /,
) -> None:
    """(bits, before, out, launch): places of the members."""

def remesh_cell_sheets_cuda(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Sequence[int],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg5: tuple | None,
    /,
) -> None:
    """(inside, size, places, sheets, counts, launch): sheets of every cell."""

def remesh_cell_vertices_cuda(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Sequence[int],
    arg3: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg7: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg8: Annotated[NDArray[numpy.int64], "shape (None,)"] | None,
    arg9: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg10: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg11: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg12: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg13: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg14: Sequence[float],
    arg15: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg16: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    arg17: tuple | None,
    /,
) -> None:
    """
    (vertices, faces, size, crossed, before, first, last, inside, sheet_nodes, cell_bits, cell_before, sheets,
    first_vertex, places, options, out, kinds, launch): vertices of every cell.
    """

def remesh_quads_cuda(
    arg0: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg1: Sequence[int],
    arg2: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg5: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg6: Annotated[NDArray[numpy.int64], "shape (None,)"],
    arg7: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg8: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg9: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg10: tuple | None,
    /,
) -> None:
    """
    (inside, size, cell_bits, cell_before, sheets, first_vertex, edges, before, vertices, faces, launch): two
    faces around every crossed grid edge.
    """

def smooth_face_normals(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.float64], "shape (None, 4)"],
    arg5: tuple | None,
    /,
) -> None:
    """(vertices, faces, starts, ring, out, launch): unit normal and area of every face."""

def smooth_filter_normals(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.float64], "shape (None, 4)"],
    arg5: float,
    arg6: Annotated[NDArray[numpy.float64], "shape (None, 4)"],
    arg7: tuple | None,
    /,
) -> None:
    """(vertices, faces, starts, ring, normals, limit2, out, launch): normals averaged over similar ones."""

def smooth_move_vertices(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.float64], "shape (None, 4)"],
    arg5: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg6: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    arg7: float,
    arg8: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg9: tuple | None,
    /,
) -> None:
    """(vertices, faces, starts, ring, normals, original, fixed, limit, out, launch): vertices moved to them."""

def smooth_face_normals_cuda(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.float64], "shape (None, 4)"],
    arg5: tuple | None,
    /,
) -> None:
    """(vertices, faces, starts, ring, out, launch): unit normal and area of every face."""

def smooth_filter_normals_cuda(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.float64], "shape (None, 4)"],
    arg5: float,
    arg6: Annotated[NDArray[numpy.float64], "shape (None, 4)"],
    arg7: tuple | None,
    /,
) -> None:
    """(vertices, faces, starts, ring, normals, limit2, out, launch): normals averaged over similar ones."""

def smooth_move_vertices_cuda(
    arg0: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg1: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    arg2: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg3: Annotated[NDArray[numpy.int32], "shape (None,)"],
    arg4: Annotated[NDArray[numpy.float64], "shape (None, 4)"],
    arg5: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg6: Annotated[NDArray[numpy.uint8], "shape (None,)"],
    arg7: float,
    arg8: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    arg9: tuple | None,
    /,
) -> None:
    """(vertices, faces, starts, ring, normals, original, fixed, limit, out, launch): vertices moved to them."""
