"""What is accepted as a picture or a mesh."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trellis2.serve.uploads import clean_image, mesh_format


def encoded(image, format_, **options):
    out = io.BytesIO()
    image.save(out, format=format_, **options)
    return out.getvalue()


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 4), dtype=np.uint8), "RGBA")


@pytest.mark.parametrize("format_", ["PNG", "WEBP"])
def test_pictures_keep_their_pixels(picture, format_):
    data = encoded(picture, format_, **({"lossless": True, "exact": True} if format_ == "WEBP" else {}))
    again = Image.open(io.BytesIO(clean_image(data)))
    assert again.format == "PNG" and np.array_equal(np.asarray(again), np.asarray(picture))


def test_metadata_is_dropped_and_orientation_applied(picture):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "where I live"
    again = Image.open(io.BytesIO(clean_image(encoded(picture.convert("RGB"), "JPEG", exif=exif))))
    assert again.size == (20, 30) and not again.getexif()
    assert b"where I live" not in clean_image(encoded(picture.convert("RGB"), "JPEG", exif=exif))


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_png_bomb_is_refused_by_its_header():
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 6, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="at most"):
        clean_image(bomb)


def test_too_many_pixels_and_animations_are_refused(picture):
    with pytest.raises(ValueError, match="30 x 20"):
        clean_image(encoded(picture, "PNG"), max_pixels=599)
    frames = encoded(picture, "WEBP", save_all=True, append_images=[picture.rotate(90, expand=False)])
    with pytest.raises(ValueError, match="animation"):
        clean_image(frames)


@pytest.mark.parametrize("format_", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(picture, format_):
    with pytest.raises(ValueError, match="must be a picture"):
        clean_image(encoded(picture.convert("RGB"), format_))


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=400), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\x10\0\0\0WEBP"])
)
def test_any_bytes_give_a_picture_or_a_clear_refusal(data, head):
    try:
        clean_image(head + data)
    except ValueError as error:
        assert str(error)


def test_truncated_picture_is_refused(picture):
    with pytest.raises(ValueError, match="cannot be read"):
        clean_image(encoded(picture, "PNG")[:-200])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"glTF\x02\0\0\0", "glb"),
        (b"ply\nformat ascii 1.0\n", "ply"),
        (b"solid x\nfacet normal 0 0 1\n", "stl"),
        (bytes(80) + struct.pack("<I", 1) + bytes(50), "stl"),
        (b"# made by hand\nv 0 0 0\n", "obj"),
    ],
)
def test_meshes_are_known_by_their_content(data, expected):
    assert mesh_format(data) == expected


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"\x7fELF", b"<html>", bytes(80) + struct.pack("<I", 7)])
def test_other_content_is_no_mesh(data):
    with pytest.raises(ValueError, match="must be a mesh"):
        mesh_format(data)
