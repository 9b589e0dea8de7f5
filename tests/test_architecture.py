"""The import graph: arrows point one way, and importing the packages needs nothing optional."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
ROOTS = {"trellis2": REPO, "o_voxel": REPO / "o-voxel", "data_toolkit": REPO}  # package -> folder it lies in

# Tiers of design.md: a module may import its own package and packages of a strictly lower tier.
TIERS = {
    "o_voxel": 0,
    "trellis2.utils": 1,
    "trellis2.ops": 1,
    "trellis2.modules": 2,
    "trellis2.representations": 2,
    "trellis2.models": 3,
    "trellis2.samplers": 3,
    "trellis2.renderers": 3,
    "trellis2.datasets": 3,
    "trellis2.pipelines": 5,
    "trellis2.trainers": 5,
    "trellis2.cli": 6,
    "trellis2.doctor": 6,
    "trellis2.serve": 6,
    "trellis2.apps": 7,
    "data_toolkit": 6,
}
# Helpers named `utils` by the published interface that sit above the renderers.
TIER_OF_MODULE = {"trellis2.render": 6, "trellis2.utils.render_utils": 4, "trellis2.utils.vis_utils": 4}

# Front ends, which need the extra `app`; nothing below them imports them.
FRONT_ENDS = ("trellis2.apps", "trellis2.serve")

# Optional, non-commercial or gated: never reached by importing the packages.
FORBIDDEN = (
    "bpy", "cumesh", "flash_attn", "flash_attn_3", "flash_attn_interface", "flex_gemm", "gradio", "kornia", "lpips",
    "nvdiffrast", "nvdiffrec_render", "pandas", "rembg", "scipy", "skimage", "spconv", "tensorboard", "torchsparse",
    "torchvision", "utils3d", "xformers",
)  # fmt: skip


def _package_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "trellis2":
        return ".".join(parts[:2]) if len(parts) > 1 else None
    return parts[0] if parts[0] in TIERS else None


def _tier(module: str) -> int | None:
    for length in range(len(module.split(".")), 0, -1):
        name = ".".join(module.split(".")[:length])
        if name in TIER_OF_MODULE:
            return TIER_OF_MODULE[name]
    package = _package_of(module)
    return None if package is None else TIERS[package]


def _sources() -> list[tuple[str, Path]]:
    found = []
    for name, base in ROOTS.items():
        root = base / name
        for path in sorted(root.rglob("*.py")):
            module = ".".join(path.relative_to(base).with_suffix("").parts)
            found.append((module.removesuffix(".__init__"), path))
    return found


def _imports(module: str, path: Path) -> set[str]:
    is_package = path.name == "__init__.py"
    targets = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*parts, base] if base else parts)
            targets.update(f"{base}.{alias.name}" for alias in node.names)
    return targets


def test_every_subpackage_has_a_tier():
    packages = {".".join(path.parent.relative_to(REPO).parts) for path in (REPO / "trellis2").glob("*/__init__.py")}
    assert packages == {name for name in TIERS if name.startswith("trellis2.")}
    modules = {module for module, _ in _sources()}
    assert set(TIER_OF_MODULE) < modules
    assert modules > set(ROOTS)


def test_imports_only_point_the_allowed_way():
    wrong = []
    for module, path in _sources():
        own, tier = _package_of(module), _tier(module)
        if tier is None:
            continue
        for target in sorted(_imports(module, path)):
            target_tier = _tier(target)
            if target_tier is None or (_package_of(target) == own and module not in TIER_OF_MODULE):
                if target in TIER_OF_MODULE and TIER_OF_MODULE[target] > tier:
                    wrong.append(f"{module} (tier {tier}) imports {target} (tier {TIER_OF_MODULE[target]})")
                continue
            if target_tier >= tier and _package_of(target) != own:
                wrong.append(f"{module} (tier {tier}) imports {target} (tier {target_tier})")
    assert not wrong, "\n".join(wrong)


def test_no_star_imports_and_no_private_cuda_calls():
    wrong = []
    for module, path in _sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                wrong.append(f"{module}:{node.lineno} star import")
            call = node.func if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
            own = call is not None and isinstance(call.value, ast.Name) and call.value.id in ("self", "super")
            if call is not None and call.attr == "cuda" and not own:
                wrong.append(f"{module}:{node.lineno} .cuda() in library code")
    assert not wrong, "\n".join(wrong)


_BLOCKED_IMPORT = """
import importlib, pkgutil, socket, sys
forbidden = set({forbidden!r})

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in forbidden:
            raise ImportError(f"import of {{name}} is blocked by this test")

sys.meta_path.insert(0, Blocker())

def no_network(*args, **kwargs):
    raise OSError("network is blocked by this test")

socket.socket.connect = no_network
socket.create_connection = no_network
import trellis2, o_voxel, data_toolkit
for package in (trellis2, o_voxel, data_toolkit):
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if info.name.split(".")[-1] not in ("__main__", "_C") and not info.name.startswith({front_ends!r}):
            importlib.import_module(info.name)
print("ok")
"""


# Where the name of a module is not that of its distribution.
DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python-headless", "imageio_ffmpeg": "imageio-ffmpeg"}
# Imported inside functions that say what to install.
ON_DEMAND = {"trellis2": {"lpips", "pandas", "triton"}, "o_voxel": {"DracoPy"}, "data_toolkit": set()}


def _declared(pyproject: Path, field: str = "dependencies") -> set[str]:
    """Distributions named in a list of pyproject.toml (`tomllib` is not there before Python 3.11)."""
    text = pyproject.read_text().split(f"\n{field} = [", 1)[1].split("]", 1)[0]
    return {re.match(r"[\w.-]+", item).group() for item in re.findall(r'"([^"]+)"', text)}


def _third_party(package: str, front_ends: bool = False) -> set[str]:
    tops = set()
    for module, path in _sources():
        if module.split(".")[0] == package and module.startswith(FRONT_ENDS) == front_ends:
            tops |= {target.split(".")[0] for target in _imports(module, path)}
    return {name for name in tops if name and name not in sys.stdlib_module_names and name not in ROOTS}


@pytest.mark.parametrize("package", list(ROOTS))
def test_every_dependency_is_declared(package):
    declared = _declared((REPO / "o-voxel" if package == "o_voxel" else REPO) / "pyproject.toml")
    used = {DISTRIBUTIONS.get(name, name) for name in _third_party(package)}
    assert used - declared == ON_DEMAND[package]
    if package == "o_voxel":
        assert declared == used - ON_DEMAND[package]


def test_front_ends_need_the_extra_app_only():
    declared = _declared(REPO / "pyproject.toml") | _declared(REPO / "pyproject.toml", "app")
    assert {DISTRIBUTIONS.get(name, name) for name in _third_party("trellis2", front_ends=True)} <= declared


@pytest.mark.slow
def test_import_needs_no_cuda_no_network_and_nothing_optional(tmp_path):
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)}
    code = _BLOCKED_IMPORT.format(forbidden=FORBIDDEN, front_ends=FRONT_ENDS)
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, cwd=REPO)
    assert result.returncode == 0 and result.stdout.strip().endswith("ok"), result.stderr[-3000:]


def test_importing_the_packages_alone_is_light():
    code = "import sys, trellis2, o_voxel; heavy = {'torch', 'cv2', 'trimesh', 'transformers', 'o_voxel._C'}"
    code += " & set(sys.modules); assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=REPO)
