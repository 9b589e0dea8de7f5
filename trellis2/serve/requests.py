"""Options of the three kinds of jobs: checked when a request arrives, and read again by the worker.

The pipelines are imported at the first check, so that a server answers before PyTorch is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trellis2.pipelines.job_options import ExportOptions, GenerateOptions

__all__ = ["CHECKS", "GenerateRequest", "check_export", "check_generate", "check_texture"]


@dataclass(frozen=True)
class GenerateRequest:
    """Options of a "generate" job: those of the generation, and two of its own.

    `export`: options of the file `asset.<format>` to make at once, or None for the latents alone.
    `preview`: also pictures from all sides in every light, for pages.
    """

    options: GenerateOptions
    export: ExportOptions | None
    preview: bool

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerateRequest:
        """Raises ValueError that names the option."""
        from trellis2.pipelines.job_options import ExportOptions, GenerateOptions

        rest = dict(values)
        export, preview = rest.pop("export", {}), rest.pop("preview", False)
        if export is not None and not isinstance(export, Mapping):
            raise ValueError(f"export must be an object of options, or null, got {export!r}")
        if not isinstance(preview, bool):
            raise ValueError(f"preview must be true or false, got {preview!r}")
        options = GenerateOptions.from_dict(rest)
        if options.num_samples != 1:
            raise ValueError(f"num_samples must be 1: send a request for every sample, got {options.num_samples}")
        return cls(options, None if export is None else ExportOptions.from_dict(export), preview)

    def as_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` reads."""
        export = None if self.export is None else self.export.as_dict()
        return {**self.options.as_dict(), "export": export, "preview": self.preview}


def check_generate(values: Mapping[str, Any]) -> dict[str, Any]:
    return GenerateRequest.from_dict(values).as_dict()


def check_texture(values: Mapping[str, Any]) -> dict[str, Any]:
    from trellis2.pipelines.job_options import TextureOptions

    return TextureOptions.from_dict(values).as_dict()


def check_export(values: Mapping[str, Any]) -> dict[str, Any]:
    from trellis2.pipelines.job_options import ExportOptions

    return ExportOptions.from_dict(values).as_dict()


CHECKS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "generate": check_generate,
    "texture": check_texture,
    "export": check_export,
}
