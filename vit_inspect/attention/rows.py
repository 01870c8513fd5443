"""How is the attention of single queries computed from queries and keys?

Scores are computed only here. Those of float16 and bfloat16 layers are computed in float32; float64
stays float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from vit_inspect.attention.layer import AxisBias, LayerAttention, compute_type


def rows(layer: LayerAttention, queries: Sequence[int]) -> Float[Tensor, "image head row key"]:
    """Attention of the given query tokens to all keys; each row sums to 1.

    It is 0 outside a query's window.
    """
    chosen = torch.as_tensor(queries, device=layer.queries.device)
    kind = compute_type(layer.queries.dtype)
    scaled = layer.queries[:, :, chosen].to(kind) * layer.scale
    return weights_of(layer, scaled, layer.keys.to(kind), slice(None), chosen)


def weights_of(
    layer: LayerAttention,
    scaled: Float[Tensor, "some_image head query width"],
    keys: Float[Tensor, "some_image head key width"],
    images: slice,
    queries: slice | Int[Tensor, "query"],
) -> Float[Tensor, "some_image head query key"]:
    """The rows of some images and queries of a layer.

    scaled, keys: their queries times the scale, and the keys of these images, in the type to
        compute with.
    """
    bias = layer.bias
    if isinstance(bias, AxisBias):
        bias = bias.part(images, slice(None), queries)
    if layer.windows is not None:
        if isinstance(queries, slice):
            queries = torch.arange(queries.start, queries.stop, device=keys.device)
        return _window_rows(scaled, keys, bias, layer.windows, queries + int(layer.padded))
    if isinstance(bias, Tensor):
        bias = bias[images] if bias.shape[0] > 1 else bias
        bias = bias[:, :, queries] if bias.shape[2] > 1 else bias
    if not layer.padded:
        return _softmax_rows(scaled, keys, bias)
    return pad(_softmax_rows(scaled, keys[:, :, 1:], bias), (1, 0))


def places(windows: Int[Tensor, "window place"]) -> Int[Tensor, "key"]:
    """One place of each key, counted over all windows; 0 for padding that is in no window."""
    flat = windows.flatten()
    found = flat.new_zeros(int(flat.max()) + 1)
    return found.scatter_(0, flat, torch.arange(len(flat), device=flat.device))


def _softmax_rows(
    scaled: Float[Tensor, "image head query width"],
    keys: Float[Tensor, "image head key width"],
    bias: Float[Tensor, "#image #head #query key"] | AxisBias | None,
) -> Float[Tensor, "image head query key"]:
    """softmax(scaled queries keys^T + bias), computed in place of the scores."""
    scores = scaled @ keys.transpose(-2, -1)
    if isinstance(bias, AxisBias):
        bias.add_to(scores)
    elif bias is not None:
        scores += bias
    # In place, so that the block stays in the cache.
    return torch.softmax(scores, dim=-1, out=scores)


def _window_rows(
    scaled: Float[Tensor, "image head query width"],
    keys: Float[Tensor, "image head key width"],
    bias: Float[Tensor, "#window #head place place"] | AxisBias | None,
    windows: Int[Tensor, "window place"],
    chosen: Int[Tensor, "query"],
) -> Float[Tensor, "image head query key"]:
    """The rows of the chosen tokens over all keys; each is computed in its window.

    chosen: the tokens, as the keys that they are.
    """
    position = places(windows)[chosen]
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
    scores = scaled[:, :, members] @ keys[:, :, windows[met]].transpose(-2, -1)
    if isinstance(bias, AxisBias):
        AxisBias(*(each[:, :, members] for each in bias)).add_to(scores)
    elif bias is not None:
        kinds = met if bias.shape[0] > 1 else torch.zeros_like(met)
        scores += bias[kinds[:, None], :, place[members]].permute(2, 0, 1, 3)
    weights = torch.softmax(scores, dim=-1, out=scores)[:, :, group, slot]
    rows = keys.new_zeros(*scaled.shape[:3], keys.shape[2])
    # Added, because all places of the padding are the same key.
    return rows.scatter_add_(3, windows[window].expand_as(weights), weights)
