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


def verified_error(
    layer: LayerAttention, output: Tensor, project: Callable[[Tensor], Tensor]
) -> float:
    """Largest difference of some output rows from softmax(q k^T) v, relative to the values.

    project: turns rows of the heads into rows of the output.
    """
    last = layer.queries.shape[2] - 1
    chosen = sorted({round(last * part / (VERIFIED_ROWS - 1)) for part in range(VERIFIED_ROWS)})
    weights = rows(layer, chosen)
    values = layer.values.to(weights.dtype)
    difference = project(weights @ values) - output[..., chosen, :].to(weights.dtype)
    # NaN must count as the largest error, not as no error.
    error = float(difference.abs().amax() / project(values).abs().amax().clamp_min(1e-30))
    return error if error == error else float("inf")
