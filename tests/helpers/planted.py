"""A model whose answer is known to rest on one patch, and to pass through one head.

For tests of what claims to find evidence: relevance, ablation, deletion and insertion of patches.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple
from unittest.mock import patch as patched

import numpy as np
import timm
import torch
from PIL import Image

import vit_inspect as vi

GRID, PATCH_PX, DEPTH = (4, 6), 16, 3
WIDTH, HEAD_WIDTH = 192, 64
LAYER, HEAD = 1, 2
RED_CLASS, OTHER_CLASS = 207, 512
RED, CLASS, FOUND = 0, 2, 4
"""Channels of a token; the next one always holds the negative, so that a token's mean is 0."""
IDLE = slice(64, 128)
"""Channels of brightness and place, which take no part in the answer."""
STEADY = slice(128, 192)
"""Channels that are the same in every token: they fix what the norms divide by."""


class Planted(NamedTuple):
    """What is planted where.

    model: a classifier of `GRID` patches, three layers of three heads, read at its class token.
    image: grey noise of the model input's size, of which one patch is red.
    patch: the red one, as (row, column).
    head: the (layer, head), from 0, that carries what is there to the class token.
    class_index: the class that is found by its red, with a probability of 0.98; without it, 0.02.
    """

    model: vi.Model
    image: Image.Image
    patch: tuple[int, int]
    head: tuple[int, int]
    class_index: int


def planted(
    patch: tuple[int, int] = (2, 4), *, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Planted:
    """A small ViT of timm with weights set by hand, and a picture with one red patch.

    In layer 1, the class token's query in head 2 meets keys that are as large as their patch is
    red, so that nearly all of its attention (all but 1e-11) is on the red patch, wherever that
    lies; the values are red as well, and what arrives is the score of `class_index`. Nothing else
    reaches it: the other heads attend peakedly, by brightness and place, and the MLPs compute
    something, but their output projections are zero. A patch without red changes the score only
    through what is left of the attention.

    seed: of the noise.
    """
    torch.manual_seed(0)
    with patched.object(timm, "create_model", partial(timm.create_model, depth=DEPTH)):
        model = vi.load(
            "vit_tiny_patch16_224",
            img_size=(GRID[0] * PATCH_PX, GRID[1] * PATCH_PX),
            pretrained=False,
            device="cpu",
            dtype=dtype,
        )
    with torch.no_grad():
        _set_embedding(model.module)
        for block in model.blocks:
            block.attn.qkv.weight[: 2 * WIDTH, IDLE] *= 80
            block.attn.proj.weight.zero_()
            block.mlp.fc2.weight.zero_()
        _set_head(model.blocks[LAYER].attn)
        classify = model.module.head
        classify.weight.zero_()
        classify.weight[RED_CLASS, FOUND] = 11
        classify.bias.fill_(-12)
        classify.bias[RED_CLASS] = -4
        classify.bias[OTHER_CLASS] = 0
    # The whole picture as it is, so that its patches are those of the model.
    return Planted(model.fitted("whole"), picture(patch, seed), patch, (LAYER, HEAD), RED_CLASS)


def picture(patch: tuple[int, int] | None, seed: int = 0) -> Image.Image:
    """Grey noise, and one red patch if it is given as (row, column)."""
    rows, columns = (side * PATCH_PX for side in GRID)
    grey = np.random.default_rng(seed).integers(60, 196, (rows, columns, 1), dtype=np.uint8)
    pixels = grey.repeat(3, axis=2)
    if patch is not None:
        row, column = (PATCH_PX * place for place in patch)
        pixels[row : row + PATCH_PX, column : column + PATCH_PX] = (255, 0, 0)
    return Image.fromarray(pixels)


def _set_embedding(module: torch.nn.Module) -> None:
    """How red a patch is, from 0 for grey to 1, beside channels that take no part."""
    filters, positions = module.patch_embed.proj.weight, module.pos_embed
    idle = filters[IDLE].clone()
    filters.zero_()
    filters[RED] = torch.tensor([0.5, -0.25, -0.25])[:, None, None] / PATCH_PX**2
    filters[RED + 1] = -filters[RED]
    filters[IDLE] = 0.02 * (idle - idle.mean(dim=0)) / idle.std()
    steady = torch.tensor([2.0, -2.0]).repeat(32)
    module.patch_embed.proj.bias.zero_()
    module.patch_embed.proj.bias[STEADY] = steady
    module.cls_token.zero_()
    module.cls_token[..., STEADY] = steady
    module.cls_token[..., CLASS], module.cls_token[..., CLASS + 1] = 1, -1
    place = positions[..., IDLE] - positions[..., IDLE].mean(dim=-1, keepdim=True)
    positions.zero_()
    positions[..., IDLE] = 0.2 * place / place.std()


def _set_head(attention: torch.nn.Module) -> None:
    """What the planted head asks for, finds and tells."""
    query = HEAD * HEAD_WIDTH
    key, value = query + WIDTH, query + 2 * WIDTH
    for first in (query, key, value):
        attention.qkv.weight[first : first + HEAD_WIDTH] = 0
    attention.qkv.weight[query, CLASS] = 320
    attention.qkv.weight[key, RED] = 1
    attention.qkv.weight[value, RED] = 1
    attention.proj.weight[FOUND, query] = 1
    attention.proj.weight[FOUND + 1, query] = -1
