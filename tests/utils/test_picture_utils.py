"""Videos, image grids, captions, point sequences."""

from __future__ import annotations

import math

import imageio.v2 as imageio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trellis2.utils.image_utils import make_grid, notes_on_image, save_image_with_notes, text_image
from trellis2.utils.pictures import open_pictures, save_picture
from trellis2.utils.random_utils import (
    halton_sequence,
    hammersley_sequence,
    radical_inverse,
    sphere_hammersley_sequence,
)
from trellis2.utils.video import open_video, write_video


def ramp(size, value):
    return np.full((*size, 3), value, np.uint8)


def test_video_of_odd_size_is_playable_and_cropped_to_even(tmp_path):
    path = tmp_path / "folder" / "a.mp4"
    write_video(path, (ramp((33, 47), v) for v in (0, 100, 200)), fps=10)
    with imageio.get_reader(path) as video:
        meta = video.get_meta_data()
        assert meta["size"] == (46, 32) and meta["fps"] == pytest.approx(10)
        assert "yuv420p" in meta["pix_fmt"]
        values = [frame.mean() for frame in video]
    assert np.allclose(values, [0, 100, 200], atol=4)


def test_failed_video_leaves_nothing_and_keeps_the_old_one(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def frames():
        yield ramp((16, 16), 0)
        raise RuntimeError("renderer failed")

    with pytest.raises(RuntimeError, match="renderer failed"):
        write_video(path, frames())
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(path, [])
    with pytest.raises(ValueError, match="frames must all be"):
        write_video(path, [ramp((16, 16), 0), ramp((18, 16), 0)])
    assert path.read_bytes() == b"old"


def test_video_arguments_are_checked(tmp_path):
    with pytest.raises(ValueError, match=r"\.mp4"), open_video(tmp_path / "a.gif"):
        pass
    with pytest.raises(ValueError, match="fps"), open_video(tmp_path / "a.mp4", fps=0):
        pass
    with pytest.raises(ValueError, match="uint8"), open_video(tmp_path / "a.mp4") as video:
        video.append(np.zeros((16, 16, 3)))


@given(st.integers(0, 10**6), st.integers(2, 13))
def test_radical_inverse_mirrors_digits(n, base):
    value = radical_inverse(base, n)
    assert 0 <= value < 1
    digits, m = 0, n
    while m:
        m //= base
        digits += 1
    assert value == pytest.approx(int(np.base_repr(n, base)[::-1], base) / base**digits if n else 0.0)


def test_sequences_have_the_known_values():
    assert halton_sequence(3, 5) == pytest.approx([0.625, 7 / 9, 1 / 25])
    assert hammersley_sequence(2, 3, 8) == pytest.approx([0.375, 0.75])
    expected = [(0, -math.pi / 2), (math.pi, -0.5236), (math.pi / 2, 0), (3 * math.pi / 2, 0.5236)]
    for n, (phi, theta) in enumerate(expected):
        assert sphere_hammersley_sequence(n, 4) == pytest.approx([phi, theta], abs=1e-4)
    # Conditioning views: published check values for 16 views
    assert sphere_hammersley_sequence(1, 16, remap=True)[1] == pytest.approx(-0.848062, abs=1e-5)
    assert sphere_hammersley_sequence(15, 16, (0.5, 0.25), remap=True) == pytest.approx([7.461283, 1.281109], abs=1e-5)
    with pytest.raises(ValueError, match="base"):
        radical_inverse(1, 3)


def test_grid_places_images_row_by_row():
    tiles = [ramp((2, 3), 10 * (i + 1)) for i in range(5)]
    grid = make_grid(tiles, ncol=2)
    assert grid.shape == (6, 6, 3)
    assert grid[0, 3, 0] == 20 and grid[2, 0, 0] == 30 and grid[5, 5, 0] == 0
    assert make_grid(tiles, nrow=1).shape == (2, 15, 3)
    assert make_grid([ramp((4, 4), 1)] * 9).shape == (12, 12, 3)
    assert make_grid([ramp((4, 4), 1)] * 8, aspect_ratio=2.0).shape == (8, 16, 3)
    for bad, match in (([], "empty"), ([ramp((2, 2), 0), ramp((3, 2), 0)], "same shape")):
        with pytest.raises(ValueError, match=match):
            make_grid(bad)
    with pytest.raises(ValueError, match="cannot hold"):
        make_grid(tiles, nrow=1, ncol=2)


def test_notes_add_a_strip_with_white_text(tmp_path):
    image = ramp((40, 200), 90)
    noted = notes_on_image(image, "step 12")
    assert noted.shape == (72, 200, 3) and np.array_equal(noted[:40], image)
    assert noted[40:].max() == 255 and notes_on_image(image)[40:].max() == 0
    path = tmp_path / "note.png"
    save_image_with_notes(image, path, "step 12")
    assert np.array_equal(np.asarray(Image.open(path)), noted)
    assert len(list(tmp_path.iterdir())) == 1


def test_text_fills_but_does_not_leave_the_image():
    for text in ("a", "the quick brown fox jumps over the lazy dog", "one\ntwo\nthree"):
        picture = text_image(text, (120, 200))
        ink = np.argwhere(picture[..., 0] < 128)
        assert picture.shape == (120, 200, 3) and len(ink) > 20
        assert ink.min() >= 4 and ink[:, 0].max() < 116 and ink[:, 1].max() < 196
    high, low = (
        np.argwhere(text_image("x", (100, 100), 0.2, v_align=v)[..., 0] < 128)[:, 0].mean() for v in ("top", "bottom")
    )
    assert high < 40 < 60 < low
    with pytest.raises(ValueError, match="h_align"):
        text_image("x", h_align="middle")


def test_general_utils_offers_the_picture_helpers_and_tolerances():
    import torch

    from trellis2.utils import general_utils

    assert general_utils.make_grid is make_grid and general_utils.text_image is text_image
    x, y = torch.tensor([0.0, 2.0, -1.0]), torch.tensor([0.0, 1.0, 1.0])
    assert general_utils.atol(x, y).tolist() == [0.0, 1.0, 2.0]
    assert general_utils.rtol(x, y).tolist() == [0.0, 0.5, 2.0]


def test_webp_animation_keeps_alpha_and_frames(tmp_path):
    frames = [np.dstack([ramp((16, 24), v), np.full((16, 24), alpha, np.uint8)]) for v, alpha in ((200, 255), (60, 0))]
    write_video(tmp_path / "a.webp", frames, fps=5)
    with Image.open(tmp_path / "a.webp") as image:
        assert image.n_frames == 2 and image.size == (24, 16)
        first = np.asarray(image.convert("RGBA"))
        image.seek(1)
        second = np.asarray(image.convert("RGBA"))
    assert abs(float(first[..., :3].mean()) - 200) < 6 and (first[..., 3] == 255).all() and (second[..., 3] == 0).all()
    with pytest.raises(ValueError, match=r"quality for \.webp"), open_video(tmp_path / "a.webp", crf=3):
        pass


def test_pictures_go_where_the_suffix_says(tmp_path):
    with open_pictures(tmp_path / "still.png") as writer:
        writer.append(ramp((5, 7), 9))
    assert (np.asarray(Image.open(tmp_path / "still.png")) == 9).all()
    with open_pictures(tmp_path / "many") as writer:
        for value in (1, 2):
            writer.append(ramp((5, 7), value))
    assert sorted(p.name for p in (tmp_path / "many").iterdir()) == ["0000.png", "0001.png"]
    with open_pictures(tmp_path / "a.mp4") as writer:
        writer.append(ramp((16, 16), 9))
    assert (tmp_path / "a.mp4").stat().st_size > 0


def test_bad_outputs_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="folder"), open_pictures(tmp_path / "a.tiff"):
        pass
    with pytest.raises(ValueError, match="one picture"), open_pictures(tmp_path / "a.png") as writer:
        writer.append(ramp((4, 4), 0))
        writer.append(ramp((4, 4), 0))
    with pytest.raises(ValueError, match="needs a frame"), open_pictures(tmp_path / "a.png"):
        pass
    with pytest.raises(ValueError, match="transparency"):
        save_picture(tmp_path / "a.jpg", np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        save_picture(tmp_path / "a.png", np.zeros((4, 4, 3)))
    assert not list(tmp_path.iterdir())
