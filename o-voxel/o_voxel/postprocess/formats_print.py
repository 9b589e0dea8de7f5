"""3MF: a zip of XML parts for printers, in millimetres, z up, with the base colour as texture."""

from __future__ import annotations

import io
import zipfile
from xml.sax.saxutils import escape

import numpy as np

from o_voxel.postprocess.formats_plain import MILLIMETRES, z_up
from o_voxel.postprocess.gltf_document import GENERATOR
from o_voxel.postprocess.images import encode_images
from o_voxel.postprocess.textured import TexturedMesh

__all__ = ["threemf_bytes"]

_CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_MATERIAL = "http://schemas.microsoft.com/3dmanufacturing/material/2015/02"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_TEXTURE = "/3D/Textures/color.png"
_WHEN = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same asset


def threemf_bytes(mesh: TexturedMesh, *, licence: str | None) -> bytes:
    """The package. Corners that share a place become one vertex, so that a closed surface is closed in the file too.

    Faces that this leaves without area are dropped. (3MF Core Specification 1.3, Materials Extension 1.2.)
    """
    places, index = np.unique(np.round(z_up(mesh.positions) * MILLIMETRES, 5), axis=0, return_inverse=True)
    corners = index.reshape(-1)[mesh.faces]
    a, b, c = corners.T
    keep = (a != b) & (b != c) & (c != a)
    corners, charts = corners[keep], mesh.faces[keep]
    color = {"baseColorTexture": mesh.images["baseColorTexture"]} if "baseColorTexture" in mesh.images else {}
    encoded = encode_images(color, "png", 100)
    out = io.StringIO()
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    out.write(f'<model unit="millimeter" xml:lang="en-US" xmlns="{_CORE}" xmlns:m="{_MATERIAL}">\n')
    out.write(f'<metadata name="Application">{GENERATOR}</metadata>\n')
    if licence:
        out.write(f'<metadata name="LicenseTerms">{escape(licence)}</metadata>\n')
    out.write("<resources>\n")
    if encoded:
        out.write(
            f'<m:texture2d id="1" path="{_TEXTURE}" contenttype="image/png" tilestyleu="clamp" tilestylev="clamp"/>'
        )
        out.write('\n<m:texture2dgroup id="2" texid="1">\n')
        uv = np.stack([mesh.uvs[:, 0], 1.0 - mesh.uvs[:, 1]], axis=1)
        np.savetxt(out, uv, fmt='<m:tex2coord u="%.6f" v="%.6f"/>')
        out.write("</m:texture2dgroup>\n")
    out.write('<object id="3" type="model"><mesh><vertices>\n')
    np.savetxt(out, places, fmt='<vertex x="%.5f" y="%.5f" z="%.5f"/>')
    out.write("</vertices><triangles>\n")
    if encoded:
        rows = np.concatenate([corners, charts], axis=1)
        np.savetxt(out, rows, fmt='<triangle v1="%d" v2="%d" v3="%d" pid="2" p1="%d" p2="%d" p3="%d"/>')
    else:
        np.savetxt(out, corners, fmt='<triangle v1="%d" v2="%d" v3="%d"/>')
    out.write("</triangles></mesh></object>\n</resources>\n")
    low = places.min(0)
    shift = " ".join(f"{value:.5f}" for value in (0.0, 0.0, -low[2]))  # stands on the plate
    out.write(f'<build><item objectid="3" transform="1 0 0 0 1 0 0 0 1 {shift}"/></build>\n</model>\n')
    return _package(out.getvalue(), encoded["baseColorTexture"].data if encoded else None)


def _package(model: str, texture: bytes | None) -> bytes:
    types = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Types xmlns="{_TYPES}">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>'
        '<Default Extension="png" ContentType="image/png"/></Types>'
    )
    kind = "http://schemas.microsoft.com/3dmanufacturing/2013/01/"
    entries: list[tuple[str, bytes | str]] = [
        ("[Content_Types].xml", types),
        ("_rels/.rels", _relations("/3D/3dmodel.model", kind + "3dmodel")),
        ("3D/3dmodel.model", model),
    ]
    if texture is not None:
        entries.append(("3D/_rels/3dmodel.model.rels", _relations(_TEXTURE, kind + "3dtexture")))
        entries.append((_TEXTURE[1:], texture))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries:
            stored = name.endswith(".png")
            entry = zipfile.ZipInfo(name, _WHEN)
            entry.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            archive.writestr(entry, content, compresslevel=None if stored else 4)
    return stream.getvalue()


def _relations(target: str, kind: str) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Relationships xmlns="{_RELATIONS}">'
        f'<Relationship Target="{target}" Id="rel0" Type="{kind}"/></Relationships>'
    )
