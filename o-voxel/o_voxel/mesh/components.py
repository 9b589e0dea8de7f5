"""Connected components of a graph, plain and with a two-colouring; n nodes, M pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from o_voxel import _device
from o_voxel._device import cuda_core, launch
from o_voxel._native import Backend, native_module, resolve_backend
from o_voxel.mesh._arrays import ArrayLike, as_tensor, like

__all__ = ["connected_components", "parity_components"]


def connected_components(n: int, pairs: ArrayLike, *, backend: Backend = "auto") -> ArrayLike:
    """Label every node by the smallest member of its component: pairs [M, 2] int64 -> [n] int64."""
    edges = as_tensor(pairs, "pairs").long().reshape(-1, 2).contiguous()
    native = native_module() if resolve_backend(backend) == "native" else None
    if native is not None and edges.is_cuda and cuda_core("mesh_components", edges.device) is not None:
        memory = native.mesh_components_cuda(n, edges, launch(edges.device))
        return like(_device.as_tensor(memory, torch.int64, (n,)), pairs)
    if native is not None and not edges.is_cuda:
        return like(_device.as_tensor(native.mesh_components(n, edges.numpy()), torch.int64, (n,)), pairs)
    labels = torch.arange(n, device=edges.device)
    while True:  # hook every root to the smallest neighbouring label, then compress all paths
        a, b = labels[edges].unbind(1)
        apart = a != b
        if not bool(apart.any()):
            return like(labels, pairs)
        a, b, edges = a[apart], b[apart], edges[apart]
        labels.scatter_reduce_(0, torch.maximum(a, b), torch.minimum(a, b), "amin")
        while not torch.equal(labels, labels[labels]):
            labels = labels[labels]


def parity_components(
    n: int, pairs: ArrayLike, differ: ArrayLike, *, backend: Backend = "auto"
) -> tuple[ArrayLike, ArrayLike, ArrayLike]:
    """Components with a two-colouring.

    pairs [M, 2] int64, differ [M] bool (the two nodes must have different colours) -> labels [n] int64 (smallest
    member), parity [n] bool (colour differs from that member's), conflicts [M] bool. Pairs are honoured in order; one
    that contradicts earlier pairs is reported as a conflict.
    """
    edges = as_tensor(pairs, "pairs").long().reshape(-1, 2).contiguous()
    flags = as_tensor(differ, "differ").bool().contiguous()
    if len(flags) != len(edges):
        raise ValueError(f"differ must have one entry for each of {len(edges)} pairs, got {len(flags)}")
    native = native_module() if resolve_backend(backend) == "native" else None
    if native is not None and not edges.is_cuda:
        found = native.mesh_parity_components(n, edges.numpy(), flags.view(torch.uint8).numpy())
        labels, parity, conflicts = (torch.from_numpy(a) for a in found)
    else:
        labels, parity, conflicts = _spanning_parity(n, edges, flags)
    return like(labels, pairs), like(parity.bool(), pairs), like(conflicts.bool(), pairs)


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
