"""What is a stage of a network whose tokens attend inside windows?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from vit_inspect.layout import TokenLayout
from vit_inspect.model import Stage
from vit_inspect.recording.windows import window_table

Pair = tuple[int, int]

PADDED = (
    "Its windows reach over the edge of the grid. What goes there is told as padding: it is on no "
    "part of the input."
)
"""The notice of a model with such windows."""


def stage_of(
    blocks: tuple[nn.Module, ...],
    windows: Sequence[tuple[Pair, Pair]],
    *,
    input_px: Pair,
    patch_px: Pair,
    readout: str,
    device: torch.device,
    padded_first: bool = False,
) -> Stage:
    """The stage of some blocks.

    windows: size and shift of each block's windows, in (rows, columns) of tokens.
    patch_px: what a token of this stage stands for.
    padded_first: as for `window_table`.
    """
    grid = input_px[0] // patch_px[0], input_px[1] // patch_px[1]
    padded = any(side % step for side, step in zip(grid, windows[0][0], strict=True))
    tables = (
        window_table(grid, size=size, shift=shift, padded=padded, padded_first=padded_first)
        for size, shift in windows
    )
    return Stage(
        blocks,
        TokenLayout((), grid, patch_px, readout, padded=padded),
        tuple(table.to(device) for table in tables),
    )


def unmerged_stages(
    blocks: tuple[nn.Module, ...], sides: Sequence[int], layout: TokenLayout
) -> tuple[Stage, ...]:
    """The one stage of a network whose tokens do not merge, but attend inside windows.

    sides: of the windows of each block, in tokens; 0 for a block in which all tokens attend to all.
    Most blocks of SAM and ViTDet have windows. Empty where no block has.
    """
    sides = [0 if layout.grid == (side, side) else side for side in sides]
    if not any(sides):
        return ()
    padded = any(tokens % side for side in sides if side for tokens in layout.grid)
    device = next(blocks[0].parameters()).device
    windows = (
        window_table(layout.grid, size=(side, side), padded=padded).to(device) if side else None
        for side in sides
    )
    return (Stage(blocks, replace(layout, padded=padded), tuple(windows)),)


def deepest(stages: Sequence[Stage]) -> int:
    """The index of the stage with the most blocks, the first of several; 0 without stages."""
    return max(range(len(stages)), key=lambda index: len(stages[index].blocks), default=0)
