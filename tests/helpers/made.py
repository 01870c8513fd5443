"""Models and captures made by hand, whose attention is any pattern that a test asks for."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from vit_inspect.attention.layer import LayerAttention
from vit_inspect.layout import TokenLayout
from vit_inspect.model import Model
from vit_inspect.pictures.preparing import Recipe
from vit_inspect.recording.recorder import Capture

RECIPE = Recipe((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", 0.9, "center")


def layout_of(
    *prefix: str,
    grid: tuple[int, int] = (2, 3),
    patch_px: tuple[int, int] = (4, 6),
    readout: str = "cls",
) -> TokenLayout:
    return TokenLayout(prefix, grid, patch_px, readout)


def model_of(
    layout: TokenLayout,
    *,
    filters: np.ndarray | None = None,
    positions: np.ndarray | None = None,
    depth: int = 1,
    labels: tuple[str, ...] | None = None,
) -> Model:
    """A model without a network."""
    weights = np.zeros((2, 3, 1, 1)) if filters is None else filters
    return Model(
        id="toy",
        module=nn.Identity(),
        blocks=(nn.Identity(),) * depth,
        layout=layout,
        recipe=RECIPE,
        source="made by hand",
        filters=torch.from_numpy(weights),
        filters_name="patch embedding",
        positions=None if positions is None else torch.from_numpy(positions),
        labels=labels,
    )


def layer_of(pattern: np.ndarray, dtype: torch.dtype = torch.float64) -> LayerAttention:
    """A layer whose attention is `pattern` (image, head, query, key), rows of which sum to 1."""
    images, heads, queries, keys = pattern.shape
    with np.errstate(divide="ignore"):
        bias = torch.from_numpy(np.log(pattern)).to(dtype)
    return LayerAttention(
        queries=torch.zeros(images, heads, queries, 1, dtype=dtype),
        keys=torch.zeros(images, heads, keys, 1, dtype=dtype),
        values=torch.zeros(images, heads, keys, 1, dtype=dtype),
        bias=bias,
        scale=1.0,
    )


def capture_of(
    attention: np.ndarray,
    layout: TokenLayout,
    *,
    pool: np.ndarray | None = None,
    dtype: torch.dtype = torch.float64,
) -> Capture:
    """A capture of the attention (layer, image, head, query, key)."""
    return Capture(
        model=model_of(layout, depth=len(attention)),
        photographs=(),
        pixels=torch.zeros(attention.shape[1], 3, *layout.input_px),
        layers=tuple(layer_of(pattern, dtype) for pattern in attention),
        tokens=(),
        pool=None if pool is None else layer_of(pool, dtype),
        output=torch.zeros(attention.shape[1], 1),
        error=0.0,
    )


def peaked(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Random attention of the given shape, far from uniform; each row sums to 1."""
    return random.dirichlet(np.full(shape[-1], 0.2), shape[:-1])
