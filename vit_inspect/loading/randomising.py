"""What is left of a map when nothing was learned? The same network with its weights permuted.

The control of Adebayo et al. 2018, Sanity Checks for Saliency Maps (arXiv 1810.03292).
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from vit_inspect.model import Model


def randomised(model: Model, *, seed: int = 0) -> Model:
    """The same architecture, with the entries of every weight tensor in a random order.

    Each tensor keeps the distribution of its values, while what was learned is gone: from matrices,
    biases and norms, and from class tokens, position tables and layer scales. One rule for them
    all: Adebayo et al. draw fresh values, which no module knows for tokens, tables and scales, and
    what is not reset would still tell of the training. Tables of fixed positions that the network
    holds among its weights are permuted too; buffers, such as those of rotary positions, stay.

    Queries and keys no longer fit together, so attention is nearly even: compare such a map by the
    order of its patches, on its own scale.

    seed: of the order; the same gives the same weights on every device.

    The given model stays as it is. All that the returned record holds is of the new weights;
    filters and positions that were computed from weights, and are no part of them, are None.
    """
    # With the blocks, their hooks, and the head, which all belong to the copied network then.
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
        notices=(*model.notices, "Its weights are permuted: nothing is left of what it learned."),
    )


def _same_part(part: Tensor | None, model: Model, twin: Model) -> Tensor | None:
    """What a view of the model's weights is of the twin's; None where it is no view."""
    pairs = zip(model.module.parameters(), twin.module.parameters(), strict=True)
    for weights, others in pairs:
        storage = weights.untyped_storage().data_ptr()
        if part is not None and part.untyped_storage().data_ptr() == storage:
            offset = part.storage_offset() - weights.storage_offset()
            return others.detach().as_strided(part.shape, part.stride(), offset)
    return None
