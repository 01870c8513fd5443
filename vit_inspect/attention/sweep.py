"""One pass over all attention rows of a capture, shared by every analysis that needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from vit_inspect.attention.blocks import RowBlock, row_blocks
from vit_inspect.attention.layer import LayerAttention
from vit_inspect.device import memory_refusal


@runtime_checkable
class Reduction(Protocol):
    """Something that is summed up over all rows of all layers."""

    def add(self, layer: int, block: RowBlock) -> None:
        """Take in one block; layers come last first, queries of a layer in order."""


def sweep(layers: Sequence[LayerAttention], *reductions: Reduction, first_layer: int = 0) -> None:
    """Compute every attention row once, from the last layer to `first_layer`, for all reductions.

    The order is the one in which a read-out row is carried back through the network. Raises
    `OutOfMemory` where the device has no room for a block.
    """
    images, _, tokens, _ = layers[-1].queries.shape
    with torch.inference_mode(), memory_refusal(images, tokens, layers[-1].queries.device):
        for index in reversed(range(first_layer, len(layers))):
            for block in row_blocks(layers[index]):
                for reduction in reductions:
                    reduction.add(index, block)
