"""A Wavefront OBJ file whose materials are replaced while its lines of geometry stay as they are.

Faces without UVs get texture indices; all other `v`, `vn`, `f`, `o`, `g` and `vt` lines are copied byte by byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from trellis2.utils.files import write_atomically

from .surfaces import SurfaceGroup

__all__ = ["ObjScene"]

GroupKey = tuple[str, bool]  # material, whether its UVs are the file's
_MAX_BYTES = 1 << 30


class _Face(NamedTuple):
    line: int
    corners: list[tuple[int, int | None, str]]  # vertex, texture coordinate, what follows the second slash
    material: str


class ObjScene:
    """Triangles of an OBJ file by material, and the file with new textures."""

    def __init__(self, path: str | Path, unwrap: bool = False) -> None:
        """Read a file. `unwrap`: treat all faces as if they had no UVs. Raises ValueError naming a bad line."""
        path = Path(path)
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"{path} must be smaller than 1 GiB")
        self.lines = path.read_bytes().splitlines(keepends=True)
        self._vertices: list[list[float]] = []
        self._uvs: list[list[float]] = []
        self._list: list[_Face] = []
        self._read(path)
        if not self._list:
            raise ValueError(f"{path} must hold a mesh with faces, found none")
        vertices, uvs = np.array(self._vertices, np.float64), np.array(self._uvs, np.float64).reshape(-1, 2)
        self._groups: dict[GroupKey, list[tuple[int, int]]] = {}  # (face, first corner of a triangle of its fan)
        corners: dict[GroupKey, list[np.ndarray]] = {}
        for number, face in enumerate(self._list):
            textured = not unwrap and all(t is not None for _, t, _ in face.corners)
            key = (face.material, textured)
            for k in range(1, len(face.corners) - 1):
                self._groups.setdefault(key, []).append((number, k))
        self.groups: dict[GroupKey, SurfaceGroup] = {}
        for key, triangles in self._groups.items():
            chosen = [[self._list[n].corners[j] for j in (0, k, k + 1)] for n, k in triangles]
            points = vertices[[[v for v, _, _ in three] for three in chosen]]
            own = uvs[[[t or 0 for _, t, _ in three] for three in chosen]] if key[1] else None
            if own is not None:
                own = np.stack([own[..., 0], 1 - own[..., 1]], axis=-1)  # v up -> down the rows
            self.groups[key] = SurfaceGroup(key[0] or "material", points, own)
            corners.setdefault(key, []).append(points)
        self.corners = np.concatenate([c for parts in corners.values() for c in parts])
        if not np.isfinite(self.corners).all():
            raise ValueError(f"{path} must have finite vertex coordinates, got NaN or infinity")

    def _read(self, path: Path) -> None:
        material = ""
        for number, line in enumerate(self.lines):
            words = line.split()
            kind = words[0] if words else b""
            try:
                if kind == b"v":
                    self._vertices.append([float(w) for w in words[1:4]])
                elif kind == b"vt":
                    self._uvs.append([float(words[1]), float(words[2]) if len(words) > 2 else 0.0])
                elif kind == b"usemtl":
                    material = b" ".join(words[1:]).decode(errors="replace")
                elif kind == b"f":
                    if line.rstrip().endswith(b"\\"):
                        raise ValueError("continued lines are not supported")
                    corners = [self._corner(w.decode("ascii")) for w in words[1:]]
                    if len(corners) < 3:
                        raise ValueError("a face needs three corners")
                    self._list.append(_Face(number, corners, material))
            except (ValueError, IndexError) as error:
                raise ValueError(f"{path}, line {number + 1}: {error}") from None

    def _corner(self, word: str) -> tuple[int, int | None, str]:
        parts = word.split("/")
        vertex = self._index(int(parts[0]), len(self._vertices))
        uv = self._index(int(parts[1]), len(self._uvs)) if len(parts) > 1 and parts[1] else None
        return vertex, uv, parts[2] if len(parts) > 2 else ""

    @staticmethod
    def _index(value: int, count: int) -> int:
        index = value - 1 if value > 0 else count + value
        if not 0 <= index < count:
            raise ValueError(f"index {value} points past the {count} rows before it")
        return index

    def write(self, path: str | Path, textures: Mapping[GroupKey, Any], image_format: str = "png") -> list[Path]:
        """Write the OBJ, `NAME.mtl` and the pictures beside it; the OBJ itself appears last."""
        path = Path(path)
        if path.suffix.lower() != ".obj":
            raise ValueError(f"an OBJ scene is written as .obj, got {path.name!r}")
        kind = "png" if image_format == "webp" else image_format  # few readers of OBJ know WebP
        names = {key: self._name(key) for key in textures}
        blocks: list[str] = []
        files: list[Path] = []
        for number, (key, texture_set) in enumerate(textures.items()):
            block, pictures = self._material(path, number, names[key], texture_set, kind)
            blocks.append(block)
            files += pictures
        lines = self._rewritten(names, path.stem)
        write_atomically(path.with_suffix(".mtl"), lambda name: Path(name).write_text("\n".join(blocks)))
        write_atomically(path, lambda name: Path(name).write_bytes(b"".join(lines)))
        return [path, path.with_suffix(".mtl"), *files]

    def _name(self, key: GroupKey) -> str:
        """Name of the material of a group; faces without UVs that shared one with others get their own."""
        name = key[0] or "material"
        return name if key[1] or (key[0], True) not in self.groups else f"{name}_unwrapped"

    @staticmethod
    def _material(path: Path, number: int, name: str, texture_set: Any, kind: str) -> tuple[str, list[Path]]:
        color = Image.fromarray(texture_set.images["baseColorTexture"])
        other = Image.fromarray(texture_set.images["metallicRoughnessTexture"])
        pictures = {"map_Kd": color.convert("RGB"), "map_Pr": other.getchannel(1), "map_Pm": other.getchannel(2)}
        if color.mode == "RGBA":
            pictures["map_d"] = color.getchannel(3)
        lines, files = [f"newmtl {name}", "Kd 1 1 1", "Pr 1", "Pm 1"], []
        for statement, picture in pictures.items():
            file = path.with_name(f"{path.stem}_{number}_{statement[4:].lower()}.{kind}")
            write_atomically(file, _saver(picture, kind))
            lines.append(f"{statement} {file.name}")
            files.append(file)
        return "\n".join(lines) + "\n", files

    def _rewritten(self, names: Mapping[GroupKey, str], stem: str) -> list[bytes]:
        """Lines of the new file: those of the old one but for materials and the faces that get UVs."""
        keys: dict[int, GroupKey] = {}
        new_uvs: dict[int, np.ndarray] = {}  # face -> [triangles, 3, 2]
        for key, triangles in self._groups.items():
            uvs = self.groups[key].uvs
            if uvs is None:
                raise ValueError(f"surface group {self.groups[key].name!r} must be unwrapped before it is written")
            for row, (face, _) in enumerate(triangles):
                keys[face] = key
                if not key[1]:
                    new_uvs[face] = np.concatenate([new_uvs.get(face, np.zeros((0, 3, 2))), uvs[row : row + 1]])
        by_line = {face.line: number for number, face in enumerate(self._list)}
        out: list[bytes] = [f"mtllib {stem}.mtl\n".encode()]
        current, count = None, 0
        for number, line in enumerate(self.lines):
            kind = (line.split() or [b""])[0]
            if kind in (b"mtllib", b"usemtl"):
                continue
            count += kind == b"vt"
            if number in by_line:
                face = by_line[number]
                if names[keys[face]] != current:
                    current = names[keys[face]]
                    out.append(f"usemtl {current}\n".encode())
                if face in new_uvs:
                    text, count = self._face_with_uvs(self._list[face], new_uvs[face], count)
                    out.append(text.encode())
                    continue
            out.append(line)
        return out

    def _face_with_uvs(self, face: _Face, uvs: np.ndarray, count: int) -> tuple[str, int]:
        """Texture coordinates and face; a polygon whose triangles lie in several charts becomes triangles."""
        fan = [(0, k, k + 1) for k in range(1, len(face.corners) - 1)]
        spots: dict[int, np.ndarray] = {}
        whole = all(
            np.array_equal(spots.setdefault(corner, uvs[i, j]), uvs[i, j])
            for i, three in enumerate(fan)
            for j, corner in enumerate(three)
        )
        polygons = [[(c, spots[c]) for c in range(len(face.corners))]] if whole else [
            [(corner, uvs[i, j]) for j, corner in enumerate(three)] for i, three in enumerate(fan)
        ]  # fmt: skip
        text = ""
        for polygon in polygons:
            words = []
            for corner, (u, v) in polygon:
                count += 1
                text += f"vt {u:.8g} {1 - v:.8g}\n"
                vertex, _, rest = face.corners[corner]
                words.append(f"{vertex + 1}/{count}" + (f"/{rest}" if rest else ""))
            text += f"f {' '.join(words)}\n"
        return text, count


def _saver(picture: Image.Image, kind: str) -> Any:
    return lambda name: picture.save(name, kind.upper())
