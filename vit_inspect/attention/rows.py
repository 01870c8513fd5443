"""How is the attention of single queries computed from queries and keys?

Scores are computed only here and in `blocks`. Those of float16 and bfloat16 layers are computed in
float32; float64 stays float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vit_inspect.attention.layer import LayerAttention, compute_type


def rows(layer: LayerAttention, queries: Sequence[int]) -> Float[Tensor, "image head row key"]:
    """Attention of the given query tokens to all tokens; each row sums to 1.

    It is 0 outside a query's window. The row of the padding is that of the last of its places.
    """
    chosen = torch.as_tensor(queries, device=layer.queries.device)
    kind = compute_type(layer.queries.dtype)
    bias = layer.bias
    if layer.windows is not None:
        scaled = layer.queries[:, :, chosen].to(kind) * layer.scale
        return window_rows(scaled, layer.keys.to(kind), bias, layer.windows, chosen)
    if bias is not None and bias.shape[2] > 1:
        bias = bias[:, :, chosen]
    return softmax_rows(
        layer.queries[:, :, chosen].to(kind) * layer.scale, layer.keys.to(kind), bias
    )


def softmax_rows(
    scaled: Float[Tensor, "image head query width"],
    keys: Float[Tensor, "image head key width"],
    bias: Float[Tensor, "#image #head #query key"] | None,
) -> Float[Tensor, "image head query key"]:
    """softmax(scaled queries keys^T + bias), computed in place of the scores."""
    scores = scaled @ keys.transpose(-2, -1)
    if bias is not None:
        scores += bias
    # In place, so that the block stays in the cache.
    return torch.softmax(scores, dim=-1, out=scores)


def window_rows(
    scaled: Float[Tensor, "image head query width"],
    keys: Float[Tensor, "image head key width"],
    bias: Float[Tensor, "#window #head place place"] | None,
    windows: Int[Tensor, "window place"],
    chosen: Int[Tensor, "query"],
) -> Float[Tensor, "image head query key"]:
    """The rows of the chosen tokens over all tokens; each is computed in its window."""
    # Places sorted by token are in the order of tokens; the padding keeps one of its places.
    position = windows.flatten().argsort(stable=True)[-keys.shape[2] :][chosen]
    window, place = position // windows.shape[1], position % windows.shape[1]
    # Queries of one window are multiplied with its keys in one product: each gets a slot in its
    # window. Free slots compute the row of the first query again, and are not read.
    met, group, sizes = window.unique(return_inverse=True, return_counts=True)
    slot = torch.empty_like(group)
    slot[group.argsort(stable=True)] = torch.cat(
        [torch.arange(size, device=slot.device) for size in sizes.tolist()]
    )
    members = group.new_zeros(len(met), int(sizes.max()))
    members[group, slot] = torch.arange(len(chosen), device=slot.device)
    if bias is not None:
        kinds = met if bias.shape[0] > 1 else torch.zeros_like(met)
        bias = bias[kinds[:, None], :, place[members]].permute(2, 0, 1, 3)
    scores = scaled[:, :, members] @ keys[:, :, windows[met]].transpose(-2, -1)
    if bias is not None:
        scores += bias
    weights = torch.softmax(scores, dim=-1, out=scores)[:, :, group, slot]
    rows = keys.new_zeros(*scaled.shape[:3], keys.shape[2])
    # Added, because all places of the padding are the same token.
    return rows.scatter_add_(3, windows[window].expand_as(weights), weights)
