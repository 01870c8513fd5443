"""What is the softmax of a layer computed from? Its queries, keys, values and bias."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """The inputs of one attention: softmax(scale * queries keys^T + bias) values.

    bias: added to the scores before the softmax; None if the layer has no bias.
    windows: the token at each place of each window, if tokens attend only inside their own window;
        a place outside of the grid has token 0, the padding. None if all tokens attend to all.
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
        """One head, counted from 0; its tensors are views."""
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
    """The type of scores, attention weights and their sums, for queries of this type."""
    return torch.float64 if dtype == torch.float64 else torch.float32
