"""How does a map change if the model learned nothing? The same network with permuted weights.

The test of Adebayo et al. 2018, Sanity Checks for Saliency Maps (arXiv 1810.03292).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from vit_inspect.model import Model, of_model


@of_model
def randomised(model: Model, *, seed: int = 0) -> Model:
    """The same architecture, with the entries of every weight tensor in a random order.

    Each tensor keeps the distribution of its values, but what was learned is lost: in matrices,
    biases and norms, and in class tokens, position tables and layer scales. All follow one rule.
    Adebayo et al. draw new initial values instead, but modules define none for tokens, tables and
    scales, and a part that is not reset would still hold what was learned. Fixed position tables
    among the weights are permuted too; buffers, such as those of rotary positions, stay.

    Queries and keys no longer match, so attention is nearly uniform: compare such a map by the
    order of its patches, on its own scale.

    seed: of the random order; the same seed gives the same weights on every device.

    The given model is not changed. Everything in the returned record uses the new weights; filters
    and positions that are computed from weights, not a part of them, are None.
    """
    # Blocks, hooks and head are copied too, and then belong to the copied network.
    twin = copy.deepcopy(replace(model, filters=None, positions=None))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in twin.module.parameters():
            order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
            weights.copy_(weights.flatten()[order].view_as(weights))
    return replace(
        twin,
        id=f"{model.id}, randomised",
        source=f"permuted weights ({model.source})",
        filters=_same_part(model.filters, model, twin),
        positions=_same_part(model.positions, model, twin),
        notices=(*model.notices, "Its weights are permuted: it has lost all that it learned."),
    )


def _same_part(part: Tensor | None, model: Model, twin: Model) -> Tensor | None:
    """The same view of the twin's weights; None if `part` is not a view of the model's weights."""
    pairs = zip(model.module.parameters(), twin.module.parameters(), strict=True)
    for weights, others in pairs:
        storage = weights.untyped_storage().data_ptr()
        if part is not None and part.untyped_storage().data_ptr() == storage:
            offset = part.storage_offset() - weights.storage_offset()
            return others.detach().as_strided(part.shape, part.stride(), offset)
    return None
