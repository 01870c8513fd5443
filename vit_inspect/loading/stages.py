"""What is a stage of a network whose tokens attend inside windows and merge between stages?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from vit_inspect.layout import PADDING, TokenLayout
from vit_inspect.model import Stage
from vit_inspect.recording.windows import window_table

Pair = tuple[int, int]


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
    layout = TokenLayout((PADDING,) if padded else (), grid, patch_px, readout)
    tables = (
        window_table(
            grid,
            size=size,
            shift=shift,
            prefix=layout.prefix_count,
            padded_first=padded_first,
        )
        for size, shift in windows
    )
    return Stage(blocks, layout, tuple(table.to(device) for table in tables))


def deepest(stages: Sequence[Stage]) -> int:
    """The index of the stage with the most blocks, the first of several; 0 without stages."""
    return max(range(len(stages)), key=lambda index: len(stages[index].blocks), default=0)
