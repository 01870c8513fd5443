"""What is the softmax of a layer computed from? Its queries, keys, values and bias."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class AxisBias(NamedTuple):
    """A bias that is a sum of two: one for the key's row of the grid, one for its column.

    With windows, row and column are those inside the query's window. SAM's bias is of this kind. It
    differs from query to query, and whole it would be as large as the scores.
    """

    rows: Float[Tensor, "image head query row"]
    columns: Float[Tensor, "image head query column"]

    def part(self, images: slice, heads: slice, queries: slice | Int[Tensor, "query"]) -> AxisBias:
        """The bias of some images, heads and queries."""
        return AxisBias(*(each[images, heads][:, :, queries] for each in self))

    def add_to(self, scores: Float[Tensor, "*query key"]) -> None:
        """Add it to the scores of its queries, in place."""
        grid = scores.unflatten(-1, (self.rows.shape[-1], self.columns.shape[-1]))
        grid += self.rows[..., None]
        grid += self.columns[..., None, :]


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """The inputs of one attention: softmax(scale * queries keys^T + bias) values.

    bias: added to the scores before the softmax; None if the layer has no bias.
    windows: the key at each place of each window, if tokens attend only inside their own window.
        None if all tokens attend to all.
    padded: whether the first key is the padding, which fills places of windows outside of the
        grid. It is no query. In a layer without windows nothing attends to it.
    """

    queries: Float[Tensor, "image head query width"]
    keys: Float[Tensor, "image head key width"]
    values: Float[Tensor, "image head key value_width"]
    bias: (
        Float[Tensor, "#image #head #query key"]
        | Float[Tensor, "#window #head place place"]
        | AxisBias
        | None
    )
    scale: float
    windows: Int[Tensor, "window place"] | None = None
    padded: bool = False

    def of_head(self, head: int) -> LayerAttention:
        """One head, counted from 0; its tensors are views."""
        one = slice(head, head + 1)
        bias = self.bias
        if isinstance(bias, AxisBias):
            bias = bias.part(slice(None), one, slice(None))
        elif bias is not None and bias.shape[1] > 1:
            bias = bias[:, one]
        return replace(
            self,
            queries=self.queries[:, one],
            keys=self.keys[:, one],
            values=self.values[:, one],
            bias=bias,
        )


def compute_type(dtype: torch.dtype) -> torch.dtype:
    """The type of scores, attention weights and their sums, for queries of this type."""
    return torch.float64 if dtype == torch.float64 else torch.float32
