"""Sparse convolution weights as other libraries store them, in the layout of this project."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ["translate_conv_keys"]


def translate_conv_keys(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and permute the convolutions of `state` that `own` holds under the plain names.

    `X.conv.{weight,bias}` of spconv: the same memory layout (Co, K1, K2, K3, Ci). `X.conv.kernel` of torchsparse:
    (V, Ci, Co) with tap index (k3·K2 + k2)·K1 + k1. Other keys pass through.
    """
    out = {}
    for key, value in state.items():
        prefix, _, leaf = key.rpartition(".")
        plain = f"{prefix.removesuffix('.conv')}.{'weight' if leaf == 'kernel' else leaf}"
        if key in own or not prefix.endswith(".conv") or plain not in own:
            out[key] = value
        elif leaf == "kernel" and value.ndim == 3 and own[plain].ndim == 5:
            channels_out, k1, k2, k3, channels_in = own[plain].shape
            if value.shape == (k1 * k2 * k3, channels_in, channels_out):
                value = value.view(k3, k2, k1, channels_in, channels_out).permute(4, 2, 1, 0, 3)
            out[plain] = value
        else:
            out[plain] = value
    return out
