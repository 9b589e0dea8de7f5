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

def mesh_simplify(
    vertices: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    target: int,
    boundary_weight: float,
    regularization: float,
    max_normal_angle_cos: float,
    must_reach_target: bool,
) -> tuple:
    """-> (vertices [V',3] f64, faces [F',3] i32, vertex_source [V'] i32, phase)"""

def mesh_components(n: int, pairs: Annotated[NDArray[numpy.int64], "shape (None, 2)"]) -> NDArray[numpy.int64]:
    """-> labels [n] i64: smallest member of each component"""

def mesh_parity_components(
    n: int,
    pairs: Annotated[NDArray[numpy.int64], "shape (None, 2)"],
    differ: Annotated[NDArray[numpy.uint8], "shape (None,)"],
) -> tuple:
    """-> (labels [n] i64, parity [n] u8, conflicts [m] u8)"""

def mesh_cluster_charts(
    vertices: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
    faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    pairs: Annotated[NDArray[numpy.int64], "shape (None, 2)"],
    lengths: Annotated[NDArray[numpy.float64], "shape (None,)"],
    max_cone_half_angle: float,
    small_cone_half_angle: float,
    roundness: float,
    area_weight: float,
    small_area: float,
) -> tuple:
    """-> (label [F] i32, axis [K,3] f64)"""

def mesh_pack_charts(
    sizes: Annotated[NDArray[numpy.float64], "shape (None, 2)"], resolution: int, padding: int
) -> tuple:
    """-> (scale, x [K] i32, y [K] i32, rotated [K] u8); ValueError if they do not fit"""

class MeshBvh:
    def __init__(
        self,
        vertices: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
        faces: Annotated[NDArray[numpy.int32], "shape (None, 3)"],
    ) -> None: ...
    def nearest(
        self,
        points: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
        normals: Annotated[NDArray[numpy.float64], "shape (None, 3)"] | None,
        min_cos: float,
    ) -> tuple:
        """-> (distance [N] f64, face [N] i64, uvw [N,3] f64)"""

    def trace(
        self,
        origins: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
        directions: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
        t_min: float,
    ) -> tuple:
        """-> (depth [N] f64, face [N] i64, -1 = miss)"""

    def count_hits(
        self,
        origins: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
        directions: Annotated[NDArray[numpy.float64], "shape (None, 3)"],
        t_min: float,
        max_hits: int,
    ) -> NDArray[numpy.int64]:
        """-> hits [N] i64, at most max_hits"""
