"""Windows of tokens: who shares one, and what their softmax is computed from.

Swin transformers cut a grid of tokens into windows, inside which all attend to all. timm computes
their attention step by step, with no fused kernel that a recorder could watch, so the scores are
followed through the network's own operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad


def window_table(
    grid: tuple[int, int], *, size: tuple[int, int], shift: tuple[int, int], prefix: int
) -> Int[Tensor, "window place"]:
    """The token at each place of each window, windows and places in raster order.

    As the network does it, the grid is rolled by `shift` (rows, columns) to the top left, filled
    up at the bottom and the right, and cut into windows of `size`. Tokens count from `prefix`,
    the first one of the grid; what fills up is token 0.
    """
    rows, columns = grid
    tokens = prefix + torch.arange(rows * columns).reshape(grid)
    rolled = tokens.roll((-shift[0], -shift[1]), (0, 1))
    filled = pad(rolled, (0, -columns % size[1], 0, -rows % size[0]))
    cut = filled.unfold(0, size[0], size[0]).unfold(1, size[1], size[1])
    return cut.flatten(0, 1).flatten(1)


def by_token(
    values: Float[Tensor, "images_windows head place width"], windows: Int[Tensor, "window place"]
) -> Float[Tensor, "image head token width"]:
    """What was computed window by window, in the order of the tokens; of the padding, one place."""
    position = windows.flatten().argsort(stable=True)[-int(windows.max()) - 1 :]
    each_image = values.unflatten(0, (-1, len(windows))).transpose(1, 2).flatten(2, 3)
    return each_image.index_select(2, position)


@dataclass(frozen=True, eq=False)
class Scores:
    """Attention scores on their way from queries and keys to the weights of the values.

    tensor: what the network holds now.
    bias: what was added on the way.
    weights: whether they have passed the softmax.
    dropout: share of the weights that the network drops.
    """

    tensor: Tensor
    queries: Float[Tensor, "images_windows head query width"]
    keys: Float[Tensor, "images_windows head key width"]
    bias: Float[Tensor, "#window #head query key"] | None = None
    weights: bool = False
    dropout: float = 0.0

    def after(
        self, name: str, operands: tuple[Any, ...], options: Mapping[str, Any], output: Tensor
    ) -> Scores | None:
        """These scores after an operation; None after one that softmax(q k^T + bias) has not."""
        went_on = replace(self, tensor=output)
        operand: Any = operands[0] if operands else None
        if name in ("view", "reshape"):
            return went_on
        if name == "dropout" and self.weights and "training" in options:
            return replace(went_on, dropout=options["p"] if options["training"] else 0.0)
        if self.weights:
            return None
        if name == "softmax" and options.get("dim", operand) == -1:
            return replace(went_on, weights=True)
        if name == "mul" and self.bias is None and torch.as_tensor(operand).shape[-2:].numel() == 1:
            # A temperature of each head is the same factor on its queries.
            return replace(went_on, queries=self.queries * operand)
        if name == "add" and isinstance(operand, Tensor):
            # Masks of windows are (1, window, 1, query, key).
            part = operand.flatten(0, 1) if operand.dim() == 5 else operand
            return replace(went_on, bias=part if self.bias is None else self.bias + part)
        return None
