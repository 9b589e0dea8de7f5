"""The staged scripts on three generated assets at 32 voxels a side, resuming, sharding, and the one-pass generator."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from o_voxel.io import read_vxz
from PIL import Image

from data_toolkit import (
    asset_stats,
    build_metadata,
    download,
    dual_grid,
    dump_mesh,
    dump_pbr,
    encode_pbr_latent,
    encode_shape_latent,
    encode_ss_latent,
    make_procedural,
    render_cond,
    voxelize_pbr,
)
from data_toolkit.dumps import find_dump, load_dump
from data_toolkit.runner import shard_of
from data_toolkit.tables import read_table
from trellis2.models import build_model, save_pretrained

REPO = Path(__file__).resolve().parents[2]
R = 32
FACTOR, CHANNELS = 4, 8  # of the latents in configs/mini
LATENT = R // FACTOR


def _metadata(root: Path, *flags: str) -> int:
    return build_metadata.main(["Procedural", "--root", str(root), *flags])


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for config, name in (("shape_vae", "shape_enc"), ("tex_vae", "tex_enc"), ("ss_vae", "ss_enc")):
        spec = json.loads((REPO / "configs" / "mini" / f"{config}.json").read_text())["models"]["encoder"]
        save_pretrained(build_model(spec["name"], spec["args"]), folder / name)
    return folder


@pytest.fixture(scope="module")
def chain(tmp_path_factory, models) -> Path:
    """Everything from the base table to the structure latents."""
    root = tmp_path_factory.mktemp("chain")
    base = ["Procedural", "--root", str(root)]
    assert _metadata(root, "--count", "3", "--start", "20") == 0
    assert download.main([*base, "--download_workers", "1"]) == 0
    _metadata(root)
    assert dump_mesh.main([*base, "--max_workers", "1"]) == 0
    assert dump_pbr.main([*base, "--max_workers", "1", "--dump_format", "pickle"]) == 0
    _metadata(root)
    assert asset_stats.main(["--root", str(root), "--max_workers", "1"]) == 0
    assert dual_grid.main([*base, "--resolution", f"{R},16", "--max_workers", "1"]) == 0
    assert voxelize_pbr.main([*base, "--resolution", str(R), "--max_workers", "1"]) == 0
    flags = ["--num_views", "2", "--resolution", "48", "--save_geometry", "--max_workers", "1", "--ssaa", "1"]
    assert render_cond.main([*base, *flags]) == 0
    _metadata(root)
    for script, name in ((encode_shape_latent, "shape_enc"), (encode_pbr_latent, "tex_enc")):
        flags = ["--root", str(root), "--resolution", str(R), "--enc_pretrained", str(models / name)]
        assert script.main([*flags, "--device", "cpu", "--loader_threads", "2"]) == 0
    _metadata(root)
    flags = ["--resolution", str(LATENT), "--shape_latent_name", f"shape_enc_{R}"]
    flags += ["--enc_pretrained", str(models / "ss_enc")]
    assert encode_ss_latent.main(["--root", str(root), *flags, "--device", "cpu"]) == 0
    _metadata(root)
    return root


def test_tables_have_the_published_columns(chain):
    expected = {
        "raw": ["sha256", "local_path"],
        "mesh_dumps": ["sha256", "mesh_dumped"],
        "pbr_dumps": ["sha256", "pbr_dumped"],
        f"dual_grid_{R}": ["sha256", "dual_grid_converted", "dual_grid_size"],
        "dual_grid_16": ["sha256", "dual_grid_converted", "dual_grid_size"],
        f"pbr_voxels_{R}": ["sha256", "pbr_voxelized", "num_pbr_voxels"],
        "renders_cond": ["sha256", "cond_rendered"],
        f"shape_latents/shape_enc_{R}": ["sha256", "shape_latent_encoded", "shape_latent_tokens"],
        f"pbr_latents/tex_enc_{R}": ["sha256", "pbr_latent_encoded", "pbr_latent_tokens"],
        f"ss_latents/ss_enc_{LATENT}": ["sha256", "ss_latent_encoded"],
    }
    keys = set(read_table(chain / "metadata.csv"))
    for folder, columns in expected.items():
        path = chain / folder / "metadata.csv"
        assert path.read_text().splitlines()[0].split(",") == columns
        assert set(read_table(path)) == keys
        assert list((chain / folder / "merged_records").glob("*_part_0.csv"))
        assert not list((chain / folder / "new_records").iterdir())
    stats = read_table(chain / "asset_stats" / "metadata.csv")
    assert all(int(r["num_faces"]) > 20 and int(r["num_basecolor_tex"]) > 0 for r in stats.values())


def test_shape_and_material_voxels_are_the_same(chain):
    for sha, row in read_table(chain / f"dual_grid_{R}" / "metadata.csv").items():
        coords, shape = read_vxz(str(chain / f"dual_grid_{R}" / f"{sha}.vxz"))
        pbr_coords, pbr = read_vxz(str(chain / f"pbr_voxels_{R}" / f"{sha}.vxz"))
        assert torch.equal(coords, pbr_coords)
        assert len(coords) == int(row["dual_grid_size"])
        assert list(shape) == ["vertices", "intersected"]
        assert shape["vertices"].shape[1:] == (3,)
        assert int(shape["intersected"].max()) <= 7
        assert list(pbr) == ["base_color", "metallic", "roughness", "alpha"]
        span = coords.amax(0) - coords.amin(0)
        assert int(span.max()) in (R - 1, R - 2)


def test_dumps_of_both_formats_hold_the_same_geometry(chain):
    for sha in read_table(chain / "metadata.csv"):
        mesh, pbr = find_dump(chain / "mesh_dumps", sha), find_dump(chain / "pbr_dumps", sha)
        assert mesh.suffix == ".npz"
        assert pbr.suffix == ".pickle"
        a, b = load_dump(mesh)["objects"], load_dump(pbr)["objects"]
        assert all((x["vertices"] == y["vertices"]).all() and (x["faces"] == y["faces"]).all() for x, y in zip(a, b))


def test_views_and_transforms(chain):
    for folder in (p.parent for p in (chain / "renders_cond").glob("*/transforms.json")):
        record = json.loads((folder / "transforms.json").read_text())
        assert len(record["frames"]) == 2
        for frame in record["frames"]:
            image = Image.open(folder / frame["file_path"])
            assert image.mode == "RGBA"
            assert image.size == (48, 48)
            alpha = np.asarray(image)[..., 3]
            assert alpha.max() > 150
            assert not alpha[0].any()  # the object stays inside the picture
            assert not alpha[:, 0].any()
            pose = np.array(frame["transform_matrix"])
            assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-6)
            d = np.array([math.cos(frame["yaw"]) * math.cos(frame["pitch"]),
                          math.sin(frame["yaw"]) * math.cos(frame["pitch"]), math.sin(frame["pitch"])])  # fmt: skip
            assert np.allclose(pose[:3, 3], frame["radius"] * d, atol=1e-5)
            assert np.allclose(pose[:3, 2], d, atol=1e-5)  # the camera looks along minus its third axis


def test_geometry_maps_project_to_their_own_cells(chain):
    folder = next((chain / "renders_cond").glob("*/transforms.json")).parent
    for frame in json.loads((folder / "transforms.json").read_text())["frames"]:
        with np.load(folder / frame["file_path"].replace(".png", "_geo.npz")) as data:
            position, normal, mask = data["position"], data["normal"], data["mask"] > 0
        assert mask.any()
        points = position[mask] / 65535 - 0.5
        pose = np.array(frame["transform_matrix"])
        local = (points - pose[:3, 3]) @ pose[:3, :3]
        focal = 0.5 / math.tan(frame["camera_angle_x"] / 2)
        x = 0.5 + focal * local[:, 0] / -local[:, 2]
        y = 0.5 - focal * local[:, 1] / -local[:, 2]
        rows, columns = np.nonzero(mask)
        size = len(mask)
        assert np.abs(x - (columns + 0.5) / size).max() < 1.5 / size
        assert np.abs(y - (rows + 0.5) / size).max() < 1.5 / size
        unit = normal[mask] / 255 * 2 - 1
        assert np.abs(np.linalg.norm(unit, axis=1) - 1).max() < 0.02
        assert ((pose[:3, 3] - points) * unit).sum(1).min() > -0.05  # towards the viewer


def test_latents_are_aligned_and_sorted(chain):
    for sha, row in read_table(chain / f"shape_latents/shape_enc_{R}/metadata.csv").items():
        shape = np.load(chain / f"shape_latents/shape_enc_{R}" / f"{sha}.npz")
        pbr = np.load(chain / f"pbr_latents/tex_enc_{R}" / f"{sha}.npz")
        coords = shape["coords"]
        assert coords.dtype == np.uint8
        assert shape["feats"].dtype == np.float32
        assert shape["feats"].shape == (int(row["shape_latent_tokens"]), CHANNELS)
        assert (coords == pbr["coords"]).all()
        assert coords.tolist() == sorted(coords.tolist())
        voxels, _ = read_vxz(str(chain / f"dual_grid_{R}" / f"{sha}.vxz"))
        assert coords.tolist() == np.unique(voxels.numpy() // FACTOR, axis=0).tolist()
        z = np.load(chain / f"ss_latents/ss_enc_{LATENT}" / f"{sha}.npz")["z"]
        assert z.shape == (8, *[LATENT // 2] * 3)
        assert z.dtype == np.float32


def test_batched_encoding_equals_single_encoding(chain, models, tmp_path):
    flags = ["--root", str(chain), "--resolution", str(R), "--enc_pretrained", str(models / "shape_enc")]
    flags += ["--shape_latent_root", str(tmp_path), "--device", "cpu"]
    assert encode_shape_latent.main([*flags, "--batch_voxels", "1"]) == 0
    for path in (tmp_path / "shape_latents" / f"shape_enc_{R}").glob("*.npz"):
        a, b = np.load(path), np.load(chain / f"shape_latents/shape_enc_{R}" / path.name)
        assert (a["coords"] == b["coords"]).all()
        assert np.allclose(a["feats"], b["feats"], atol=1e-4)


def test_latents_of_other_weights_are_not_mixed(chain, models, tmp_path, capsys):
    shutil.copytree(chain / "shape_latents", tmp_path / "shape_latents")
    (tmp_path / "shape_latents" / f"shape_enc_{R}" / "metadata.csv").unlink()
    (tmp_path / "models").mkdir()
    spec = json.loads((models / "shape_enc.json").read_text())
    torch.manual_seed(1)
    save_pretrained(build_model(spec["name"], spec["args"]), tmp_path / "models" / "shape_enc")
    flags = ["--root", str(chain), "--resolution", str(R), "--enc_pretrained", str(tmp_path / "models" / "shape_enc")]
    assert encode_shape_latent.main([*flags, "--shape_latent_root", str(tmp_path), "--device", "cpu"]) == 1
    failures = read_table(tmp_path / "shape_latents" / f"shape_enc_{R}" / "failures" / "part_0.csv")
    assert len(failures) == 3
    assert all("other weights" in row["reason"] for row in failures.values())


def test_ss_latents_refuse_another_grid(chain, models, tmp_path):
    flags = ["--resolution", "64", "--shape_latent_name", f"shape_enc_{R}", "--enc_pretrained", str(models / "ss_enc")]
    code = encode_ss_latent.main(["--root", str(chain), *flags, "--ss_latent_root", str(tmp_path), "--device", "cpu"])
    assert code == 1
    failures = read_table(tmp_path / "ss_latents" / "ss_enc_64" / "failures" / "part_0.csv")
    assert all(f"grid of {LATENT}" in row["reason"] for row in failures.values())


def test_finished_stages_have_nothing_to_do(chain, capsys):
    base = ["Procedural", "--root", str(chain)]
    for script, flags in (
        (download, []),
        (dump_mesh, []),
        (dump_pbr, []),
        (dual_grid, ["--resolution", f"{R},16"]),
        (voxelize_pbr, ["--resolution", str(R)]),
        (render_cond, []),
    ):
        assert script.main([*base, *flags]) == 0
        assert "Processing 0 objects" in capsys.readouterr().out


def test_killed_run_resumes_and_damaged_files_are_made_again(chain, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(chain, root)
    folder = root / f"dual_grid_{R}"
    shas = sorted(read_table(root / "metadata.csv"))
    whole = {sha: (folder / f"{sha}.vxz").read_bytes() for sha in shas}
    (folder / "metadata.csv").unlink()  # as if the run had been killed before its records were merged
    (folder / f"{shas[0]}.vxz").unlink()
    (folder / f"{shas[1]}.vxz").write_bytes(whole[shas[1]][:-7])
    stamp = (folder / f"{shas[2]}.vxz").stat().st_mtime_ns
    assert dual_grid.main(["Procedural", "--root", str(root), "--resolution", str(R), "--max_workers", "1"]) == 0
    _metadata(root)
    assert {sha: (folder / f"{sha}.vxz").read_bytes() for sha in shas} == whole
    assert (folder / f"{shas[2]}.vxz").stat().st_mtime_ns == stamp
    assert set(read_table(folder / "metadata.csv")) == set(shas)


def test_rebuild_recovers_lost_tables(chain, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(chain, root)
    names = [f"dual_grid_{R}", f"pbr_voxels_{R}", "mesh_dumps", "renders_cond", f"shape_latents/shape_enc_{R}"]
    before = {n: read_table(root / n / "metadata.csv") for n in names}
    for n in names:
        (root / n / "metadata.csv").unlink()
    _metadata(root, "--rebuild")
    assert {n: read_table(root / n / "metadata.csv") for n in names} == before


def test_shards_are_disjoint_and_complete(chain, tmp_path, capsys):
    keys = sorted(read_table(chain / "metadata.csv"))
    done = []
    for rank in range(2):
        flags = ["--resolution", "8", "--dual_grid_root", str(tmp_path), "--rank", str(rank), "--world_size", "2"]
        dual_grid.main(["Procedural", "--root", str(chain), *flags, "--max_workers", "1"])
        part = tmp_path / "dual_grid_8" / "new_records" / f"part_{rank}.csv"
        done += list(read_table(part)) if part.is_file() else []
    assert sorted(done) == keys
    assert {shard_of(k, 2) for k in keys} <= {0, 1}


def test_one_failing_asset_is_recorded_and_skipped(chain, tmp_path, capsys):
    root = tmp_path / "copy"
    shutil.copytree(chain, root, ignore=shutil.ignore_patterns("dual_grid_*"))
    sha = min(read_table(root / "metadata.csv"))
    find_dump(root / "mesh_dumps", sha).write_bytes(b"PK not a zip")
    assert dual_grid.main(["Procedural", "--root", str(root), "--resolution", "8", "--max_workers", "1"]) == 0
    failures = read_table(root / "dual_grid_8" / "failures" / "part_0.csv")
    assert list(failures) == [sha]
    assert "not a readable dump" in failures[sha]["reason"]
    assert "2 done, 1 failed" in capsys.readouterr().out
    _metadata(root)
    flags = ["--resolution", "8", "--max_workers", "1", "--skip_failed"]
    assert dual_grid.main(["Procedural", "--root", str(root), *flags]) == 0
    assert "Processing 0 objects" in capsys.readouterr().out


def test_missing_prerequisites_name_the_command(chain, tmp_path, capsys):
    with pytest.raises(SystemExit):
        dual_grid.main(["Procedural", "--root", str(tmp_path), "--resolution", "8"])
    assert "build_metadata.py" in capsys.readouterr().err
    _metadata(tmp_path, "--count", "1")
    for script, flags, expected in (
        (dual_grid, ["--resolution", "8"], "dump_mesh.py"),
        (dump_mesh, [], "download.py"),
        (dual_grid, [], "--resolution"),
        (dual_grid, ["--resolution", "many"], "comma-separated"),
    ):
        with pytest.raises(SystemExit) as stop:
            script.main(["Procedural", "--root", str(tmp_path), *flags])
        assert stop.value.code != 0
        assert expected in capsys.readouterr().err
    with pytest.raises(SystemExit):
        dump_pbr.main(["Procedural", "--root", str(chain), "--rank", "3"])
    assert "--rank must lie in [0, 1), got 3" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        build_metadata.main(["Nonsense", "--root", str(tmp_path)])
    assert "choose from: Folder, Procedural" in capsys.readouterr().err


def test_unknown_instances_are_reported(chain, tmp_path, capsys):
    sha = min(read_table(chain / "metadata.csv"))
    flags = ["--resolution", "8", "--dual_grid_root", str(tmp_path), "--instances", f"{sha},{'0' * 64}"]
    assert dual_grid.main(["Procedural", "--root", str(chain), *flags, "--max_workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "1 of 2 --instances are not in the tables" in out
    assert "Processing 1 objects" in out


def test_extending_a_data_set_keeps_what_is_there(tmp_path):
    _metadata(tmp_path, "--count", "2")
    first = read_table(tmp_path / "metadata.csv")
    _metadata(tmp_path, "--count", "5")
    assert read_table(tmp_path / "metadata.csv") == first
    _metadata(tmp_path, "--count", "5", "--extend")
    table = read_table(tmp_path / "metadata.csv")
    assert len(table) == 5
    assert {k: table[k] for k in first} == first


def test_one_pass_equals_the_stages_and_resumes(chain, tmp_path):
    flags = ["--root", str(tmp_path), "--start", "20", "--count", "3", "--workers", "2", "--resolution", str(R)]
    flags += ["--views", "2", "--image_size", "48", "--ssaa", "1", "--save_raw", "--save_dumps"]
    command = [sys.executable, str(REPO / "data_toolkit" / "make_procedural.py"), *flags]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    shas = sorted(read_table(chain / "metadata.csv"))
    for sha in shas:
        for folder in (f"dual_grid_{R}", f"pbr_voxels_{R}"):
            a, b = (read_vxz(str(root / folder / f"{sha}.vxz")) for root in (tmp_path, chain))
            assert torch.equal(a[0], b[0])
            assert all(torch.equal(a[1][k], b[1][k]) for k in a[1])
        for name in ("000.png", "001.png", "000_geo.npz"):
            assert (tmp_path / "renders_cond" / sha / name).is_file()
        a, b = (np.asarray(Image.open(root / "renders_cond" / sha / "000.png")) for root in (tmp_path, chain))
        assert (a == b).all()
        local = read_table(tmp_path / "raw" / "metadata.csv")[sha]["local_path"]
        assert (tmp_path / local).read_bytes() == (chain / local).read_bytes()
    for folder in (f"dual_grid_{R}", f"pbr_voxels_{R}", "renders_cond", "mesh_dumps"):
        assert read_table(tmp_path / folder / "metadata.csv") == read_table(chain / folder / "metadata.csv")
    path = tmp_path / f"pbr_voxels_{R}" / f"{shas[0]}.vxz"
    path.unlink()
    assert make_procedural.main([*flags[:5], "4", "--workers", "1", *flags[8:]]) == 0
    assert path.is_file()
    assert len(read_table(tmp_path / "metadata.csv")) == 4
