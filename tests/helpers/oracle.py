"""Independent answers: the explicit softmax of timm's own unfused path, and plain formulas on it.

Nothing here uses `vit_inspect`'s attention code; matrices are stored whole, in float64 where the
formula is ours.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn


def blocks_of(module: nn.Module) -> nn.Module:
    """The blocks of a timm model; classifiers on a language model's eye wrap it."""
    return getattr(module, "encoder", module).blocks


def attentions(block: nn.Module) -> Iterator[nn.Module]:
    """The parts of a block that hold a softmax, the block itself among them."""
    return (part for part in block.modules() if hasattr(part, "fused_attn"))


def explicit_attention(module: nn.Module, pixels: Tensor) -> Tensor:
    """(layer, image, head, query, key) of a timm model, by switching its fused attention off."""
    unfused = copy.deepcopy(module)
    maps: list[Tensor] = []
    for part in attentions(blocks_of(unfused)):
        part.fused_attn = False
        part.attn_drop.register_forward_pre_hook(lambda _, args: maps.append(args[0]))
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
        for part in attentions(blocks_of(module)):
            _query_weight(part).mul_(factor)
            # Normalised queries forget their size; the norm's own weights set it.
            norm = getattr(part, "q_norm", None)
            if getattr(norm, "weight", None) is not None:
                norm.weight.mul_(factor / 4)


def _query_weight(part: nn.Module) -> Tensor:
    """The rows of an attention's weights that make the queries."""
    if getattr(part, "qkv", None) is not None:
        return part.qkv.weight[: len(part.qkv.weight) // 3]
    if hasattr(part, "in_proj"):
        hidden, width, _, _ = part.in_split
        return part.in_proj.weight[hidden : hidden + width]
    return getattr(part.q_proj, "linear", part.q_proj).weight


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
