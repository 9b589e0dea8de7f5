"""What the page says about a job and about an asset, in words."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from trellis2.serve.store import Job

__all__ = ["report_markdown", "status_html", "status_text"]

_STAGES = {
    "starting": "Getting ready",
    "sparse structure": "1 of 3: finding where the object is",
    "shape SLat": "2 of 3: forming the surface",
    "texture SLat": "3 of 3: colours and materials",
    "preview": "Rendering the preview",
}


def status_text(job: Job, position: int | None) -> str:
    """One sentence."""
    if job.state == "queued":
        ahead = position or 0
        return "Starting next" if ahead == 0 else f"Waiting: {ahead} before you"
    if job.state == "running":
        stage = _STAGES.get(job.stage, job.stage[:1].upper() + job.stage[1:])
        steps = f", step {job.step} of {job.total}" if job.total > 1 else ""
        return f"{'Stopping' if job.cancel else stage}{'' if job.cancel else steps}"
    if job.state == "failed":
        return f"This did not work: {job.error}"
    if job.state == "cancelled":
        return "Cancelled"
    seconds = (job.finished or 0) - (job.started or 0)
    return f"Done in {seconds:.0f} s"


def status_html(job: Job | None, position: int | None = None, message: str = "") -> str:
    """Progress bar and sentence, announced by screen readers."""
    if job is None:
        return f'<div class="job-status" role="status" aria-live="polite"><p>{html.escape(message)}</p></div>'
    text = html.escape(status_text(job, position))
    kind = ' class="job-error"' if job.state == "failed" else ""
    bar = ""
    if not job.final:
        known = f' value="{job.step}" max="{job.total}"' if job.state == "running" and job.total else ""
        bar = f'<progress aria-label="Progress"{known}></progress>'
    return f'<div class="job-status" role="status" aria-live="polite"><p{kind}>{text}</p>{bar}</div>'


def report_markdown(report: Mapping[str, Any]) -> str:
    """The asset report of an export for people who make things with it."""
    out = report.get("output", {})
    lines = [f"- **{report.get('faces', out.get('faces', 0)):,} triangles**"]
    if "watertight" in out:
        lines.append(
            "- " + ("closed surface (watertight)" if out["watertight"] else "open surface: double-sided material")
        )
    conflicts = out.get("winding_conflicts")
    if conflicts is not None:
        lines.append(
            "- " + ("all faces point outward" if not conflicts else f"{conflicts} edges with faces turned inside out")
        )
    if out.get("num_components", 1) > 1:
        lines.append(f"- {out['num_components']} separate parts")
    for problem in report.get("problems", ()):
        lines.append(f"- **not as promised:** {problem}")
    if report.get("charts"):
        lines.append(
            f"- texture cut into {report['charts']} pieces, {100 * report.get('texture_use', 0):.0f} % of it used"
        )
    if report.get("alpha_mode"):
        words = {"OPAQUE": "opaque", "MASK": "with cut-outs", "BLEND": "see-through in places"}
        lines.append(f"- material: {words.get(report['alpha_mode'], report['alpha_mode'])}")
    return "\n".join(lines)
