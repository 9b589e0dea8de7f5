"""Connected components of a graph, plain and with a two-colouring; n nodes, M pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel import _device
from o_voxel._device import cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh._arrays import ArrayLike, as_tensor, like

__all__ = ["colourable_components", "connected_components", "parity_components"]


def connected_components(n: int, pairs: ArrayLike, *, backend: Backend = "auto") -> ArrayLike:
    """Label every node by the smallest member of its component: pairs [M, 2] int64 -> [n] int64."""
    edges = as_tensor(pairs, "pairs").long().reshape(-1, 2).contiguous()
    found = _native(n, edges, None, False, backend)
    return like(_hooked(n, edges) if found is None else found[0], pairs)


def parity_components(
    n: int, pairs: ArrayLike, differ: ArrayLike, *, backend: Backend = "auto"
) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    """Components with a two-colouring.

    pairs [M, 2] int64, differ [M] bool (the two nodes must have different colours) -> labels [n] int64 (smallest
    member), parity [n] bool (colour differs from that member's), conflicts [M] bool. Pairs are honoured in order; one
    that contradicts earlier pairs is reported as a conflict.
    """
    edges, flags = _checked(pairs, differ)
    found = _native(n, edges, flags, True, backend)
    labels, parity, conflicts = _spanning_parity(n, edges, flags) if found is None else found
    return like(labels, pairs), like(parity, pairs), like(conflicts, pairs)


def colourable_components(
    n: int, pairs: ArrayLike, differ: ArrayLike, *, backend: Backend = "auto"
) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    """Components, and which of them allow a two-colouring; quicker than `parity_components`, as order plays no part.

    -> labels [n] int64, parity [n] bool, twisted [n] bool. Where a component contradicts itself, its nodes are twisted
    and have parity False.
    """
    edges, flags = _checked(pairs, differ)
    found = _native(n, edges, flags, False, backend)
    labels, parity, conflicts = _spanning_parity(n, edges, flags) if found is None else found
    twisted = torch.zeros(n, dtype=torch.bool, device=edges.device)
    twisted[labels[edges[conflicts, 0]]] = True
    twisted = twisted[labels]
    return like(labels, pairs), like(parity & ~twisted, pairs), like(twisted, pairs)


def _checked(pairs: ArrayLike, differ: ArrayLike) -> tuple[Tensor, Tensor]:
    edges = as_tensor(pairs, "pairs").long().reshape(-1, 2).contiguous()
    flags = as_tensor(differ, "differ").bool().contiguous()
    if len(flags) != len(edges):
        raise ValueError(f"differ must have one entry for each of {len(edges)} pairs, got {len(flags)}")
    return edges, flags


def _native(
    n: int, edges: Tensor, flags: Tensor | None, ordered: bool, backend: Backend
) -> tuple[Tensor, Tensor, Tensor] | None:
    """(labels, parity, conflicts; the last two only with flags) by the compiled core, or None where it is not."""
    native = native_module() if resolve_backend(backend) == "native" else None
    bits = None if flags is None else flags.view(torch.uint8)
    if native is not None and edges.is_cuda and cuda_core("mesh_components", edges.device) is not None:
        memory = native.mesh_components_cuda(n, edges, bits, ordered, launch(edges.device))
    elif native is not None and not edges.is_cuda:
        memory = native.mesh_components(n, edges.numpy(), None if bits is None else bits.numpy(), ordered)
    else:
        return None
    labels = _device.as_tensor(memory[0], torch.int64, (n,))
    if flags is None:
        return labels, flags, flags  # type: ignore[return-value]
    parity, conflicts = (_device.as_tensor(m, torch.bool, (k,)) for m, k in ((memory[1], n), (memory[2], len(edges))))
    return labels, parity, conflicts


def _hooked(n: int, edges: Tensor) -> Tensor:
    """`connected_components`: hook every root to the smallest neighbouring label, then compress all paths."""
    labels = torch.arange(n, device=edges.device)
    while True:
        a, b = labels[edges].unbind(1)
        apart = a != b
        if not bool(apart.any()):
            return labels
        a, b, edges = a[apart], b[apart], edges[apart]
        labels.scatter_reduce_(0, torch.maximum(a, b), torch.minimum(a, b), "amin")
        while not torch.equal(labels, labels[labels]):
            labels = labels[labels]


def _spanning_parity(n: int, edges: Tensor, differ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`parity_components` by the spanning forest of the earliest pairs, which is what honouring them in order keeps.

    Rounds of O. Boruvka, 1926: every component takes its earliest pair that leads out of it.
    """
    device = edges.device
    nodes = torch.arange(n, device=device)
    labels, parity = nodes.clone(), torch.zeros(n, dtype=torch.bool, device=device)
    a, b, flag = edges[:, 0], edges[:, 1], differ
    while True:
        la, lb = labels[a], labels[b]
        apart = la != lb
        a, b, flag, la, lb = a[apart], b[apart], flag[apart], la[apart], lb[apart]
        if len(a) == 0:
            break
        rank = torch.arange(len(a), device=device)
        best = torch.full((n,), len(a), device=device)
        best.scatter_reduce_(0, la, rank, "amin").scatter_reduce_(0, lb, rank, "amin")
        roots = (best < len(a)).nonzero()[:, 0]
        taken = best[roots]
        parent, flip = nodes.clone(), torch.zeros(n, dtype=torch.bool, device=device)
        parent[roots] = la[taken] + lb[taken] - roots
        flip[roots] = (flag ^ parity[a] ^ parity[b])[taken]
        mutual = roots[(parent[parent[roots]] == roots) & (roots < parent[roots])]  # two that took one pair
        parent[mutual], flip[mutual] = mutual, torch.zeros_like(flip[mutual])
        while not torch.equal(parent, grand := parent[parent]):
            flip, parent = flip ^ flip[parent], grand
        parity, labels = parity ^ flip[labels], parent[labels]
    smallest = torch.full((n,), n, device=device).scatter_reduce_(0, labels, nodes, "amin")
    labels = smallest[labels]
    parity = parity ^ parity[labels]
    return labels, parity, differ ^ parity[edges[:, 0]] ^ parity[edges[:, 1]]
