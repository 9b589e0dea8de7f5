"""Write `o_voxel/_C.pyi`, the typed stub of the compiled core: `python o-voxel/make_stub.py` after a build.

`o-voxel/tests/test_stub.py` fails when the stub and a built core differ.
"""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import textwrap
from pathlib import Path

TARGET = Path(__file__).parent / "o_voxel" / "_C.pyi"
_LAYOUT = re.compile(r"dict\((?:shape=(\([^)]*\)))?[^)]*\)")
_DOCSTRING = re.compile(r'^( +)"""\n?\s*(.*?)\s*"""$', re.MULTILINE | re.DOTALL)


def _wrap(match: re.Match[str]) -> str:
    indent, text = match[1], " ".join(match[2].split())
    lines = textwrap.wrap(text, 110 - len(indent))
    if len(lines) == 1:
        return f'{indent}"""{lines[0]}"""'
    return "\n".join([f'{indent}"""', *(indent + line for line in lines), f'{indent}"""'])


def make_stub() -> str:
    """The text of the stub of the core that is installed."""
    from nanobind.stubgen import StubGen

    generator = StubGen(importlib.import_module("o_voxel._C"))
    generator.put(importlib.import_module("o_voxel._C"))
    text = _DOCSTRING.sub(_wrap, _LAYOUT.sub(lambda match: f'"shape {match[1] or "..."}"', generator.get()))
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Write the stub."""
    temporary = TARGET.with_name(f".{TARGET.name}.tmp")
    temporary.write_text(make_stub(), encoding="utf-8")
    temporary.replace(TARGET)


if __name__ == "__main__":
    main()
