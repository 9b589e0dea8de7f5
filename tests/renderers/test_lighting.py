"""Colour curves, the environment BRDF table and image-based lighting."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from data_toolkit.make_hdri import MANTISSA_BITS
from trellis2.renderers import EnvMap, load_environment, make_environment, open_environment
from trellis2.renderers.color import decode, encode, tone_map
from trellis2.renderers.environments import ENVIRONMENT_NAMES
from trellis2.renderers.fg_table import fg_lookup, fg_table
from trellis2.renderers.panorama import (
    directions_to_uv,
    panorama_directions,
    reduce_panorama,
    sample_panorama,
    save_environment,
    solid_angles,
)
from trellis2.renderers.prefilter import filter_panorama
from trellis2.utils.exr import write_exr

REPO = Path(__file__).resolve().parents[2]


def test_tone_map_with_gamma_gives_the_published_values():
    x = torch.tensor([0.0, 0.18, 1.0, 4.0, 32.0])
    expected = torch.tensor([0.0, 0.5486, 0.9055, 0.9878, 1.0])
    assert torch.allclose(tone_map(x, "gamma2.2"), expected, atol=1e-4)


@pytest.mark.parametrize("transfer", ["srgb", "gamma2.2"])
def test_encode_inverts_decode(transfer):
    x = torch.linspace(0, 1, 101)
    assert torch.allclose(encode(decode(x, transfer), transfer), x, atol=1e-5)


def test_srgb_middle_grey():
    assert abs(float(decode(torch.tensor(0.5))) - 0.2140) < 1e-4


@pytest.mark.parametrize(
    ("row", "column", "a", "b", "tolerance"),
    [
        (0, 0, 0.0097, 0.9902, 2e-3),
        (64, 64, 0.7606, 0.2005, 6e-3),
        (128, 128, 0.8343, 0.0219, 4e-3),
        (255, 64, 0.5866, 0.0109, 2e-3),
        (255, 255, 0.3093, 0.0, 2e-3),
    ],
)
def test_fg_table_agrees_with_known_entries(row, column, a, b, tolerance):
    scale, bias = fg_table()[row, column].tolist()
    assert abs(scale - a) < tolerance and abs(bias - b) < 1e-3


def test_fg_table_equals_direct_quadrature_over_light_directions():
    """Integrate the lobe over the hemisphere of L instead of sampling H."""
    size = 256
    row, column = 150, 90
    roughness, nv = (row + 0.5) / size, (column + 0.5) / size
    nl, phi = torch.meshgrid(
        (torch.arange(400).double() + 0.5) / 400, torch.arange(800).double() * math.pi / 400, indexing="ij"
    )
    view = torch.tensor([math.sqrt(1 - nv * nv), 0.0, nv]).double()
    light = torch.stack([(1 - nl**2).sqrt() * phi.cos(), (1 - nl**2).sqrt() * phi.sin(), nl], -1)
    half = torch.nn.functional.normalize(light + view, dim=-1)
    vh, nh, a2 = half @ view, half[..., 2], roughness**4
    d = a2 / (math.pi * (nh * nh * (a2 - 1) + 1) ** 2)
    smith = 0.5 / (nv * (a2 + (1 - a2) * nl**2).sqrt() + nl * math.sqrt(a2 + (1 - a2) * nv**2))
    value = d * smith * nl * (2 * math.pi / nl.numel())
    fresnel = (1 - vh) ** 5
    expected = torch.stack([(value * (1 - fresnel)).sum(), (value * fresnel).sum()]).float()
    assert torch.allclose(fg_table()[row, column], expected, atol=3e-3)


def test_fg_lookup_returns_texel_centres_and_stays_in_range():
    table = fg_table(32, 64)
    at = (torch.arange(32) + 0.5) / 32
    nv, roughness = torch.meshgrid(at, at, indexing="xy")
    assert torch.allclose(fg_lookup(nv, roughness, table), table, atol=1e-5)
    ends = fg_lookup(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]), table)
    assert torch.allclose(ends, torch.stack([table[0, 0], table[-1, -1]]), atol=1e-5)


def test_solid_angles_cover_the_sphere():
    assert abs(float(solid_angles(24).sum() * 48) - 4 * math.pi) < 1e-4


@pytest.mark.parametrize("quirks", [None, "published"])
def test_panorama_convention(quirks):
    sign = -1.0 if quirks is None else 1.0
    cases = {(0.0, -1.0, 0.0): (0.5, 0.5), (sign, 0.0, 0.0): (0.75, 0.5), (-sign, 0.0, 0.0): (0.25, 0.5)}
    for direction, uv in cases.items():
        assert torch.allclose(directions_to_uv(torch.tensor(direction), quirks), torch.tensor(uv), atol=1e-6)
    assert float(directions_to_uv(torch.tensor([0.0, 0.0, 1.0]), quirks)[1]) == 0.0


def test_panorama_directions_sample_their_own_texels():
    image = torch.rand(8, 16, 3)
    assert torch.allclose(sample_panorama(image, panorama_directions(8) * 3.0), image, atol=1e-4)


def test_reduction_keeps_the_mean_radiance():
    image = torch.rand(64, 128, 3)

    def mean(x):
        return (x * solid_angles(x.shape[0])[:, None, None]).sum((0, 1)) / (4 * math.pi)

    assert torch.allclose(mean(reduce_panorama(image, 16)), mean(image), atol=1e-4)


@pytest.fixture(scope="module")
def furnace_normals():
    return torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_filtered_maps_of_a_white_surround_are_white(furnace_normals):
    env = EnvMap(torch.ones(32, 64, 3))
    roughness = torch.rand(200, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(env.diffuse(furnace_normals), torch.ones(200, 3), atol=1e-4)
    assert torch.allclose(env.specular(furnace_normals, roughness), torch.ones(200, 3), atol=1e-4)


@pytest.mark.parametrize("metallic", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("roughness", [0.05, 0.4, 0.7, 1.0])
def test_white_furnace_neither_gains_nor_loses_energy(furnace_normals, roughness, metallic):
    """White surfaces in a white surround are white from every angle, within the 2 % of the table's sampling."""
    env = EnvMap(torch.ones(32, 64, 3))
    ks = torch.tensor([0.0, roughness, metallic]).expand(200, 3)
    tilted = torch.nn.functional.normalize(furnace_normals.roll(1, 0) * 0.9 + furnace_normals, dim=-1) * 2
    for view in (furnace_normals * 2, tilted):
        facing = (view * furnace_normals).sum(-1) > 0.05
        out = env.shade(torch.zeros(200, 3), furnace_normals, torch.ones(200, 3), ks, view)[facing]
        assert float(out.min()) > 0.98 and float(out.max()) < 1.02


def test_published_shading_is_the_plain_sum_of_its_terms(furnace_normals):
    env = EnvMap(torch.ones(32, 64, 3), quirks="published")
    albedo, rough, metallic = torch.tensor([0.5, 0.25, 0.75]), 0.6, 0.3
    ks = torch.tensor([0.0, rough, metallic]).expand(200, 3)
    out = env.shade(torch.zeros(200, 3), furnace_normals, albedo.expand(200, 3), ks, furnace_normals * 2)
    a, b = fg_lookup(torch.tensor(1.0), torch.tensor(rough))
    expected = albedo * (1 - metallic) + (0.04 * (1 - metallic) + albedo * metallic) * a + b
    assert torch.allclose(out, expected.expand_as(out), atol=1e-3)


@pytest.mark.parametrize(("height", "roughness"), [(64, None), (64, 0.5), (128, 0.2)])
def test_filtered_map_equals_the_sum_over_the_sphere(height, roughness):
    """Direct quadrature at a few texels, from a source at four times the resolution."""
    image = make_environment("sunset", height=height)
    result = filter_panorama(image, height, roughness)
    fine = image.repeat_interleave(4, 0).repeat_interleave(4, 1)
    lights = panorama_directions(4 * height).double()
    area = solid_angles(4 * height).double()[:, None].expand(lights.shape[:2])
    for row, column in ((3, 10), (height // 2, 7), (height - 9, 3 * height // 2)):
        centre = panorama_directions(height)[row, column].double()
        cosine = (lights @ centre).clamp(0, 1)
        weight = cosine * area
        if roughness is not None:
            half2 = 0.5 + 0.5 * (lights @ centre).clamp(-1, 1)
            weight = weight / (half2 * (roughness**4 - 1) + 1) ** 2
        expected = (fine.double() * weight[..., None]).sum((0, 1)) / weight.sum()
        assert torch.allclose(result[row, column].double(), expected, rtol=0.02, atol=0.01), (row, column)


def test_narrowest_lobe_is_as_wide_as_ggx():
    """A point of light spreads like D(H): half at the angle where the lobe is half, tails beyond it."""
    image = torch.zeros(256, 512, 3)
    image[128, 256] = 1.0
    blurred = filter_panorama(image, 256, 0.1)[:, :, 0]
    assert abs(float((blurred * solid_angles(256)[:, None]).sum() / solid_angles(256)[128]) - 1) < 0.02
    profile = blurred[128, 256:270] / blurred[128, 256]
    assert torch.all(profile.diff() < 0)
    degrees = 180 / 256
    half = math.degrees(2 * math.atan(0.01 * math.sqrt(math.sqrt(2) - 1)))  # 0.74, about a texel
    assert 0.5 * half < degrees * float((profile > 0.5).sum()) < 2.5 * half


def test_diffuse_light_of_a_half_lit_sphere_matches_theory():
    image = torch.zeros(64, 128, 3)
    image[:32] = 1.0  # upper hemisphere
    env = EnvMap(image)
    directions = torch.tensor([[0.0, 0, 1], [1.0, 0, 0], [0, 0, -1.0]])
    # Cosine-weighted share of the upper hemisphere: (1 + cos) / 2
    assert torch.allclose(env.diffuse(directions)[:, 0], torch.tensor([1.0, 0.5, 0.0]), atol=0.03)


def test_sharp_reflection_finds_a_light_and_rough_one_spreads_it():
    image = torch.zeros(64, 128, 3)
    image[31:33, 95:97] = 100.0  # u = 3/4: world -X
    env = EnvMap(image)
    towards, beside = torch.tensor([[-1.0, 0.0, 0.0]]), torch.tensor([[-1.0, 0.5, 0.0]])
    sharp, rough = torch.tensor([0.05]), torch.tensor([0.9])
    assert float(env.specular(towards, sharp)[0, 0]) > 20 * float(env.specular(towards, rough)[0, 0])
    assert float(env.specular(beside, rough)[0, 0]) > float(env.specular(beside, sharp)[0, 0])


def test_rotation_and_intensity():
    image = torch.rand(32, 64, 3)
    plain, turned = EnvMap(image), EnvMap(image, rotation=math.pi / 2, intensity=2.0)
    # What was at +X before a quarter turn counter-clockwise is at +Y after it.
    before, after = torch.tensor([[1.0, 0.1, 0.2]]), torch.tensor([[-0.1, 1.0, 0.2]])
    assert torch.allclose(turned.sample(after), 2 * plain.sample(before), atol=1e-4)
    assert torch.allclose(turned.diffuse(after), 2 * plain.diffuse(before), atol=1e-4)


@pytest.mark.parametrize("name", ENVIRONMENT_NAMES)
def test_environments_are_finite_exposed_and_repeatable(name):
    image = make_environment(name, height=64)
    assert image.shape == (64, 128, 3) and image.dtype == torch.float32
    assert torch.isfinite(image).all() and (image >= 0).all()
    up = EnvMap(image).diffuse(torch.tensor([[0.0, 0.0, 1.0]])).mean()
    assert abs(float(up) - (0.25 if name == "night" else 1.0)) < 0.05
    assert torch.equal(image, make_environment(name, height=64))
    assert not torch.equal(image, make_environment(name, height=64, seed=1))
    assert float((image[:, 0] - image[:, -1]).abs().median()) < 0.3  # closes around the back


def test_environment_files_round_trip(tmp_path):
    import cv2

    image = make_environment("studio", height=32)
    assert cv2.imwrite(str(tmp_path / "studio.hdr"), image.numpy()[:, :, ::-1])
    assert torch.allclose(load_environment(tmp_path / "studio.hdr"), image, rtol=0.02, atol=0.02)
    save_environment(tmp_path / "studio.exr", image)
    assert torch.equal(load_environment(tmp_path / "studio.exr"), image.half().float())
    save_environment(tmp_path / "studio.exr", image, bits=6)
    assert torch.allclose(load_environment(tmp_path / "studio.exr"), image, rtol=1 / 128 + 1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ENVIRONMENT_NAMES)
def test_bundled_files_are_what_the_generator_makes(name):
    bundled = open_environment(name)
    assert bundled.shape == (256, 512, 3)
    assert torch.allclose(bundled, make_environment(name), rtol=2.0 ** -(MANTISSA_BITS + 1) + 1e-3, atol=1e-5)
    assert (REPO / "assets" / "hdri" / f"{name}.exr").stat().st_size <= 300_000


def test_bad_environments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="choose from"):
        make_environment("beach")
    with pytest.raises(ValueError, match="twice as wide"):
        EnvMap(torch.ones(8, 8, 3))
    with pytest.raises(ValueError, match="finite"):
        EnvMap(torch.full((8, 16, 3), float("nan")))
    with pytest.raises(FileNotFoundError):
        load_environment(tmp_path / "none.hdr")
    with pytest.raises(ValueError, match="or give an"):
        open_environment("beach")
    write_exr(tmp_path / "odd.exr", {"Z": np.ones((4, 8), np.float32)})
    with pytest.raises(ValueError, match=r"odd\.exr must have channels"):
        open_environment(tmp_path / "odd.exr")
    with pytest.raises(ValueError, match="bits"):
        save_environment(tmp_path / "a.exr", torch.ones(4, 8, 3), bits=0)
    broken = tmp_path / "broken.hdr"
    broken.write_bytes(b"#?RADIANCE\nnothing")
    with pytest.raises(ValueError, match=r"broken\.hdr"):
        load_environment(broken)
