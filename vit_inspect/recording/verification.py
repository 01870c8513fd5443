"""Does the recorded attention give the output of the model's own kernel?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vit_inspect.attention.layer import LayerAttention
from vit_inspect.attention.rows import rows

VERIFIED_ROWS = 4
"""Query rows of every block that a capture recomputes, spread evenly; all heads and images."""

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
"""Largest verified error that a capture may have, by the narrowest type in its attention."""


def spread_rows(count: int) -> list[int]:
    """Up to `VERIFIED_ROWS` of so many rows, spread evenly."""
    parts = range(VERIFIED_ROWS)
    return sorted({round((count - 1) * part / (VERIFIED_ROWS - 1)) for part in parts})


def verified_error(
    layer: LayerAttention, output: Tensor, project: Callable[[Tensor], Tensor]
) -> float:
    """Largest difference of some output rows from softmax(q k^T) v, relative to the values.

    project: turns rows of the heads into rows of the output.
    """
    chosen = spread_rows(layer.queries.shape[2])
    weights = rows(layer, chosen)
    values = layer.values.to(weights.dtype)
    difference = project(weights @ values) - output[..., chosen, :].to(weights.dtype)
    return relative_error(difference, project(values))


def relative_error(difference: Tensor, values: Tensor) -> float:
    """The largest difference, relative to the largest value; infinite where one is NaN."""
    error = float(difference.abs().amax() / values.abs().amax().clamp_min(1e-30))
    # NaN must count as the largest error, not as no error.
    return error if error == error else float("inf")
