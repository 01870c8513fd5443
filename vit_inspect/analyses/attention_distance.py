"""How far does each head look? Mean attention distance (ViT, Fig. 7 right and Fig. 11)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from vit_inspect.attention import RowBlock, sweep
from vit_inspect.errors import BadParameter
from vit_inspect.recorder import Capture
from vit_inspect.results import AttentionDistance

Definition = Literal["paper", "renormalised"]


def attention_distance(capture: Capture, *, definition: Definition = "paper") -> AttentionDistance:
    """Mean distance between a patch and what it attends to, in px of the model input.

    "paper" weighs every patch with its attention as it is, so that mass on prefix tokens counts
    as distance 0; "renormalised" divides by the mass on patches first. A patch's attention to
    itself counts, at distance 0. Mean over the queries; one value per image, layer and head.
    """
    distance = DistanceReduction(capture, definition=definition)
    sweep(capture.layers, distance)
    return distance.result()


class DistanceReduction:
    """Sums distance and prefix mass over blocks of attention rows."""

    def __init__(self, capture: Capture, *, definition: Definition = "paper") -> None:
        if definition not in get_args(Definition):
            raise BadParameter(
                f"the definition {definition!r}",
                "'paper' or 'renormalised'",
                "choose one of these",
            )
        self.capture = capture
        self.definition = definition
        layout, queries = capture.layout, capture.layers[0].queries
        kind = torch.float64 if queries.dtype == torch.float64 else torch.float32
        shape = (len(queries), len(capture.layers), queries.shape[1])
        self.distance = torch.zeros(shape, dtype=kind, device=queries.device)
        self.prefix_mass = torch.zeros_like(self.distance)
        offsets = torch.from_numpy(layout.offset_distances_px()).to(kind).to(queries.device)
        # Windows of the table in the reversed order of the queries, without a copy.
        self.windows = offsets.unfold(0, layout.grid[0], 1).unfold(1, layout.grid[1], 1)

    def add(self, layer: int, block: RowBlock) -> None:
        """Take in the rows of one block."""
        prefix = self.capture.layout.prefix_count
        first = max(0, prefix - block.queries.start)
        patches = block.weights[:, :, first:]
        mass = patches[..., :prefix].sum(dim=3)
        self.prefix_mass[block.images, layer] += mass.sum(dim=2)
        summed = torch.einsum("ihqk,qk->ihq", block.weights, self._distances(block.queries))
        if self.definition == "renormalised":
            # Where everything lies on prefix tokens there is no distance: it counts as 0.
            share = patches[..., prefix:].sum(dim=3).clamp_min(torch.finfo(mass.dtype).tiny)
            summed = summed[:, :, first:] / share
        self.distance[block.images, layer] += summed.sum(dim=2)

    def _distances(self, queries: slice) -> Float[Tensor, "query key"]:
        """Distances of the block's queries to all tokens; 0 to and from prefix tokens."""
        layout = self.capture.layout
        (rows, columns), prefix = layout.grid, layout.prefix_count
        table = self.windows.new_zeros(queries.stop - queries.start, layout.token_count)
        first, last = max(queries.start - prefix, 0), queries.stop - prefix
        for row in range(first // columns, -(-last // columns)):
            left, right = max(first, row * columns), min(last, (row + 1) * columns)
            table[left + prefix - queries.start : right + prefix - queries.start, prefix:] = (
                self.windows[
                    rows - 1 - row, (row + 1) * columns - right : (row + 1) * columns - left
                ]
                .flip(0)
                .flatten(1)
            )
        return table

    def result(self) -> AttentionDistance:
        """The means, once all blocks are in."""
        count = self.capture.layout.patch_count
        return AttentionDistance(
            model=self.capture.model.id,
            layout=self.capture.layout,
            definition=self.definition,
            distance_px=(self.distance / count).cpu().numpy(),
            prefix_mass=(self.prefix_mass / count).cpu().numpy(),
        )
