"""Make the bundled small pipeline from nothing: data, all seven networks, the pipeline folder.

    python configs/mini/make_mini.py --data data/procedural --run runs/mini --out assets/models/mini

Steps that need not wait for one another run side by side, one process each, on the GPUs in turn (or on the CPU, which
takes days for the full sizes). Every step is one command of this repository, printed and logged under RUN/logs; steps
whose result exists are skipped, so a stopped run continues where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPO))
CONFIGS = Path("configs/mini")
PRESENCE_SHIFT = 2.0  # halves the boundary edges of decoded surfaces at the same F-score (see the model card)
RESOLUTION = 64  # voxels a side; the latent grid is a quarter of it


@dataclass
class Job:
    """One command, skipped when `result` exists."""

    name: str
    command: list[str]
    result: Path
    gpus: int = 1  # processes, one a GPU; 0: needs none
    after: list[list[str]] = field(default_factory=list)  # commands that turn the run into the result


class Maker:
    """Paths, options and the steps in order."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.data, self.run, self.out = args.data, args.run, args.out
        self.export, self.stats, self.logs = self.run / "export", self.run / "stats", self.run / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.gpus = gpu_count() if args.device != "cpu" else 0
        self.latents = {
            "ss": self.data / "ss_latents" / "ss_enc_16",
            "shape": self.data / "shape_latents" / f"shape_enc_{RESOLUTION}",
            "pbr": self.data / "pbr_latents" / f"tex_enc_{RESOLUTION}",
        }

    # -- steps ---------------------------------------------------------------------------------------------------------

    def make_data(self) -> None:
        command = ["data_toolkit/make_procedural.py", "--root", str(self.data), "--start", "0"]
        command += ["--count", str(self.args.assets), "--views", str(self.args.views)]
        command += ["--resolution", str(RESOLUTION), "--workers", str(self.args.workers)]
        self.together([Job("data", command, self.data / "renders_cond" / "metadata.csv", gpus=0)])

    def train_autoencoders(self) -> None:
        self.together([
            self.training("shape_vae", {"dual_grid": f"dual_grid_{RESOLUTION}", "asset_stats": "asset_stats"},
                          {"encoder": "shape_enc", "decoder": "shape_dec"}),
            self.training("tex_vae", {"pbr_voxel": f"pbr_voxels_{RESOLUTION}", "asset_stats": "asset_stats"},
                          {"encoder": "tex_enc", "decoder": "tex_dec"}),
            self.training("image_encoder", {"render_cond": "renders_cond", "dual_grid": f"dual_grid_{RESOLUTION}"},
                          {"encoder": "image_encoder"}),
            self.training("ss_vae", {"dual_grid": f"dual_grid_{RESOLUTION}"},
                          {"encoder": "ss_enc", "decoder": "ss_dec"}),
        ])  # fmt: skip

    def encode(self) -> None:
        def job(kind: str, script: str, encoder: str, resolution: int, *more: str) -> Job:
            command = [f"data_toolkit/{script}", "--root", str(self.data), "--resolution", str(resolution)]
            command += ["--enc_pretrained", str(self.export / encoder), *more]
            merge = ["data_toolkit/build_metadata.py", "Procedural", "--root", str(self.data)]
            out = self.stats / {"ss": "ss.json", "shape": "shape_slat.json", "pbr": "tex_slat.json"}[kind]
            count = ["-m", "trellis2.datasets.latent_stats", str(self.latents[kind]), str(out)]
            return Job(f"encode_{kind}", command, out, after=[merge, count])

        self.together([
            job("shape", "encode_shape_latent.py", "shape_enc", RESOLUTION),
            job("pbr", "encode_pbr_latent.py", "tex_enc", RESOLUTION),
        ])  # fmt: skip
        name = self.latents["shape"].name
        self.together([job("ss", "encode_ss_latent.py", "ss_enc", 16, "--shape_latent_name", name)])

    def train_flows(self) -> None:
        cond = {"render_cond": "renders_cond"}
        shape = str(self.latents["shape"].relative_to(self.data))
        pbr = str(self.latents["pbr"].relative_to(self.data))
        ss = str(self.latents["ss"].relative_to(self.data))
        self.together([
            self.training("ss_flow", {"ss_latent": ss, **cond}, {"denoiser": "ss_flow"}),
            self.training("shape_flow", {"shape_latent": shape, **cond}, {"denoiser": "shape_flow"}),
            self.training("tex_flow", {"shape_latent": shape, "pbr_latent": pbr, **cond}, {"denoiser": "tex_flow"}),
        ])  # fmt: skip

    def assemble(self) -> None:
        calibrated = self.export / "shape_dec_calibrated"
        favour_presence(self.export / "shape_dec", calibrated, PRESENCE_SHIFT)
        for file in ("pipeline.json", "texturing_pipeline.json"):
            recipe = {"pipeline": json.loads((REPO / CONFIGS / file).read_text()), "models": {}}
            args = recipe["pipeline"]["args"]
            for kind in ("shape", "tex"):
                args[f"{kind}_slat_normalization"] = json.loads((self.stats / f"{kind}_slat.json").read_text())
            for key, stem in args["models"].items():
                recipe["models"][key] = str(self.export / Path(stem).name)
            if "shape_slat_decoder" in recipe["models"]:
                recipe["models"]["shape_slat_decoder"] = str(calibrated)
            recipe["models"]["image_cond_model"] = str(self.export / "image_encoder")
            path = self.run / f"recipe_{file}"
            path.write_text(json.dumps(recipe, indent=2) + "\n")
            command = ["-m", "trellis2.pipelines.export", str(path), str(self.out), "--config-file", file]
            self.together([Job(f"assemble_{Path(file).stem}", command, self.out / file, gpus=0)])

    # -- running -------------------------------------------------------------------------------------------------------

    def training(self, name: str, roots: dict[str, str], exports: dict[str, str]) -> Job:
        """A run of train.py with one of the configurations here, then the export of its averaged weights."""
        folders = {"base": self.data, **{role: self.data / sub for role, sub in roots.items()}}
        data_dir = json.dumps({"Procedural": {role: str(path) for role, path in folders.items()}})
        command = ["train.py", "--config", str(CONFIGS / f"{name}.json"), "--output_dir", str(self.run / name)]
        gpus = min(self.args.gpus.get(name, 1), max(1, self.gpus))
        command += ["--data_dir", data_dir, "--num_gpus", str(gpus)]
        if self.args.device is not None:
            command += ["--device", self.args.device]
        for override in self.args.set:
            stage, _, value = override.partition(":")
            if stage in (name, "all"):
                command += ["--set", value]
        if self.args.time_scale != 1:
            minutes = json.loads((REPO / CONFIGS / f"{name}.json").read_text())["trainer"]["args"]["max_minutes"]
            command += ["--max_minutes", f"{minutes * self.args.time_scale:.3f}"]
        after = [
            ["-m", "trellis2.trainers.export", str(self.run / name), str(self.export / stem), "--model", role]
            for role, stem in exports.items()
        ]
        return Job(name, command, self.export / f"{list(exports.values())[-1]}.safetensors", gpus, after)

    def together(self, jobs: list[Job]) -> None:
        """Run jobs side by side and wait; the first failure ends the program with its log."""
        running = []
        turn = itertools.cycle(range(max(1, self.gpus)))
        for job in (job for job in jobs if not job.result.exists()):
            steps = [[sys.executable, *step] for step in (job.command, *job.after)]
            script = " && ".join(shlex.join(step) for step in steps)
            env = dict(os.environ)
            if job.gpus and self.gpus:
                env["CUDA_VISIBLE_DEVICES"] = ",".join(str(next(turn)) for _ in range(job.gpus))
            log = self.logs / f"{job.name}.log"
            print(f"[{time.strftime('%H:%M:%S')}] {job.name}: {shlex.join(steps[0][1:])}", flush=True)
            with log.open("a") as stream:
                process = subprocess.Popen(
                    ["bash", "-c", script], cwd=REPO, env=env, stdout=stream, stderr=subprocess.STDOUT
                )
            running.append((job, process, log, time.perf_counter()))
        for job, process, log, begin in running:
            if process.wait() != 0:
                for _, other, _, _ in running:
                    other.terminate()
                sys.exit(f"error: {job.name} failed, the end of {log}:\n{tail(log)}")
            print(f"[{time.strftime('%H:%M:%S')}] {job.name}: done in {time.perf_counter() - begin:.0f} s", flush=True)


def favour_presence(source: Path, target: Path, shift: float) -> None:
    """Copy a shape decoder with `shift` added to its logits of voxel children and crossed edges.

    A missing voxel or edge is a hole in the surface, a superfluous one hardly shows, so the threshold that makes the
    best surface lies below the one that makes the fewest wrong bits.
    """
    import torch

    from trellis2 import models

    decoder = models.from_pretrained(str(source))
    with torch.no_grad():
        for name, value in decoder.named_parameters():
            if name.endswith("to_subdiv.bias"):
                value += shift
            elif name == "output_layer.bias":
                value[3:6] += shift  # channels: dual vertex 0:3, crossed edges 3:6, split weight 6
    models.save_pretrained(decoder, target)


def tail(path: Path, lines: int = 30) -> str:
    return "\n".join(path.read_text(errors="replace").replace("\r", "\n").splitlines()[-lines:])


def gpu_count() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


STEPS = ("data", "autoencoders", "encode", "flows", "assemble")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data/procedural"), help="dataset folder to make or reuse")
    parser.add_argument("--run", type=Path, default=Path("runs/mini"), help="run folders, exports, logs")
    parser.add_argument("--out", type=Path, default=Path("assets/models/mini"), help="pipeline folder to write")
    parser.add_argument("--assets", type=int, default=10240, help="training assets")
    parser.add_argument("--views", type=int, default=6, help="pictures of each")
    parser.add_argument("--workers", type=int, default=0, help="processes that make data; 0: one a core")
    parser.add_argument("--device", help="cpu, cuda; default: cuda if there is one")
    parser.add_argument("--time-scale", type=float, default=1.0, help="multiplies the time limit of every training")
    parser.add_argument("--steps", default=",".join(STEPS), help="which steps, in order")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE:PATH=VALUE",
        help="e.g. ss_vae:trainer.batch_size=8",
    )
    parser.add_argument("--gpus", default="", metavar="STAGE=N,…", help="stages that train on several GPUs")
    args = parser.parse_args()
    args.gpus = {stage: int(n) for stage, _, n in (item.partition("=") for item in args.gpus.split(",") if item)}
    unknown = [step for step in args.steps.split(",") if step not in STEPS]
    if unknown:
        parser.error(f"unknown steps {', '.join(unknown)}, choose from: {', '.join(STEPS)}")
    if args.run != Path("runs/mini"):
        for stage in ("ss_flow", "shape_flow", "tex_flow"):
            args.set = [*flow_paths(stage, args.run), *args.set]
    maker = Maker(args)
    actions = {
        "data": maker.make_data,
        "autoencoders": maker.train_autoencoders,
        "encode": maker.encode,
        "flows": maker.train_flows,
        "assemble": maker.assemble,
    }
    for step in args.steps.split(","):
        actions[step]()
    return 0


def flow_paths(stage: str, run: Path) -> list[str]:
    """Overrides that point the paths inside a flow configuration at another run folder."""
    config = json.loads((REPO / CONFIGS / f"{stage}.json").read_text())
    pairs = {f"dataset.{key}": value for key, value in config["dataset"]["args"].items()}
    pairs["trainer.image_cond_model.args.model"] = config["trainer"]["args"]["image_cond_model"]["args"]["model"]
    return [
        f"{stage}:{key}={value.replace('runs/mini', str(run), 1)}"
        for key, value in pairs.items()
        if isinstance(value, str) and value.startswith("runs/mini")
    ]


if __name__ == "__main__":
    raise SystemExit(main())
