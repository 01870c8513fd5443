"""What is one softmax computed from? Queries, keys, values and bias of a layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """What one softmax was computed from: softmax(scale * queries keys^T + bias) values.

    bias: added to the scores before the softmax; None where the layer has none.
    windows: where tokens attend only to those of their own window: the token of each window's
        places; a place beyond the edge of the grid holds token 0, the padding. None where all
        tokens attend to all.
    """

    queries: Float[Tensor, "image head query width"]
    keys: Float[Tensor, "image head key width"]
    values: Float[Tensor, "image head key value_width"]
    bias: (
        Float[Tensor, "#image #head #query key"] | Float[Tensor, "#window #head place place"] | None
    )
    scale: float
    windows: Int[Tensor, "window place"] | None = None

    def of_head(self, head: int) -> LayerAttention:
        """The same of one head, from 0, as views."""
        one = slice(head, head + 1)
        bias = self.bias
        if bias is not None and bias.shape[1] > 1:
            bias = bias[:, one]
        return LayerAttention(
            self.queries[:, one],
            self.keys[:, one],
            self.values[:, one],
            bias,
            self.scale,
            self.windows,
        )


def compute_type(dtype: torch.dtype) -> torch.dtype:
    """The type of scores, weights and sums over them, by the type of the queries."""
    return torch.float64 if dtype == torch.float64 else torch.float32
