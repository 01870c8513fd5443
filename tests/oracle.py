"""Independent answers: the explicit softmax of timm's own unfused path, and plain formulas on it.

Nothing here uses `vit_inspect`'s attention code; matrices are stored whole, in float64 where the
formula is ours.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from torch import Tensor, nn


def explicit_attention(module: nn.Module, pixels: Tensor) -> Tensor:
    """(layer, image, head, query, key) of a timm model, by switching its fused attention off."""
    unfused = copy.deepcopy(module)
    maps: list[Tensor] = []
    for block in unfused.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda _, args: maps.append(args[0]))
    with torch.inference_mode():
        unfused(pixels)
    # SAM's attention joins images and heads in one axis.
    return torch.stack([each.reshape(len(pixels), -1, *each.shape[-2:]) for each in maps])


def sharpen(module: nn.Module, factor: float = 24.0) -> None:
    """Make random weights fit to show mistakes, in place.

    Query-key weights are scaled up, because near-uniform attention hides everything; and what
    starts as constant (biases, position biases, layer scales) gets values of its own.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.numel() > 1 and parameter.std() < 1e-3:
                parameter += 0.3 * torch.randn_like(parameter)
        for block in module.blocks:
            width = block.attn.qkv.weight.shape[0] // 3
            block.attn.qkv.weight[:width] *= factor


def pair_distances(grid: tuple[int, int], patch_px: tuple[int, int]) -> np.ndarray:
    """(query, key) distances between patch centres, by the plain double loop."""
    centres = [
        ((row + 0.5) * patch_px[0], (column + 0.5) * patch_px[1])
        for row in range(grid[0])
        for column in range(grid[1])
    ]
    return np.array([[math.hypot(a - c, b - d) for c, d in centres] for a, b in centres])


def mean_distance(
    attention: np.ndarray, distances: np.ndarray, prefix: int, *, renormalised: bool
) -> np.ndarray:
    """Mean distance over queries of (..., token, token) attention."""
    weights = attention[..., prefix:, prefix:]
    summed = np.einsum("...qk,qk->...q", weights, distances)
    if renormalised:
        summed = summed / weights.sum(axis=-1, dtype=np.float64)
    return summed.mean(axis=-1)


def rollout_matrix(fused: np.ndarray) -> np.ndarray:
    """Product of (A + I) / 2 over (layer, token, token), later layers on the left."""
    size = fused.shape[-1]
    product = np.eye(size)
    for layer in fused:
        product = (0.5 * layer + 0.5 * np.eye(size)) @ product
    return product
