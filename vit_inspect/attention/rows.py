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
    return weights_of(layer, scaled, layer.keys.to(kind), slice(None), chosen)[0]


def weights_of(
    layer: LayerAttention,
    scaled: Float[Tensor, "some_image head query width"],
    keys: Float[Tensor, "some_image head key width"],
    images: slice,
    queries: slice | Int[Tensor, "query"],
    *,
    entropy: bool = False,
) -> tuple[
    Float[Tensor, "some_image head query key"], Float[Tensor, "some_image head query"] | None
]:
    """The rows of some images and queries of a layer; and the entropy of each, if it is wanted.

    scaled, keys: their queries times the scale, and the keys of these images, in the type to
        compute with.
    """
    bias = _bias_of(layer, images, queries)
    if layer.windows is not None:
        if isinstance(queries, slice):
            queries = torch.arange(queries.start, queries.stop, device=keys.device)
        weights = _window_rows(scaled, keys, bias, layer.windows, queries + int(layer.padded))
        return weights, row_entropy(weights) if entropy else None
    scores = _scores(scaled, keys[:, :, 1:] if layer.padded else keys, bias)
    weights, found = _softmax(scores, entropy=entropy, hidden=layer.bias is not None)
    return pad(weights, (1, 0)) if layer.padded else weights, found


def _softmax(
    scores: Float[Tensor, "*row key"], *, entropy: bool, hidden: bool
) -> tuple[Float[Tensor, "*row key"], Float[Tensor, "*row"] | None]:
    """The softmax of each row, whose scores are lost; and its entropy, if it is wanted.

    Step by step, which takes no longer than torch's softmax: the weights are the same to the bit
    whether entropy is wanted or not, and from scores it takes half the time that it takes from
    weights, which need a logarithm each.

    hidden: whether there can be keys with a score of minus infinity.
    """
    # Not powers of 2, which take half the time on some processors: torch computes the last few of
    # each thread's share in another way, so bits would depend on the number of threads.
    # In place where it can be, so that the block stays in the cache.
    scores -= scores.amax(dim=-1, keepdim=True)
    if not entropy:
        weights = scores.exp_()
        weights *= weights.sum(dim=-1, keepdim=True).reciprocal_()
        return weights, None
    weights = scores.exp()
    # The largest weight is 1 here, so the total is at least 1, and no entropy is below 0.
    total = weights.sum(dim=-1)
    if hidden:
        # Their weight is 0, and 0 times infinity is no number.
        scores.clamp_(min=torch.finfo(scores.dtype).min)
    found = total.log() - scores.mul_(weights).sum(dim=-1) / total
    weights *= total.reciprocal_()[..., None]
    return weights, found


def row_entropy(rows: Float[Tensor, "*row key"]) -> Float[Tensor, "*row"]:
    """Entropy of each row, in nats; the rows sum to 1."""
    # 0 ln 0 is 0. In place, so that the block stays in the cache.
    logarithms = rows.clamp_min(torch.finfo(rows.dtype).tiny).log_()
    return logarithms.mul_(rows).sum(dim=-1).neg_()


def places(windows: Int[Tensor, "window place"]) -> Int[Tensor, "key"]:
    """One place of each key, counted over all windows; 0 for padding that is in no window."""
    flat = windows.flatten()
    found = flat.new_zeros(int(flat.max()) + 1)
    return found.scatter_(0, flat, torch.arange(len(flat), device=flat.device))


def _bias_of(
    layer: LayerAttention, images: slice, queries: slice | Int[Tensor, "query"]
) -> Tensor | AxisBias | None:
    """The bias of some images and queries; whole, where it belongs to windows."""
    bias = layer.bias
    if isinstance(bias, AxisBias):
        return bias.part(images, slice(None), queries)
    if isinstance(bias, Tensor) and layer.windows is None:
        bias = bias[images] if bias.shape[0] > 1 else bias
        bias = bias[:, :, queries] if bias.shape[2] > 1 else bias
    return bias


def _scores(
    scaled: Float[Tensor, "image head query width"],
    keys: Float[Tensor, "image head key width"],
    bias: Float[Tensor, "#image #head #query key"] | AxisBias | None,
) -> Float[Tensor, "image head query key"]:
    """Scaled queries keys^T + bias."""
    scores = scaled @ keys.transpose(-2, -1)
    if isinstance(bias, AxisBias):
        bias.add_to(scores)
    elif bias is not None:
        scores += bias
    return scores


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
