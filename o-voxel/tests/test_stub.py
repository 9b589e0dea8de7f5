"""The typed stub of the core names what the core has, with the same parameters."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import o_voxel
from o_voxel._native import native_module

STUB = Path(o_voxel.__file__).with_name("_C.pyi")


@pytest.mark.skipif(native_module() is None, reason="the compiled core is not built")
def test_stub_and_core_agree():
    native = native_module()
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    functions: dict[str, set[tuple[str, ...]]] = {}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            functions.setdefault(node.name, set()).add(tuple(a.arg for a in (*node.args.posonlyargs, *node.args.args)))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    public = {name: value for name, value in vars(native).items() if not name.startswith("_")}
    for name, value in public.items():
        if isinstance(value, type):
            assert name in classes
        elif callable(value):
            assert name in functions, f"{name} is missing: run python o-voxel/make_stub.py"
            for line in (value.__doc__ or "").splitlines():
                if line.startswith(f"{name}("):
                    names = tuple(re.findall(r"(?:^|, )(\w+): ", line[len(name) + 1 :].partition(") -> ")[0]))
                    assert names in functions[name], f"{name}{names}: run python o-voxel/make_stub.py"
    extra = {name for name in {*functions, *classes} if name not in public}
    assert not extra or (not native.with_cuda and all("cuda" in name for name in extra)), extra
