"""USDZ: an uncompressed zip of a text layer and its textures, with a preview surface; no package needed."""

from __future__ import annotations

import io
import zipfile

import numpy as np

from o_voxel.postprocess.gltf_document import GENERATOR
from o_voxel.postprocess.images import EncodedImage, ImageFormat, encode_images
from o_voxel.postprocess.textured import TexturedMesh

__all__ = ["usdz_bytes"]

_ALIGN = 64  # data of every file in the archive starts at a multiple of it
_WHEN = (1980, 1, 1, 0, 0, 0)
# Input of UsdPreviewSurface: texture, channels, type, colour space, whether it is a normal map.
_INPUTS = (
    ("diffuseColor", "baseColorTexture", "rgb", "color3f", "sRGB"),
    ("emissiveColor", "emissiveTexture", "rgb", "color3f", "sRGB"),
    ("normal", "normalTexture", "rgb", "normal3f", "raw"),
    ("roughness", "metallicRoughnessTexture", "g", "float", "raw"),
    ("metallic", "metallicRoughnessTexture", "b", "float", "raw"),
    ("occlusion", "occlusionTexture", "r", "float", "raw"),
)


def usdz_bytes(mesh: TexturedMesh, *, image_format: ImageFormat, quality: int, licence: str | None) -> bytes:
    """The archive: y up, metres. (USDZ File Format Specification; UsdPreviewSurface Specification 2.6.)"""
    encoded = encode_images(mesh.images, image_format, quality)
    names: dict[str, str] = {}
    files: dict[str, bytes] = {}
    first: dict[int, str] = {}
    for key, image in encoded.items():
        name = first.setdefault(id(mesh.images[key]), f"textures/{key}{image.suffix}")
        names[key], files[name] = name, image.data
    layer = _layer(mesh, names, encoded, licence).encode()
    return _archive({"asset.usda": layer, **files})


def _archive(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, payload in files.items():
            entry = zipfile.ZipInfo(name, _WHEN)
            start = stream.tell() + 30 + len(name.encode())  # of the data, without an extra field
            gap = -start % _ALIGN
            gap += _ALIGN if 0 < gap < 4 else 0
            if gap:
                entry.extra = b"\x86\x19" + (gap - 4).to_bytes(2, "little") + b"\0" * (gap - 4)
            archive.writestr(entry, payload)
    return stream.getvalue()


def _tuples(array: np.ndarray) -> str:
    """Rows as USD tuples, shortest decimal that reads back as the same float32."""
    rows = array.astype(np.float32).tolist()
    return ", ".join("(" + ", ".join(f"{v:.8g}" for v in row) + ")" for row in rows)


def _layer(mesh: TexturedMesh, names: dict[str, str], encoded: dict[str, EncodedImage], licence: str | None) -> str:
    uv = np.stack([mesh.uvs[:, 0], 1.0 - mesh.uvs[:, 1]], axis=1)
    low, high = mesh.positions.min(0), mesh.positions.max(0)
    notes = f'"{GENERATOR}"' if not licence else _quoted(f"{GENERATOR}; {licence}")
    sided = "true" if mesh.double_sided else "false"
    faces = ", ".join(map(str, mesh.faces.reshape(-1).tolist()))
    return f"""#usda 1.0
(
    defaultPrim = "Asset"
    doc = {notes}
    metersPerUnit = 1
    upAxis = "Y"
)

def Xform "Asset" (kind = "component")
{{
    def Mesh "Surface" (prepend apiSchemas = ["MaterialBindingAPI"])
    {{
        uniform bool doubleSided = {sided}
        float3[] extent = [{_tuples(np.stack([low, high]))}]
        int[] faceVertexCounts = [{", ".join(["3"] * len(mesh.faces))}]
        int[] faceVertexIndices = [{faces}]
        rel material:binding = </Asset/Material>
        normal3f[] normals = [{_tuples(mesh.normals)}] (interpolation = "vertex")
        point3f[] points = [{_tuples(mesh.positions)}]
        texCoord2f[] primvars:st = [{_tuples(uv)}] (interpolation = "vertex")
        uniform token subdivisionScheme = "none"
    }}

{_material(mesh, names)}}}
"""


def _quoted(text: str) -> str:
    plain = " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'


def _material(mesh: TexturedMesh, names: dict[str, str]) -> str:
    rows = list(_INPUTS)
    if mesh.alpha_mode != "OPAQUE":
        rows.append(("opacity", "baseColorTexture", "a", "float", "sRGB"))
    inputs: list[str] = []
    shaders: dict[str, tuple[str, str, list[str]]] = {}  # by file: name, colour space, outputs
    for name, texture, channels, kind, space in rows:
        if texture not in names:
            continue
        inputs.append(f"            {kind} inputs:{name}.connect = </Asset/Material/{texture}.outputs:{channels}>")
        shader, _, outputs = shaders.setdefault(names[texture], (texture, space, []))
        if texture != shader:  # occlusion lies in the image of roughness and metal
            inputs[-1] = inputs[-1].replace(f"/{texture}.", f"/{shader}.")
        if channels not in outputs:
            outputs.append(channels)
    if mesh.alpha_mode == "MASK":
        inputs.append(f"            float inputs:opacityThreshold = {mesh.alpha_cutoff:g}")
    body = "\n".join(inputs)
    text = f"""    def Material "Material"
    {{
        token outputs:surface.connect = </Asset/Material/Preview.outputs:surface>

        def Shader "Preview"
        {{
            uniform token info:id = "UsdPreviewSurface"
            int inputs:useSpecularWorkflow = 0
{body}
            token outputs:surface
        }}

        def Shader "UV"
        {{
            uniform token info:id = "UsdPrimvarReader_float2"
            string inputs:varname = "st"
            float2 outputs:result
        }}
"""
    for file, (texture, space, used) in shaders.items():
        declared = "\n".join(f"            {'float3' if c == 'rgb' else 'float'} outputs:{c}" for c in used)
        signed = texture == "normalTexture"
        scaling = (
            "            float4 inputs:scale = (2, 2, 2, 1)\n            float4 inputs:bias = (-1, -1, -1, 0)\n"
            if signed
            else ""
        )
        text += f"""
        def Shader "{texture}"
        {{
            uniform token info:id = "UsdUVTexture"
            asset inputs:file = @{file}@
            token inputs:sourceColorSpace = "{space}"
            float2 inputs:st.connect = </Asset/Material/UV.outputs:result>
            token inputs:wrapS = "clamp"
            token inputs:wrapT = "clamp"
{scaling}{declared}
        }}
"""
    return text + "    }\n"
