"""A narrow SAM, whose windows reach over the grid, and its attention by plain loops."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.windowed import on_grid

IMAGES = [noise((64, 80), 1), noise((90, 70), 2)]
GRID = (8, 10)
WINDOW = 3
HEADS = 3
GLOBAL = 1
"""The layer, of three, whose tokens all attend to all."""


def sam(*, fused: bool = True, **options: Any) -> vi.Model:
    """A narrow SAM of random weights: windows of 3 × 3 tokens on a grid of 8 × 10."""
    torch.manual_seed(0)
    network = timm.create_model(
        "samvit_base_patch16",
        **{
            "img_size": (64, 80),
            "patch_size": 8,
            "embed_dim": 24,
            "depth": 3,
            "num_heads": HEADS,
            "window_size": WINDOW,
            "global_attn_indexes": (GLOBAL,),
            "num_classes": 4,
            **options,
        },
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.std() < 1e-3:
                parameter += 0.5 * torch.randn_like(parameter)
        for block in network.blocks:
            block.attn.qkv.weight[: 2 * 24] *= 25
            block.attn.fused_attn = fused
    network.pretrained_cfg = {**network.pretrained_cfg, "input_size": (3, 64, 80)}
    return vi.wrap(network.eval().double())


def written_out(model: vi.Model) -> Iterator[Any]:
    """The network's attention modules, set to compute step by step."""
    for block in model.blocks:
        block.attn.fused_attn = False
        yield block.attn


def softmaxes(model: vi.Model, pixels: Tensor) -> tuple[list[Tensor], Tensor]:
    """What each layer multiplied its values with, as the network has it, and the output."""
    found: list[Tensor] = []
    handles = [
        part.attn_drop.register_forward_pre_hook(lambda _, args: found.append(args[0]))
        for part in written_out(model)
    ]
    output = model.module(pixels)
    for handle in handles:
        handle.remove()
    return found, output


def on_keys(weights: Tensor, layer: int) -> np.ndarray:
    """(image, head, query, 1 + patch): such weights on the grid, by loops, the padding first."""
    heads = weights.detach().unflatten(0, (-1, HEADS))
    if layer == GLOBAL:
        return np.pad(heads.numpy(), ((0, 0),) * 3 + ((1, 0),))
    place = SimpleNamespace(window_size=(WINDOW, WINDOW), shift_size=(0, 0))
    return on_grid(heads, GRID, place, len(IMAGES), range(80))


def explicit_maps() -> list[np.ndarray]:
    """Every layer's attention to keys, by the network's own softmax."""
    model = sam()
    with torch.inference_mode():
        weights, _ = softmaxes(model, torch.cat([model.prepare(image) for image in IMAGES]))
    return [on_keys(each, layer) for layer, each in enumerate(weights)]
