"""Swin transformers: the families that are served, and what their windows are by plain loops.

The oracle takes the softmax out of timm's own attention and lays it on the grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pytest
import timm
import torch
from torch import Tensor

import vit_inspect as vi
from tests.conftest import noise
from vit_inspect.attention.rows import rows

SWIN = "swin_tiny_patch4_window7_224"
SWIN_V2 = "swinv2_tiny_window8_256"
SWIN_V2_CR = "swinv2_cr_tiny_224"
IMAGES = [noise((320, 256), 1), noise((260, 300), 2)]

Grid = tuple[int, int]


class Windowed(NamedTuple):
    """A family that attends inside windows; an input must be a multiple of its last patch."""

    family: str
    architecture: str
    last_patch: int


WINDOWED = (
    Windowed("Swin", SWIN, 32),
    Windowed("Swin v2", SWIN_V2, 32),
    Windowed("Swin v2-cr", SWIN_V2_CR, 32),
)

NARROW = partial(
    timm.create_model, embed_dim=24, depths=(2, 2, 4, 2), num_heads=(1, 2, 3, 6), num_classes=50
)


def narrow_swin(
    architecture: str, img_size: Any = None, dtype: torch.dtype = torch.float64
) -> vi.Model:
    """A narrow random Swin transformer with peaked attention, by timm id and input size."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", NARROW)
        model = vi.load(
            architecture, img_size=img_size, pretrained=False, device="cpu", dtype=dtype
        )
    with torch.no_grad():
        # What starts as constant would hide mistakes, as would attention that is near uniform.
        for parameter in model.module.parameters():
            if parameter.numel() > 1 and parameter.std() < 1e-3:
                parameter += 0.05 * torch.randn_like(parameter)
        for stage in model.stages:
            for block in stage.blocks:
                width = block.attn.qkv.weight.shape[1]
                block.attn.qkv.weight[:width] *= 6000 / width
                if hasattr(block.attn, "relative_position_bias_table"):
                    block.attn.relative_position_bias_table *= 30
                if hasattr(block.attn, "logit_scale"):
                    block.attn.logit_scale += torch.rand_like(block.attn.logit_scale) + 0.5
    return model


def explicit_windows(model: vi.Model, pixels: Tensor) -> list[list[Tensor]]:
    """What each block's attention multiplied its values with, by stage and block.

    Each is (image x window, head, place, place), as timm's softmax returned it.
    """
    found: list[list[Tensor]] = []
    handles = []
    for stage in model.stages:
        kept: list[Tensor] = []
        found.append(kept)
        for block in stage.blocks:
            keep = partial(lambda kept, _, args: kept.append(args[0]), kept)
            handles.append(block.attn.attn_drop.register_forward_pre_hook(keep))
    with torch.inference_mode():
        model.module(pixels)
    for handle in handles:
        handle.remove()
    return found


def on_grid(
    weights: Tensor,
    grid: Grid,
    block: Any,
    images: int,
    queries: Sequence[int],
    *,
    padded_first: bool = False,
) -> np.ndarray:
    """(image, head, query, 1 + patch): rows of some patches on the grid, padding first.

    A patch at (row, column) lies, after the roll to the top left, at ((row - shift) mod rows,
    (column - shift) mod columns), and there in the window of its place. The rows and columns are
    those of the padded grid, if the padding is rolled too.
    """
    (high, wide), (size_down, size_right) = grid, block.window_size
    down, right = block.shift_size
    across = -(-wide // size_right)
    count = -(-high // size_down) * across
    turn = (count // across * size_down, across * size_right) if padded_first else grid
    home: dict[tuple[int, int], int] = {}
    for row in range(high):
        for column in range(wide):
            at_row, at_column = (row - down) % turn[0], (column - right) % turn[1]
            window = at_row // size_down * across + at_column // size_right
            place = at_row % size_down * size_right + at_column % size_right
            home[window, place] = row * wide + column
    lies = {patch: where for where, patch in home.items()}
    values = weights.double().numpy().reshape(images, count, *weights.shape[1:])
    result = np.zeros((images, values.shape[2], len(queries), 1 + high * wide))
    for index, query in enumerate(queries):
        window, place = lies[query]
        for other in range(values.shape[-1]):
            key = home.get((window, other))
            column = 0 if key is None else 1 + key
            result[:, :, index, column] += values[:, window, :, place, other]
    return result


def rows_of(capture: vi.Capture, layer: int, queries: Sequence[int]) -> np.ndarray:
    """The same rows as the capture tells them."""
    found = rows(capture.layers[layer], queries).numpy()
    return found if capture.layout.padded else np.pad(found, ((0, 0), (0, 0), (0, 0), (1, 0)))


def some_patches(grid: Grid) -> list[int]:
    """All patches of a small grid; of a large one, enough to meet each row and each column."""
    patches = range(grid[0] * grid[1])
    return [*patches] if len(patches) < 300 else [*patches[::13], *patches[-9:]]


def compared(model: vi.Model) -> Iterator[tuple[vi.Capture, int, np.ndarray, np.ndarray]]:
    """Every stage's capture and each of its layers: rows as captured and as reassembled."""
    explicit = explicit_windows(model, torch.cat([model.prepare(image) for image in IMAGES]))
    for index, stage in enumerate(model.stages):
        capture = vi.capture(model.at_stage(index), IMAGES)
        assert len(capture.layers) == len(explicit[index]) == len(stage.blocks)
        for layer, block in enumerate(stage.blocks):
            grid = capture.layout.grid
            queries = some_patches(grid)
            wanted = on_grid(explicit[index][layer], grid, block, len(IMAGES), queries)
            yield capture, layer, rows_of(capture, layer, queries), wanted
