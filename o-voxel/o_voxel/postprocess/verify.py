"""What each profile promises about a surface, tested on the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from o_voxel.mesh import MeshStats, mesh_stats, remove_duplicate_faces, repair_non_manifold
from o_voxel.postprocess.mend import degenerate_faces, weld

__all__ = ["Profile", "Verdict", "verify"]

Profile = Literal["raw", "game", "print"]


@dataclass(frozen=True)
class Verdict:
    """Whether a surface keeps what its profile promises.

    raw: valid indices, at most the asked number of faces. game: besides, no edge that its faces run along in one
    direction, no edge with more than two faces, no duplicate or degenerate face. print: besides, no boundary, one fan
    of faces around every vertex, positive volume.
    """

    profile: Profile
    problems: tuple[str, ...]  # empty if all is kept
    stats: MeshStats
    volume: float  # signed, in the cubed unit of the vertices

    @property
    def ok(self) -> bool:
        """Whether all promises are kept."""
        return not self.problems


def verify(
    vertices: Tensor,  # [V, 3] float
    faces: Tensor,  # [F, 3] int64
    profile: Profile,
    target_faces: int | None = None,
) -> Verdict:
    """Test a surface against the promises of `profile`, as it is and with equal float32 positions merged."""
    stats, welded = mesh_stats(vertices, faces), mesh_stats(vertices, weld(vertices, faces))
    volume = signed_volume(vertices, faces)
    found = []
    if len(faces) == 0:
        found.append("no face")
    if target_faces is not None and len(faces) > target_faces:
        found.append(f"{len(faces)} faces, {target_faces} were asked for")
    if profile != "raw":
        counts = {
            "edges with conflicting winding": max(stats.winding_conflicts, welded.winding_conflicts),
            "edges with more than two faces": stats.non_manifold_edges,
            "duplicate faces": len(faces) - len(remove_duplicate_faces(vertices, weld(vertices, faces))[1]),
            "degenerate faces": int(degenerate_faces(vertices, faces).sum()),
        }
        if profile == "print":
            counts["boundary edges"] = stats.boundary_edges
            used = len(torch.unique(faces))
            counts["vertices with several fans"] = len(repair_non_manifold(vertices, faces)[0]) - used
            if not volume > 0:
                found.append(f"volume {volume:.3g} is not positive")
        found += [f"{count} {name}" for name, count in counts.items() if count]
    return Verdict(profile, tuple(found), stats, volume)


def signed_volume(vertices: Tensor, faces: Tensor) -> float:
    """Enclosed by outward faces; for open surfaces relative to the middle of the box."""
    if len(faces) == 0:
        return 0.0
    v = vertices.double()
    p = (v - (v.amin(0) + v.amax(0)) / 2)[faces]
    return float((p[:, 0] * torch.linalg.cross(p[:, 1], p[:, 2])).sum() / 6)
