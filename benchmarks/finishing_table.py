"""Goals of the finishing profiles, what breaks them, and the table of `bench_finishing.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["GOALS", "markdown", "summary", "violations"]

GOALS = {
    "game": "exact budget, 0 winding conflicts, 0 duplicate or degenerate faces, 0 hidden shells, Chamfer <= 0.5 voxel",
    "print": "watertight, 2-manifold, positive volume in >= 95 % of runs, the rest reported; Chamfer <= 0.5 voxel",
    "raw": "valid indices, finite, within the budget",
    "all": "no validator errors or warnings, atlas size as asked, no overlap, thin charts < 10 %, bounded time",
}
CHAMFER, THIN, OVERLAP = 0.5, 0.10, 0.001

Row = dict[str, Any]


def violations(row: Row) -> list[str]:
    """What a run breaks of the goals of its profile, each with its number."""
    if row["status"] == "not available":
        return ["profile not available"]
    if row["status"] != "done":
        return [f"{row['status']}: {row.get('error', '')}"]
    out: list[str] = []

    def need(ok: bool, text: str) -> None:
        if not ok:
            out.append(text)

    need(row["finite"] and row["largest_coordinate"] < 0.6, f"coordinates up to {row['largest_coordinate']:.3g}")
    need(row["texture_honoured"], "atlas size not as asked")
    need(row["overlap"] <= OVERLAP, f"UV overlap {row['overlap']:.2%}")
    need(row["outside_uv"] == 0, f"{row['outside_uv']} UVs outside the atlas")
    need(row["thin_charts"] < THIN, f"thin charts {row['thin_charts']:.0%} of {row['charts']}")
    need(row["faces"] <= row["asked"], f"{row['faces']} faces, {row['asked']} asked")
    found = row.get("validator")
    if found is not None:
        need(not found["errors"] and not found["warnings"], f"validator {found['codes']}")
    if row["profile"] == "raw":
        return out
    need(row["chamfer"] <= CHAMFER, f"Chamfer {row['chamfer']:.2f} voxels")
    need(row["winding_conflicts"] == 0, f"{row['winding_conflicts']} winding conflicts")
    need(row["duplicate_faces"] == 0, f"{row['duplicate_faces']} duplicate faces")
    need(row["degenerate_faces"] == 0, f"{row['degenerate_faces']} degenerate faces")
    if not row["transparent"]:  # what lies behind glass can be seen
        need(row["hidden_shells"] == 0, f"{row['hidden_shells']} hidden shells of {row['hidden_faces']} faces")
    need(row["transparent"] or row["alpha_mode"] == "OPAQUE", f"alpha mode {row['alpha_mode']} of an opaque asset")
    if row["profile"] == "game":
        need(row["faces"] == row["asked"], f"{row['faces']} faces, {row['asked']} asked")
    else:
        need(row["watertight"], f"not watertight: {row['boundary_edges']} boundary edges")
        need(row["two_manifold"], f"not 2-manifold: {row['non_manifold_edges']} edges, "
             f"{row['non_manifold_vertices']} vertices")  # fmt: skip
        need(row["volume"] > 0, f"volume {row['volume']:.3g}")
        solid = row["two_manifold"] and row["volume"] > 0
        need(solid or row["reported"]["problems"], "not a solid, and the report does not say so")
    return list(dict.fromkeys(out))


def _yes(value: bool) -> str:
    return "yes" if value else "no"


_COLUMNS: list[tuple[str, Callable[[Row], str]]] = [
    ("faces", lambda r: f"{r['faces']}" if r["faces"] == r["asked"] else f"{r['faces']} / {r['asked']}"),
    ("conflicts", lambda r: f"{r['winding_conflicts']}"),
    ("dup", lambda r: f"{r['duplicate_faces']}"),
    ("degen", lambda r: f"{r['degenerate_faces']}"),
    ("boundary", lambda r: f"{r['boundary_edges']}"),
    ("nm edges", lambda r: f"{r['non_manifold_edges']}"),
    ("nm verts", lambda r: f"{r['non_manifold_vertices']}"),
    ("watertight", lambda r: _yes(r["watertight"])),
    ("2-manifold", lambda r: _yes(r["two_manifold"])),
    ("volume", lambda r: f"{r['volume']:+.4f}"),
    ("parts", lambda r: f"{r['components']}"),
    ("hidden", lambda r: f"{r['hidden_shells']}"),
    ("rim / raw", lambda r: f"{r['rim_voxels']:.0f} / {r['raw_rim_voxels']:.0f}"),
    ("backs seen", lambda r: f"{r['back_seen']:.1%}"),
    ("unseen area", lambda r: f"{r['unseen_area']:.1%}"),
    ("Chamfer", lambda r: f"{r['chamfer']:.3f}"),
    ("Hausdorff", lambda r: f"{r['hausdorff']:.2f}"),
    ("charts", lambda r: f"{r['charts']}"),
    ("thin", lambda r: f"{r['thin_charts']:.0%}"),
    ("slivers", lambda r: f"{r['sliver_charts']:.0%}"),
    ("thin area", lambda r: f"{r['thin_area']:.1%}"),
    ("atlas use", lambda r: f"{r['atlas_use']:.0%}"),
    ("alpha", lambda r: r["alpha_mode"]),
    (
        "validator",
        lambda r: "-" if "validator" not in r else f"{r['validator']['errors']} / {r['validator']['warnings']}",
    ),
    ("s", lambda r: f"{r['seconds']:.1f}"),
]


def summary(rows: list[Row]) -> dict[str, Row]:
    """For each profile and remeshing: runs, runs that meet every goal, and how often each property holds."""
    out: dict[str, Row] = {}
    for profile in dict.fromkeys(r["profile"] for r in rows):
        for remesh in (False, True):
            own = [r for r in rows if r["profile"] == profile and r["remesh"] == remesh]
            done = [r for r in own if r["status"] == "done"]
            if not own:
                continue
            key = f"{profile}{' remesh' if remesh else ''}"
            out[key] = {"runs": len(own), "done": len(done), "all_goals": sum(not violations(r) for r in own)}
            if not done:
                continue
            out[key] |= {
                "exact_budget": sum(r["faces"] == r["asked"] for r in done),
                "no_conflicts": sum(r["winding_conflicts"] == 0 for r in done),
                "no_bad_faces": sum(r["duplicate_faces"] + r["degenerate_faces"] == 0 for r in done),
                "no_hidden_shell": sum(r["hidden_shells"] == 0 or r["transparent"] for r in done),
                "watertight": sum(r["watertight"] for r in done),
                "two_manifold": sum(r["two_manifold"] for r in done),
                "reported_faults": sum(bool(r["reported"]["problems"]) for r in done),
                "positive_volume": sum(r["volume"] > 0 for r in done),
                "chamfer_within_half": sum(r["chamfer"] <= CHAMFER for r in done),
                "chamfer_median": sorted(r["chamfer"] for r in done)[len(done) // 2],
                "chamfer_max": max(r["chamfer"] for r in done),
                "thin_median": sorted(r["thin_charts"] for r in done)[len(done) // 2],
                "thin_area_max": max(r["thin_area"] for r in done),
                "slivers_below_tenth": sum(r["sliver_charts"] < THIN for r in done),
                "thin_below_tenth": sum(r["thin_charts"] < THIN for r in done),
                "valid": sum(
                    "validator" in r and not r["validator"]["errors"] + r["validator"]["warnings"] for r in done
                ),
                "seconds_median": sorted(r["seconds"] for r in done)[len(done) // 2],
                "seconds_max": max(r["seconds"] for r in done),
            }
    return out


def markdown(rows: list[Row]) -> str:
    """Summary and one table for each profile and remeshing, as Markdown."""
    devices = sorted({r["device"] for r in rows if "device" in r})
    lines = [
        "# Mesh finishing, asset by asset",
        "",
        f"Device: {', '.join(devices)}. Written by `bench_finishing.py`.",
        "",
    ]
    lines += [f"* {name}: {goal}" for name, goal in GOALS.items()] + [""]
    parts = summary(rows)
    keys = list(max(parts.values(), key=len)) if parts else []
    lines += ["| | " + " | ".join(k.replace("_", " ") for k in keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for name, part in parts.items():
        cells = [f"{part[k]:.3g}" if isinstance(part.get(k), float) else str(part.get(k, "")) for k in keys]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name in parts:
        profile, remesh = name.split()[0], name.endswith("remesh")
        lines += ["", f"## {profile}{', remeshed' if remesh else ''}", ""]
        lines += ["| asset | " + " | ".join(n for n, _ in _COLUMNS) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
        for row in rows:
            if row["profile"] == profile and row["remesh"] == remesh:
                if row["status"] == "done":
                    cells = [show(row) for _, show in _COLUMNS]
                else:
                    cells = [f"**{row['status']}** {row.get('error', '')}"] + [""] * (len(_COLUMNS) - 1)
                lines.append(f"| {row['asset']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
