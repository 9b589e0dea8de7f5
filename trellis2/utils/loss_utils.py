"""Image and regression losses. Images are [B, C, H, W] in [0, 1]."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "create_window",
    "dice_loss",
    "gaussian",
    "kl_divergence",
    "l1_loss",
    "l2_loss",
    "lpips",
    "normal_angle",
    "psnr",
    "smooth_l1_loss",
    "ssim",
]


def smooth_l1_loss(pred: Tensor, target: Tensor, beta: float = 1.0) -> Tensor:
    """Huber-like loss, quadratic below `beta`; mean over all elements."""
    return F.smooth_l1_loss(pred, target, beta=beta)


def l1_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (pred - target).abs().mean()


def l2_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference."""
    return ((pred - target) ** 2).mean()


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) ‖ N(0, 1)), mean over all elements."""
    return 0.5 * torch.mean(mean.pow(2) + logvar.exp() - logvar - 1)


def dice_loss(prob: Tensor, target: Tensor) -> Tensor:
    """1 − (2Σpy + 1) / (Σp + Σy + 1), sums over all elements."""
    return 1 - (2 * (prob * target).sum() + 1) / (prob.sum() + target.sum() + 1)


def gaussian(window_size: int, sigma: float) -> Tensor:
    """1-D Gaussian of `window_size` taps that sums to 1."""
    x = torch.arange(window_size, dtype=torch.float32) - window_size // 2
    g = torch.exp(-(x**2) / (2 * sigma**2))
    return g / g.sum()


def create_window(window_size: int, channel: int) -> Tensor:
    """[channel, 1, window_size, window_size] Gaussian window, sigma 1.5."""
    g = gaussian(window_size, 1.5)[:, None]
    return (g @ g.t())[None, None].expand(channel, 1, window_size, window_size).contiguous()


def psnr(a: Tensor, b: Tensor, max_val: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio in dB."""
    return 20 * math.log10(max_val) - 10 * torch.log10(F.mse_loss(a, b))


def ssim(a: Tensor, b: Tensor, window_size: int = 11, size_average: bool = True) -> Tensor:
    """Structural similarity (Wang et al., 2004): Gaussian window, zero padding, C1 = 0.01², C2 = 0.03².

    Returns the mean, or one value an image if not `size_average`.
    """
    channel = a.shape[-3]
    window = create_window(window_size, channel).to(device=a.device, dtype=a.dtype)
    pad = window_size // 2

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(x, window, padding=pad, groups=channel)

    mu_a, mu_b = blur(a), blur(b)
    var_a = blur(a * a) - mu_a**2
    var_b = blur(b * b) - mu_b**2
    cov = blur(a * b) - mu_a * mu_b
    c1, c2 = 0.01**2, 0.03**2
    index = ((2 * mu_a * mu_b + c1) * (2 * cov + c2)) / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))
    return index.mean() if size_average else index.mean(dim=(1, 2, 3))


_LPIPS: dict[str, torch.nn.Module] = {}


def lpips(a: Tensor, b: Tensor, value_range: tuple[float, float] = (0, 1)) -> Tensor:
    """Learned perceptual distance (VGG), mean over the batch; needs the optional package `lpips`."""
    try:
        import lpips as lpips_package
    except ImportError as error:
        raise ImportError("LPIPS losses need the package `lpips`; install it or set lambda_lpips to 0") from error
    key = str(a.device)
    if key not in _LPIPS:
        _LPIPS[key] = lpips_package.LPIPS(net="vgg", verbose=False).eval().requires_grad_(False).to(a.device)
    low, high = value_range
    return _LPIPS[key]((a - low) / (high - low) * 2 - 1, (b - low) / (high - low) * 2 - 1).mean()


def normal_angle(pred: Tensor, gt: Tensor) -> Tensor:
    """Mean angle in degrees between normals stored as (n + 1) / 2, over vectors that are not zero; −1 if none."""
    p, g = pred * 2 - 1, gt * 2 - 1
    norm_p, norm_g = p.norm(dim=-3), g.norm(dim=-3)
    mask = (norm_p > 0) & (norm_g > 0)
    if not bool(mask.any()):
        return torch.tensor(-1.0, device=pred.device)
    cos = (p * g).sum(dim=-3)[mask] / (norm_p[mask] * norm_g[mask])
    return torch.rad2deg(torch.acos(cos.clamp(-1, 1))).mean()
