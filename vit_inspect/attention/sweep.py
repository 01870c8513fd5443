"""How do several analyses share one pass over all attention rows of a capture?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from vit_inspect.attention.blocks import RowBlock, row_blocks
from vit_inspect.attention.layer import LayerAttention
from vit_inspect.device import memory_refusal


@runtime_checkable
class Reduction(Protocol):
    """A sum over all rows of all layers.

    needs_entropy: whether its blocks bring the entropy of their rows.
    """

    needs_entropy: bool = False

    def add(self, layer: int, block: RowBlock) -> None:
        """Add one block; the last layer comes first, and the queries of a layer in order."""


def sweep(layers: Sequence[LayerAttention], *reductions: Reduction, first_layer: int = 0) -> None:
    """Compute every attention row once, from the last layer to `first_layer`, for all reductions.

    Rollout multiplies the read-out's row by the layers in this order. Raises `OutOfMemory` where
    the device has too little memory for a block.
    """
    images, _, tokens, _ = layers[-1].queries.shape
    entropy = any(reduction.needs_entropy for reduction in reductions)
    with torch.inference_mode(), memory_refusal(images, tokens, layers[-1].queries.device):
        for index in reversed(range(first_layer, len(layers))):
            for block in row_blocks(layers[index], entropy=entropy):
                for reduction in reductions:
                    reduction.add(index, block)
