"""The whole report, as data and as text."""

from __future__ import annotations

from typing import Any

import torch

from .machine import ACCELERATORS, accelerators, advice, devices, versions
from .operations import operation_rows
from .voxel_core import core_report

__all__ = ["as_text", "collect", "problems"]


def collect(chosen: list[torch.device], quick: bool = False) -> dict[str, Any]:
    """Everything the doctor finds on the given devices; JSON types only.

    quick: known verdicts are believed, and what has none is tested on small inputs.
    """
    found: dict[str, Any] = {
        "versions": versions(),
        "devices": devices(),
        "accelerators": accelerators(),
        "operations": [row for device in chosen for row in operation_rows(device, quick)],
        "voxel_core": core_report(chosen, quick),
    }
    found["advice"] = advice(found)
    found["problems"] = problems(found)
    return found


def problems(found: dict[str, Any]) -> list[str]:
    """What is broken, one sentence each."""
    lines = [f"{r['operation']} on {r['device']}: {r['problem']}" for r in found["operations"] if r["problem"]]
    core = found["voxel_core"]
    if core["state"] == "broken":
        lines.append(f"the compiled core of o_voxel cannot be loaded: {core['message']}")
    lines += [
        f"o_voxel, {c['operation']} on {c['device']}: {c['message']}" for c in core["checks"] if c["state"] == "broken"
    ]
    return lines


def _table(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms"


def _operation_lines(found: dict[str, Any]) -> list[str]:
    rows = [["operation", "device", "backend", "verdict", "largest error", "time", "reference"]]
    for operation in found["operations"]:
        for entry in operation["backends"]:
            mark = "* " if entry["backend"] == operation["selected"] else "  "
            cells = [operation["operation"], operation["device"], mark + entry["backend"], entry["state"]]
            verdict = entry["verdict"]
            if verdict is None or not verdict["cases"]:
                rows.append([*cells, entry["reason"] or entry.get("message", ""), "", ""])
                continue
            worst = max(verdict["cases"], key=lambda c: c["error"] / c["tolerance"] if c["tolerance"] else c["error"])
            last = verdict["cases"][-1]
            bound = "exact" if worst["tolerance"] == 0 else f"{worst['error']:.1e} of {worst['tolerance']:.0e}"
            times = [_milliseconds(last[k]) for k in ("milliseconds", "reference_milliseconds")]
            rows.append(
                [*cells, bound if verdict["ok"] else verdict["message"], *(times if last["milliseconds"] else ["", ""])]
            )
    return _table(rows)


def as_text(found: dict[str, Any]) -> str:
    """The report for people."""
    lines = ["Versions"]
    lines += _table([[name, str(value)] for name, value in found["versions"].items() if value is not None])
    lines.append("Devices")
    for device in found["devices"]:
        if device["device"] == "cpu":
            lines.append(
                f"  cpu     {device['name']}, {device['cores']} cores, {device['torch_threads']} PyTorch threads"
            )
            continue
        lines.append(
            f"  {device['device']}  {device['name']}, compute capability {device['capability']}, "
            f"{device['memory_gb']} GB ({device['free_gb']} GB free)"
        )
        lines.append(f"          memory tier '{device['tier']}': {device['tier_meaning']}")
    lines.append("Operations (* in use; time of one call of the last case)")
    lines += _operation_lines(found)
    core = found["voxel_core"]
    kind = ", CPU threads and CUDA" if core["with_cuda"] else ", CPU threads"
    lines.append(f"o_voxel native core: {core['state']}{kind if core['state'] == 'ok' else ': ' + core['message']}")
    if core["checks"]:
        lines += _table(
            [
                [c["operation"], c["device"], c["state"], c["message"],
                 _milliseconds(c["milliseconds"]) if "milliseconds" in c else ""]
                for c in core["checks"]
            ]
        )  # fmt: skip
    lines.append("Optional accelerators")
    lines += _table([[n, found["accelerators"][n] or "not installed", use] for n, use in ACCELERATORS.items()])
    for title, key in (("Advice", "advice"), ("Problems", "problems")):
        if found[key]:
            lines.append(title)
            lines += [f"  - {line}" for line in found[key]]
    if not found["problems"]:
        lines.append("No problems found.")
    return "\n".join(lines)
