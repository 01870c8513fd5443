"""Do position embeddings reflect the grid? Their similarity (ViT, Fig. 7 centre)."""

from __future__ import annotations

import torch
from torch.nn.functional import normalize

from vit_inspect.analyses.position_figures import instead
from vit_inspect.errors import UnsupportedModel
from vit_inspect.model import Model, of_model
from vit_inspect.records.paper import PositionSimilarity

MAX_POSITIONS = 64 * 64
"""The record grows with the square of this number: 67 MB here."""


@of_model
def position_similarity(model: Model) -> PositionSimilarity:
    """Cosine between every two patches in the table of positions, learned or fixed.

    The grid is that of the network's table, whatever the input size; weights of another grid were
    resampled when they were loaded. Special tokens are left out and no mean is subtracted, as in
    the paper. Symmetric, in [-1, 1]; 1 for a position with itself. Raises `UnsupportedModel` for a
    model without such a table, or with more than `MAX_POSITIONS`.
    """
    if model.positions is None:
        raise UnsupportedModel(
            f"{model.id} without a table of absolute position embeddings",
            "a position table with a row for each patch",
            instead(model),
        )
    rows, columns, width = model.positions.shape
    if rows * columns > MAX_POSITIONS:
        raise UnsupportedModel(
            f"{model.id} with a table of {rows} × {columns} positions",
            f"at most {MAX_POSITIONS}, since each is compared with every other",
            "look at another figure of this model",
        )
    unit = normalize(model.positions.detach().to("cpu", torch.float64).reshape(-1, width), dim=1)
    similarity = (unit @ unit.T).clamp_(-1, 1).to(torch.float32)
    return PositionSimilarity(
        model=model.id,
        similarity=similarity.reshape(rows, columns, rows, columns).numpy(),
    )
