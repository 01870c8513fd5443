"""How far does each head look? Mean attention distance (ViT, Fig. 7 right and Fig. 11)."""

from __future__ import annotations

from typing import Literal, get_args

import torch

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
        # (column, offset row, key column): the distances of one grid row of queries to all keys
        # are a view of it, so that no table of patch pairs is ever made.
        self.distances = offsets.unfold(1, layout.grid[1], 1).flip(1).transpose(0, 1).contiguous()

    def add(self, layer: int, block: RowBlock) -> None:
        """Take in the rows of one block, one row of the grid at a time."""
        (rows, columns), prefix = self.capture.layout.grid, self.capture.layout.prefix_count
        first, last = max(block.queries.start - prefix, 0), block.queries.stop - prefix
        for row in range(first // columns, -(-last // columns)):
            left, right = max(first, row * columns), min(last, (row + 1) * columns)
            start, stop = (patch + prefix - block.queries.start for patch in (left, right))
            weights = block.weights[:, :, start:stop]
            self.prefix_mass[block.images, layer] += weights[..., :prefix].sum(dim=(2, 3))
            table = self.distances[left - row * columns : right - row * columns]
            table = table[:, rows - 1 - row : 2 * rows - 1 - row].flatten(1)
            summed = torch.linalg.vecdot(weights[..., prefix:], table)
            if self.definition == "renormalised":
                # Where everything lies on prefix tokens there is no distance: it counts as 0.
                # Not 1 - mass, which rounding destroys where nearly everything does.
                share = weights[..., prefix:].sum(dim=3)
                summed = summed / share.clamp_min(torch.finfo(share.dtype).tiny)
            self.distance[block.images, layer] += summed.sum(dim=2)

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
