"""Damaged and hostile glTF files: the reader gives triangles or a ValueError, in bounded memory."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from o_voxel.convert.gltf_input import read_gltf
from o_voxel.gltf import GltfFile

LIMIT = 1 << 24


def full_document(builder):
    """Every feature in one file: skin, morph, instances, sparse data, textures, transforms, strips."""
    joint = builder.node(translation=[0, 0.1, 0])
    attributes = {
        "JOINTS_0": builder.accessor(np.zeros((4, 4)), "uint8"),
        "WEIGHTS_0": builder.accessor(np.tile([1.0, 0, 0, 0], (4, 1))),
        "NORMAL": builder.accessor(np.tile([0, 0, 1.0], (4, 1))),
        "COLOR_0": builder.accessor(np.full((4, 4), 200), "uint8", normalized=True),
    }
    info = {"index": builder.image(np.full((4, 4, 4), 90), wrapS=33071, magFilter=9728), "texCoord": 1,
            "extensions": {"KHR_texture_transform": {"offset": [0.1, 0], "rotation": 0.5}}}  # fmt: skip
    material = {"pbrMetallicRoughness": {"baseColorTexture": info}, "alphaMode": "MASK", "normalTexture": dict(info)}
    target = {"POSITION": builder.accessor(np.ones((4, 3)))}
    uvs = {0: np.zeros((4, 2)), 1: np.ones((4, 2))}
    skinned = builder.quad(uvs, material, attributes=attributes, targets=[target])
    builder.doc["meshes"][skinned]["weights"] = [0.5]
    builder.doc["skins"] = [{"joints": [joint], "inverseBindMatrices": builder.accessor(np.eye(4).reshape(1, 16))}]
    builder.node(mesh=skinned, skin=0)
    offsets = {"TRANSLATION": builder.accessor([[0, 0, 0], [1, 0, 0]])}
    plain = builder.quad(uvs, dict(material), mode=5)
    child = builder.node(mesh=plain, extensions={"EXT_mesh_gpu_instancing": {"attributes": offsets}})
    builder.node(children=[child], rotation=[0, 0, 0, 1])
    return builder


@pytest.fixture
def document(gltf):
    return full_document(gltf)


def survives(data: bytes) -> None:
    try:
        source = read_gltf(GltfFile.parse(data, max_bytes=LIMIT))
    except ValueError as error:
        assert str(error)
        return
    assert np.isfinite(source.triangles).all()
    assert len(source.normals) == len(source.triangles) == len(source.material_ids) == len(source.uvs)
    assert source.material_ids.max(initial=-1) < len(source.materials)


def test_the_document_itself_is_read(document):
    assert len(read_gltf(GltfFile.parse(document.glb())).triangles) == 2 + 2 * 4


def test_mutated_bytes(document):
    """Bytes set, cut, dropped, repeated and inserted at random places: 1500 files."""
    data = document.glb()
    generator = np.random.default_rng(0)
    for _ in range(1500):
        mutated = bytearray(data)
        for _ in range(int(generator.integers(1, 6))):
            at = int(generator.integers(0, len(mutated)))
            kind = generator.integers(0, 5)
            if kind <= 1:
                mutated[at] = int(generator.integers(0, 256))
            elif kind == 2:
                del mutated[at : at + int(generator.integers(1, 30))]
            elif kind == 3:
                mutated[at:at] = mutated[at : at + int(generator.integers(1, 30))]
            else:
                mutated[at:at] = generator.bytes(int(generator.integers(1, 9)))
            if not mutated:
                break
        survives(bytes(mutated))


VALUES = st.one_of(
    st.integers(-3, 40), st.sampled_from([2**31, 2**40, 2**63, 2**70, -(2**70), 1e300, 1e-300, 0.5, None, True]),
    st.text(max_size=4), st.lists(st.integers(-2, 12), max_size=4),
    st.dictionaries(st.sampled_from(["index", "bufferView", "count", "extensions"]), st.integers(-1, 9), max_size=2),
)  # fmt: skip


def paths(value, prefix=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix] * bool(prefix) + [path for key, inner in items for path in paths(inner, (*prefix, key))]


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_field_of_the_json_replaced(document, data):
    doc = json.loads(json.dumps(document.doc))
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from(paths(doc)))
        target = doc
        for key in parents:
            target = target[key]
        if isinstance(target, dict) and data.draw(st.booleans()):
            del target[last]
        else:
            target[last] = data.draw(VALUES)
    builder = type(document)()
    builder.doc, builder.binary = doc, bytearray(document.binary)
    try:
        glb = builder.glb()
    except (ValueError, AttributeError, TypeError):
        return  # not a document any more
    survives(glb)


def test_every_truncation_is_an_error(document):
    data = document.glb()
    for size in range(0, len(data), 13):
        with pytest.raises(ValueError):
            GltfFile.parse(data[:size])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["nodes"][0].update(children=[0]), "ancestor|two parents"),
        (lambda d: d["nodes"][0].update(children=[3]) or d["nodes"][3].update(children=[0]), "ancestor|two parents"),
        (lambda d: d["nodes"][0].update(children=[1, 1]), "two parents"),
        (lambda d: d["nodes"][1].update(mesh=77), r"meshes\[77\], there are 2"),
        (lambda d: d["nodes"][1].update(translation=[0, 1]), "translation must be 3 finite numbers"),
        (lambda d: d["nodes"][1].update(translation=[0, 1, 10**400]), "translation must be 3 finite numbers"),
        (lambda d: d["accessors"][0].update(count=10**9), "count must be a whole number"),
        (lambda d: d["accessors"][0].update(count=5), "outside its buffer view|must be"),
        (lambda d: d["bufferViews"][0].update(byteLength=10**6), "outside its buffer"),
        (lambda d: d["materials"][0].update(alphaMode="GLOW"), "alphaMode"),
        (lambda d: d["meshes"][0]["primitives"][0].update(material=9), r"materials\[9\]"),
        (lambda d: d["images"][0].update(bufferView=0), "images.0. cannot be read"),
    ],
)  # fmt: skip
def test_messages_name_the_fault(document, change, message):
    change(document.doc)
    with pytest.raises(ValueError, match=message):
        read_gltf(GltfFile.parse(document.glb()))


def test_empty_accessors_cannot_claim_memory(gltf):
    """Accessors without data are zeros of any length; together they are limited."""
    for _ in range(64):
        gltf.doc["accessors"].append({"componentType": 5126, "count": 1 << 20, "type": "VEC3"})
        gltf.doc["meshes"].append({"primitives": [{"attributes": {"POSITION": len(gltf.doc["accessors"]) - 1}}]})
        gltf.node(mesh=len(gltf.doc["meshes"]) - 1)
    file = GltfFile.parse(gltf.glb(), max_bytes=LIMIT)
    tracemalloc.start()
    with pytest.raises(ValueError, match="more data than allowed"):
        read_gltf(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * LIMIT


def test_image_bombs_are_refused(gltf):
    gltf.node(mesh=gltf.quad({0: np.zeros((4, 2))}, {"pbrMetallicRoughness": {
        "baseColorTexture": {"index": gltf.image(np.zeros((4000, 4000, 3)))}}}))  # fmt: skip
    with pytest.raises(ValueError, match="more data than allowed"):
        read_gltf(GltfFile.parse(gltf.glb(), max_bytes=LIMIT))
