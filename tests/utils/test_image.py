"""Image preparation against worked values, for every mode of image, and bad input."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trellis2.utils.image import crop_to_foreground, has_transparency, limit_size, load_image, to_8bit


def canvas(width: int, height: int, box: tuple[int, int, int, int], alpha: int = 255) -> Image.Image:
    """RGBA canvas with a rectangle (x0, y0, x1, y1 inclusive) of the given alpha."""
    pixels = np.zeros((height, width, 4), np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0 : y1 + 1, x0 : x1 + 1] = (200, 100, 50, alpha)
    return Image.fromarray(pixels)


def test_example_image_crops_to_the_published_size(data_dir: Path) -> None:
    image = load_image(data_dir / "images" / "object_T.png")
    assert image.size == (1024, 1024)
    assert crop_to_foreground(limit_size(image)).size == (922, 922)


def test_rectangle_crops_to_the_published_size() -> None:
    assert crop_to_foreground(canvas(200, 200, (20, 10, 119, 59))).size == (98, 98)


def test_crop_reaches_outside_the_image_in_black() -> None:
    out = np.asarray(crop_to_foreground(canvas(100, 40, (0, 0, 99, 39))))
    assert out.shape == (98, 98, 3)
    assert (out[:20] == 0).all()
    assert (out[40, 40] == (200, 100, 50)).all()


def test_colours_are_multiplied_by_alpha_and_truncated() -> None:
    pixels = np.asarray(canvas(32, 32, (4, 4, 27, 27))).copy()
    pixels[16, 16] = (255, 129, 10, 100)
    out = np.asarray(crop_to_foreground(Image.fromarray(pixels)))
    scale = np.float32(100) / np.float32(255)
    expected = (np.array([255, 129, 10], np.float32) / 255 * scale * 255).astype(np.uint8)
    x = 16 - round((4 + 27) / 2 - (27 - 4) // 2)
    assert out[x, x].tolist() == expected.tolist()


@settings(max_examples=60, deadline=None)
@given(x0=st.integers(0, 30), y0=st.integers(0, 30), w=st.integers(6, 60), h=st.integers(6, 60))
def test_crop_is_an_even_square_of_the_longer_side(x0: int, y0: int, w: int, h: int) -> None:
    out = crop_to_foreground(canvas(100, 100, (x0, y0, x0 + w - 1, y0 + h - 1)))
    side = (max(w, h) - 1) // 2 * 2
    assert out.size == (side, side)
    assert np.asarray(out).max() == 200


def test_faint_subject_is_found_relative_to_its_own_alpha() -> None:
    assert crop_to_foreground(canvas(64, 64, (10, 10, 49, 49), alpha=120)).size == (38, 38)


def test_transparent_image_is_refused() -> None:
    with pytest.raises(ValueError, match="fully transparent"):
        crop_to_foreground(canvas(64, 64, (10, 10, 49, 49), alpha=0))


def test_tiny_subject_is_refused_with_its_size() -> None:
    with pytest.raises(ValueError, match="only 1 x 2 pixels"):
        crop_to_foreground(canvas(64, 64, (10, 10, 10, 11)))


def test_crop_needs_rgba() -> None:
    with pytest.raises(ValueError, match="mode RGBA"):
        crop_to_foreground(Image.new("RGB", (10, 10)))


def test_large_images_shrink_and_small_ones_stay() -> None:
    assert limit_size(Image.new("RGB", (2048, 1000))).size == (1024, 500)
    assert limit_size(Image.new("RGB", (300, 200))).size == (300, 200)
    assert limit_size(Image.new("RGB", (5000, 2))).size == (1024, 1)


def palette_with_transparency() -> Image.Image:
    image = Image.new("P", (20, 20), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (5, 5, 15, 15))
    image.info["transparency"] = 0
    return image


@pytest.mark.parametrize(
    ("image", "mode", "transparent"),
    [
        (Image.new("RGB", (9, 9)), "RGB", False),
        (Image.new("RGBA", (9, 9), (1, 2, 3, 255)), "RGBA", False),
        (Image.new("RGBA", (9, 9), (1, 2, 3, 254)), "RGBA", True),
        (Image.new("LA", (9, 9), (100, 0)), "RGBA", True),
        (Image.new("RGBa", (9, 9), (10, 10, 10, 100)), "RGBA", True),
        (palette_with_transparency(), "RGBA", True),
        (Image.new("P", (9, 9)), "RGB", False),
        (Image.new("L", (9, 9), 7), "RGB", False),
        (Image.new("1", (9, 9)), "RGB", False),
        (Image.new("CMYK", (9, 9)), "RGB", False),
        (Image.new("F", (9, 9)), "RGB", False),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_modes_become_8_bit_and_keep_their_transparency(image: Image.Image, mode: str, transparent: bool) -> None:
    out = to_8bit(image)
    assert out.mode == mode
    assert has_transparency(out) is transparent


def test_16_bit_grey_keeps_its_range() -> None:
    values = np.array([[0, 32768, 65535]] * 3, np.uint16)
    out = np.asarray(to_8bit(Image.fromarray(values)))
    assert out[0, :, 0].tolist() == [0, 128, 255]


def test_orientation_tag_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees to show upright
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").size == (10, 20)


def test_bytes_and_files_load_alike(tmp_path: Path) -> None:
    canvas(20, 20, (2, 2, 17, 17)).save(tmp_path / "a.png")
    a = load_image(tmp_path / "a.png")
    b = load_image((tmp_path / "a.png").read_bytes())
    c = load_image(io.BytesIO((tmp_path / "a.png").read_bytes()))
    assert np.array_equal(np.asarray(a), np.asarray(b))
    assert np.array_equal(np.asarray(a), np.asarray(c))


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="image file not found"):
        load_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="is a folder"):
        load_image(tmp_path)


def test_text_and_truncated_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(ValueError, match="not an image in a known format"):
        load_image(tmp_path / "text.png")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cannot be read as an image"):
        load_image(tmp_path / "half.png")


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match="must be a PIL image, got ndarray"):
        to_8bit(np.zeros((4, 4, 3)))  # type: ignore[arg-type]
