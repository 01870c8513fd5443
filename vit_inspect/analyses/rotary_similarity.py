"""How does rotation alone change a score, for each offset of key and query? (RoFormer, RoPE-ViT)"""

from __future__ import annotations

import torch

from vit_inspect.analyses.position_figures import instead
from vit_inspect.errors import UnsupportedModel
from vit_inspect.model import Model, of_model
from vit_inspect.records.paper import RotarySimilarity


@of_model
def rotary_similarity(model: Model) -> RotarySimilarity:
    """Cosine of a query and a key that were equal before each was rotated by its position.

    It does not depend on the picture: every pair of dimensions has the same weight. On the model's
    grid. Raises `UnsupportedModel` for a model without rotary positions.
    """
    if model.rotation is None:
        raise UnsupportedModel(
            f"{model.id} without rotary positions",
            "queries and keys that are rotated by their position",
            instead(model),
        )
    frequency = model.rotation(model.blocks, model.layout.grid)
    rows, columns = (torch.arange(1 - count, count) for count in model.layout.grid)
    down = frequency[..., 0, None] * rows
    right = frequency[..., 1, None] * columns
    # cos(a + b), summed over pairs without an array of all pairs and offsets.
    total = torch.einsum("lhpr,lhpc->lhrc", down.cos(), right.cos())
    total -= torch.einsum("lhpr,lhpc->lhrc", down.sin(), right.sin())
    return RotarySimilarity(
        model=model.id,
        similarity=(total / frequency.shape[2]).clamp(-1, 1).to(torch.float32).numpy(),
        frequency=frequency.to(torch.float32).numpy(),
        row_offset=rows.numpy(),
        column_offset=columns.numpy(),
    )
