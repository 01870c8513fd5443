"""What is the softmax computed from, in attention without a fused kernel?

timm computes the attention of Swin transformers step by step. No call of a fused kernel can be
recorded, so the scores are followed through the network's own operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scores:
    """Attention scores after some of the operations from queries and keys to attention weights.

    tensor: the scores, as the network has them now.
    bias: the sum of all that was added to them.
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
        """These scores after an operation; None if it is not part of softmax(q k^T + bias)."""
        advanced = replace(self, tensor=output)
        operand: Any = operands[0] if operands else None
        if name in ("view", "reshape"):
            return advanced
        if name == "dropout" and self.weights and "training" in options:
            return replace(advanced, dropout=options["p"] if options["training"] else 0.0)
        if self.weights:
            return None
        if name == "softmax" and options.get("dim", operand) == -1:
            return replace(advanced, weights=True)
        if name == "mul" and self.bias is None and torch.as_tensor(operand).shape[-2:].numel() == 1:
            # Scaling a head's scores is the same as scaling its queries.
            return replace(advanced, queries=self.queries * operand)
        if name == "add" and isinstance(operand, Tensor):
            # Masks of windows are (1, window, 1, query, key).
            part = operand.flatten(0, 1) if operand.dim() == 5 else operand
            return replace(advanced, bias=part if self.bias is None else self.bias + part)
        return None
