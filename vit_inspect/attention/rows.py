"""Attention of single queries, made when somebody asks for it.

Here and in `blocks` alone, q meets k. Scores of float16 and bfloat16 layers are computed in
float32; float64 stays float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vit_inspect.attention.layer import LayerAttention, compute_type


def rows(layer: LayerAttention, queries: Sequence[int]) -> Float[Tensor, "image head row key"]:
    """Attention of the given query tokens on all tokens; each row sums to 1.

    It is 0 outside a query's window. Of the padding it is the row of the last of its places.
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
    # So the block stays in the cache.
    return torch.softmax(scores, dim=-1, out=scores)


def window_rows(
    scaled: Float[Tensor, "image head query width"],
    keys: Float[Tensor, "image head key width"],
    bias: Float[Tensor, "#window #head place place"] | None,
    windows: Int[Tensor, "window place"],
    chosen: Int[Tensor, "query"],
) -> Float[Tensor, "image head query key"]:
    """The rows of the chosen tokens, each computed in its window and laid out over all tokens."""
    # Sorted by their tokens, places come in the order of the tokens; of the padding, one is kept.
    position = windows.flatten().argsort(stable=True)[-keys.shape[2] :][chosen]
    window, place = position // windows.shape[1], position % windows.shape[1]
    # Queries of one window meet its keys in one product: each has a slot beside those it shares
    # the window with. Slots that stay free compute the first query's row once more.
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
    # Added, because all places of the padding are one token.
    return rows.scatter_add_(3, windows[window].expand_as(weights), weights)
