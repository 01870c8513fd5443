"""How far does each head attend? Mean attention distance (ViT, Fig. 7 right and Fig. 11)."""

from __future__ import annotations

from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from vit_inspect.arguments import takes
from vit_inspect.attention.blocks import RowBlock
from vit_inspect.attention.sweep import Reduction
from vit_inspect.errors import BadParameter
from vit_inspect.model import Model
from vit_inspect.recording.inputs import Given
from vit_inspect.recording.observer import summed
from vit_inspect.recording.recorder import Capture, Heads
from vit_inspect.records.paper import AttentionDistance

KEPT_BYTES = 16 * 2**20
"""Most bytes of pair distances kept between layers; larger tables are computed again each time."""

Definition = Literal["paper", "renormalised"]


@takes(Model | Capture, "what vit_inspect.load or vit_inspect.capture returns")
def attention_distance(
    model: Model | Capture,
    image: Given | None = None,
    *,
    definition: Definition = "paper",
) -> AttentionDistance:
    """Mean distance between a patch and what it attends to, in px of the model input.

    "paper" weights each distance by the attention, so that attention to special tokens counts as
    distance 0; "renormalised" first divides by the attention to patches. A patch's attention to
    itself counts as distance 0. Mean over the patches as queries; one value per image, layer and
    head.

    model, image: a capture alone; or a model and a picture or a batch, whose attention is summed
        inside the forward pass, in less time and memory.

    Raises `BadParameter` for another definition.
    """
    begin = partial(DistanceReduction, definition=definition)
    return summed(model, image, begin).result()


class DistanceReduction(Reduction):
    """Sums distance and prefix mass over blocks of attention rows."""

    def __init__(self, heads: Heads, *, definition: Definition = "paper") -> None:
        if definition not in get_args(Definition):
            raise BadParameter(
                f"the definition {definition!r}",
                "'paper' or 'renormalised'",
                "choose one of these",
            )
        self.heads = heads
        self.definition = definition
        layout = heads.layout
        self.distance = heads.zeros()
        self.prefix_mass = heads.zeros()
        offsets = torch.from_numpy(layout.offset_distances_px()).to(self.distance)
        # (column, offset row, key column): the distances of one grid row of queries to all keys
        # are a view of it.
        self.distances = offsets.unfold(1, layout.grid[1], 1).flip(1).transpose(0, 1).contiguous()
        self.tables: dict[tuple[int, int], Tensor] = {}

    def add(self, layer: int, block: RowBlock) -> None:
        """Add the rows of one block."""
        layout = self.heads.layout
        first, prefix = max(layout.prefix_count - block.queries.start, 0), len(layout.key_prefix)
        patches = block.weights[:, :, first:]
        self.prefix_mass[block.images, layer].add_(patches[..., :prefix].sum(dim=(2, 3)))
        # Two thirds of the time of a dot product for each head and query.
        summed = torch.einsum("ihqk,qk->ihq", block.weights, self._table(block.queries))
        if self.definition == "renormalised":
            # Summed, not 1 - prefix mass, which loses all digits where special tokens get nearly
            # all attention. Where they get all of it, the distance counts as 0.
            share = patches[..., prefix:].sum(dim=3)
            summed = summed[:, :, first:] / share.clamp_min(torch.finfo(share.dtype).tiny)
        self.distance[block.images, layer].add_(summed.sum(dim=2))

    def _table(self, queries: slice) -> Float[Tensor, "query key"]:
        """Distances of the block's queries to all keys; 0 to and from what is no patch.

        Every layer needs the same distances, so up to `KEPT_BYTES` of them are kept.
        """
        bounds = queries.start, queries.stop
        if bounds in self.tables:
            return self.tables[bounds]
        layout = self.heads.layout
        (rows, columns), prefix, before = layout.grid, layout.prefix_count, len(layout.key_prefix)
        table = self.distances.new_zeros(queries.stop - queries.start, before + rows * columns)
        first, last = max(queries.start - prefix, 0), queries.stop - prefix
        for row in range(first // columns, -(-last // columns)):
            left, right = max(first, row * columns), min(last, (row + 1) * columns)
            part = self.distances[left - row * columns : right - row * columns]
            part = part[:, rows - 1 - row : 2 * rows - 1 - row].flatten(1)
            offset = prefix - queries.start
            table[left + offset : right + offset, before:] = part
        if table.nbytes + sum(kept.nbytes for kept in self.tables.values()) <= KEPT_BYTES:
            self.tables[bounds] = table
        return table

    def result(self) -> AttentionDistance:
        """The record, after all blocks were added."""
        count = self.heads.layout.patch_count
        return AttentionDistance(
            model=self.heads.model.id,
            layout=self.heads.layout,
            definition=self.definition,
            distance_px=(self.distance / count).cpu().numpy(),
            prefix_mass=(self.prefix_mass / count).cpu().numpy(),
        )
