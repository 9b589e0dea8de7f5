"""A complete checkpoint folder in the published layout with random weights, for tests and benchmarks.

    python -m trellis2.pipelines.random_checkpoint OUT_DIR --width tiny

Random networks would find no object, so some weights are set by hand: the structure decoder answers any latent with a
ball of cells that the latent nibbles at, and the shape decoder turns every cell into a plate of 16 x 16 voxels, which
is about as many voxels as a real surface has in a cell. Everything else is random.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from trellis2.models import build_model, save_pretrained
from trellis2.models.empty_init import EmptyInit
from trellis2.utils.files import write_text

from . import published
from .published import FULL, TINY, Widths

__all__ = ["WIDTHS", "fill_random", "main", "make_random_checkpoint", "random_network"]

WIDTHS: dict[str, Widths] = {"tiny": TINY, "full": FULL}
#: Occupied cells of the 64^3 structure grid that the bias of the decoder is set for.
CELLS = {"tiny": 270, "full": 16_000}
_GRABCUT = {"name": "GrabCut", "args": {}}
_FIELDS = 3  # channels that carry the distance field
_PATTERN = 8.0  # size of the constant channels that keep the layer norms from seeing the field


def _normal(value: Tensor, std: float, generator: torch.Generator) -> None:
    value.copy_(torch.randn(value.shape, generator=generator, device=generator.device) * std)


@torch.no_grad()
def fill_random(model: nn.Module, generator: torch.Generator) -> None:
    """Random weights of about unit gain; norms 1, biases 0, residual branches and the last layer small."""
    for name, value in model.named_parameters():
        if name.endswith(("gamma", "lambda1")) or (value.ndim == 1 and name.endswith("weight")):
            value.fill_(1.0)
        elif value.ndim > 1:
            branch = name.endswith(("to_out.weight", "mlp.2.weight", "conv2.weight", "out_layer.weight"))
            gain = 0.2 if branch else 0.02 if name.endswith("adaLN_modulation.1.weight") else 1.0
            _normal(value, gain * (value[0].numel() ** -0.5), generator)
        else:
            value.zero_()


def _alternating(count: int, like: Tensor) -> Tensor:
    """+A, -A, +A, … [count]."""
    signs = torch.ones(count, device=like.device, dtype=like.dtype)
    signs[1::2] = -1
    return _PATTERN * signs


@torch.no_grad()
def _make_ball(decoder: Any, cells: int, generator: torch.Generator) -> None:
    """Weights of a structure decoder with which its logits fall from the middle of the grid outward.

    A constant channel is blurred again and again; zeros come in from beyond the border, so that it becomes a bump that
    is highest in the middle. The other channels hold constants of both signs, plus what the latent brings.
    """
    field = range(_FIELDS)
    first = decoder.input_layer
    first.weight.mul_(0.07)
    first.weight[:_FIELDS] = 0
    first.bias.copy_(_alternating(len(first.bias), first.bias))
    first.bias[:_FIELDS] = 1
    for block in [*decoder.middle_block, *decoder.blocks]:
        if hasattr(block, "conv"):  # up-sampling: eight output channels for each channel
            block.conv.bias.copy_(_alternating(len(block.conv.bias) // 8, block.conv.bias).repeat_interleave(8))
            block.conv.weight.copy_(
                block.conv.weight[::8].mul(0.04).repeat_interleave(8, dim=0)
            )  # eight times the same
            block.conv.weight[: 8 * _FIELDS] = 0
            block.conv.bias[: 8 * _FIELDS] = 0
            for i in field:
                block.conv.weight[8 * i : 8 * i + 8, i] = 1 / 27
            continue
        one, two = block.conv1, block.conv2
        gain = 2 * _PATTERN  # of the norm and of SiLU near zero
        one.bias.copy_(_alternating(len(one.bias), one.bias))
        one.weight.mul_(0.04)
        one.weight[: 2 * _FIELDS] = 0
        one.bias[: 2 * _FIELDS] = 0
        two.weight[:_FIELDS] = 0
        for i in field:
            one.weight[i, i] = gain / 27  # blurred
            one.weight[_FIELDS + i, i, 1, 1, 1] = gain  # as it is
            two.weight[i, i] = gain / 27
            two.weight[i, _FIELDS + i, 1, 1, 1] = -gain  # the residual connection adds it again
    last = decoder.out_layer[2]
    last.weight.mul_(0.02)
    last.weight[0, :_FIELDS] = 0
    last.weight[0, :_FIELDS, 1, 1, 1] = 2 * _PATTERN / _FIELDS
    last.bias.zero_()
    size = 2 ** (len(decoder.channels) - 1)
    shape = (4, decoder.latent_channels, *[64 // size] * 3)
    latent = torch.randn(shape, generator=generator, device=generator.device)
    logits = decoder(latent.to(last.weight.device)).float().flatten()
    last.bias.fill_(-logits.kthvalue(logits.numel() - 4 * cells).values.item())


@torch.no_grad()
def _make_plates(decoder: Any) -> None:
    """Weights of a shape decoder with which every cell becomes one plate of voxels with marked vertical edges."""
    for level in list(decoder.blocks)[:-1]:
        head = level[-1].to_subdiv
        head.weight.mul_(0.01)
        head.bias.copy_(torch.tensor([8.0] * 4 + [-8.0] * 4))  # x fastest: the four lower children
    decoder.output_layer.weight.mul_(0.5)
    decoder.output_layer.bias[3:6] = torch.tensor([-6.0, -6.0, 6.0], device=decoder.output_layer.bias.device)


def random_network(
    key: str, width: Literal["tiny", "full"] = "tiny", seed: int = 0, device: torch.device | str = "cpu"
) -> nn.Module:
    """One network of the published layout with random weights, in eval mode on `device`.

    Raises ValueError for an unknown key.
    """
    configs = published.model_configs(WIDTHS[width])
    if key not in configs:
        raise ValueError(f"unknown network {key!r}, choose from: {', '.join(configs)}")
    generator = torch.Generator(device).manual_seed(1000 * seed + list(configs).index(key))
    with torch.device(device), EmptyInit():
        model = build_model(**configs[key])
    fill_random(model, generator)
    if key == "sparse_structure_decoder":
        _make_ball(model, CELLS[width], generator)
    elif key == "shape_slat_decoder":
        _make_plates(model)
    return model.eval().requires_grad_(False)


def _write_encoder(folder: Path, widths: Widths, generator: torch.Generator) -> None:
    """The image encoder as the transformers library keeps it: `config.json` and `model.safetensors`."""
    from safetensors.torch import save_file

    from trellis2.modules.dinov3 import DinoV3, DinoV3Config

    config = published.dinov3_config(widths)
    with torch.device(generator.device), EmptyInit():
        model = DinoV3(DinoV3Config.from_json(config))
    fill_random(model, generator)
    for name in ("cls_token", "register_tokens"):
        _normal(model.get_parameter(f"embeddings.{name}").data, 0.02, generator)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")


def make_random_checkpoint(
    folder: str | Path,
    width: Literal["tiny", "full"] = "tiny",
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    encoder: bool = True,
    rembg: Literal["published", "grabcut"] = "grabcut",
) -> Path:
    """Write `pipeline.json`, `texturing_pipeline.json`, all networks, and mirrors of the repositories they refer to.

    The structure decoder and (with `encoder`) the image encoder lie in `folder/<owner>/<repository>`, where the loader
    looks for other repositories. `device` is where the weights are made; full width takes 16 GB on disk.
    `rembg` "published" names the gated background remover, which is not written. Raises ValueError for a bad width.
    """
    if width not in WIDTHS:
        raise ValueError(f"unknown width {width!r}, choose from: {', '.join(WIDTHS)}")
    out, widths = Path(folder), WIDTHS[width]
    for key, stem in published.model_stems().items():
        model = random_network(key, width, seed, device)
        flow, mixed = "flow" in key, key == "sparse_structure_decoder"
        dtype = None if mixed or not widths.half else torch.bfloat16 if flow else torch.float16
        save_pretrained(model, out / stem, dtype)
        del model
    if encoder:
        _write_encoder(out / published.DINOV3_REPOSITORY, widths, torch.Generator(device).manual_seed(seed))
    spec = _GRABCUT if rembg == "grabcut" else published.PUBLISHED_REMBG
    write_text(out / "texturing_pipeline.json", json.dumps(published.texturing_json(spec), indent=2) + "\n")
    write_text(out / "pipeline.json", json.dumps(published.pipeline_json(spec), indent=2) + "\n")
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trellis2.pipelines.random_checkpoint", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--width", choices=list(WIDTHS), default="tiny")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="where the weights are made (default: cpu)")
    parser.add_argument("--no-encoder", action="store_true", help="leave the image encoder out")
    parser.add_argument(
        "--rembg", choices=["grabcut", "published"], default="grabcut", help="background remover that is named"
    )
    options = parser.parse_args(argv)
    folder = make_random_checkpoint(
        options.out_dir,
        cast(Any, options.width),
        seed=options.seed,
        device=options.device,
        encoder=not options.no_encoder,
        rembg=options.rembg,
    )
    total = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    sys.stdout.write(f"{folder}: {total / 2**20:.1f} MiB of random weights\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
