"""Attention weights of one layer, made from queries and keys when somebody asks for them.

The only place where q meets k. A whole N x N matrix is never stored: single rows are computed on
demand, and sums over all rows stream over blocks of bounded size, from the last layer to the
first, so that one sweep serves every analysis that needs one.

Scores of float16 and bfloat16 layers are computed in float32; float64 stays float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from vit_inspect.errors import OutOfMemory

CPU_BLOCK_BYTES = 3 * 2**20
"""Size of a block on a CPU: what stays in the cache between two operations on it."""

DEVICE_MEMORY_SHARE = 1 / 16
"""Size of a block on a GPU, as a share of the memory that is free."""


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """What one softmax was computed from: softmax(scale * queries keys^T + bias) values.

    bias: added to the scores before the softmax; None where the layer has none.
    windows: where tokens attend only to those of their own window: the token of each window's
        places; a place beyond the edge of the grid holds token 0, the padding. None where all
        tokens attend to all.
    """

    queries: Float[Tensor, "image head query width"]
    keys: Float[Tensor, "image head key width"]
    values: Float[Tensor, "image head key value_width"]
    bias: (
        Float[Tensor, "#image #head #query key"] | Float[Tensor, "#window #head place place"] | None
    )
    scale: float
    windows: Int[Tensor, "window place"] | None = None

    def of_head(self, head: int) -> LayerAttention:
        """The same of one head, from 0, as views."""
        one = slice(head, head + 1)
        bias = self.bias
        if bias is not None and bias.shape[1] > 1:
            bias = bias[:, one]
        return LayerAttention(
            self.queries[:, one],
            self.keys[:, one],
            self.values[:, one],
            bias,
            self.scale,
            self.windows,
        )


class RowBlock(NamedTuple):
    """Complete attention rows of some images and queries, for all heads; each row sums to 1."""

    images: slice
    queries: slice
    weights: Float[Tensor, "image head query key"]

    def product(self, row: Float[Tensor, "images queries"]) -> Float[Tensor, "image head key"]:
        """This block's part of the row-vector product: the sum over q of row[q] * A[q, :].

        `row` is of all images and queries of the layer; the blocks' parts add up to the product.
        """
        left = row[self.images, None, None, self.queries].to(self.weights.dtype)
        return (left @ self.weights).squeeze(2)


@runtime_checkable
class Reduction(Protocol):
    """Something that is summed up over all rows of all layers."""

    def add(self, layer: int, block: RowBlock) -> None:
        """Take in one block; layers come last first, queries of a layer in order."""


def rows(layer: LayerAttention, queries: Sequence[int]) -> Float[Tensor, "image head row key"]:
    """Attention of the given query tokens on all tokens; each row sums to 1.

    It is 0 outside a query's window. Of the padding it is the row of the last of its places.
    """
    chosen = torch.as_tensor(queries, device=layer.queries.device)
    kind = compute_type(layer.queries.dtype)
    bias = layer.bias
    if layer.windows is not None:
        scaled = layer.queries[:, :, chosen].to(kind) * layer.scale
        return _window_rows(scaled, layer.keys.to(kind), bias, layer.windows, chosen)
    if bias is not None and bias.shape[2] > 1:
        bias = bias[:, :, chosen]
    return _softmax(layer.queries[:, :, chosen].to(kind) * layer.scale, layer.keys.to(kind), bias)


def row_blocks(layer: LayerAttention, *, block_bytes: int | None = None) -> Iterator[RowBlock]:
    """All rows of a layer, in blocks of about `block_bytes` (by default, what suits the device).

    A block holds several whole images, or some queries of one image.
    """
    kind = compute_type(layer.queries.dtype)
    scaled = layer.queries.to(kind).mul(layer.scale).contiguous()
    keys = layer.keys.to(kind).contiguous()
    images, heads, query_count, _ = scaled.shape
    budget = block_bytes or _block_bytes(scaled.device)
    row_bytes = heads * keys.shape[2] * keys.element_size()
    images_per_block = max(1, budget // (query_count * row_bytes))
    queries_per_block = min(query_count, max(1, budget // row_bytes))
    for first_image in range(0, images, images_per_block):
        image = slice(first_image, min(first_image + images_per_block, images))
        for first_query in range(0, query_count, queries_per_block):
            query = slice(first_query, min(first_query + queries_per_block, query_count))
            if layer.windows is not None:
                chosen = torch.arange(query.start, query.stop, device=keys.device)
                part = scaled[image, :, query], keys[image], layer.bias, layer.windows, chosen
                yield RowBlock(image, query, _window_rows(*part))
                continue
            bias = None if layer.bias is None else _part(layer.bias, image, query)
            yield RowBlock(image, query, _softmax(scaled[image, :, query], keys[image], bias))


def sweep(layers: Sequence[LayerAttention], *reductions: Reduction, first_layer: int = 0) -> None:
    """Compute every attention row once, from the last layer to `first_layer`, for all reductions.

    The order is the one in which a read-out row is carried back through the network. Raises
    `OutOfMemory` where the device has no room for a block.
    """
    images, _, tokens, _ = layers[-1].queries.shape
    with torch.inference_mode(), memory_refusal(images, tokens, layers[-1].queries.device):
        for index in reversed(range(first_layer, len(layers))):
            for block in row_blocks(layers[index]):
                for reduction in reductions:
                    reduction.add(index, block)


@contextmanager
def memory_refusal(images: int, tokens: int, device: torch.device) -> Iterator[None]:
    """Turns a full device into an `OutOfMemory` that says what was asked of it."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On a CPU the allocator's words are all that tells a full memory from another failure.
        full = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not full and "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory(
            f"no memory left on the device {device}",
            f"room for {images} {'image' if images == 1 else 'images'} of {tokens:,} tokens",
            "take fewer images at once, a smaller input or another device",
        ) from error


def compute_type(dtype: torch.dtype) -> torch.dtype:
    """The type of scores, weights and sums over them, by the type of the queries."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _softmax(
    scaled: Float[Tensor, "image head query width"],
    keys: Float[Tensor, "image head key width"],
    bias: Float[Tensor, "#image #head #query key"] | None,
) -> Float[Tensor, "image head query key"]:
    scores = scaled @ keys.transpose(-2, -1)
    if bias is not None:
        scores += bias
    # In place: the block stays in the cache.
    return torch.softmax(scores, dim=-1, out=scores)


def _window_rows(
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


def _part(
    bias: Float[Tensor, "#image #head #query key"], images: slice, queries: slice
) -> Float[Tensor, "#some_image #head #some_query key"]:
    """The bias of some images and queries, where it differs between them at all."""
    if bias.shape[0] > 1:
        bias = bias[images]
    return bias[:, :, queries] if bias.shape[2] > 1 else bias


def _block_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * DEVICE_MEMORY_SHARE)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() * DEVICE_MEMORY_SHARE)
    return CPU_BLOCK_BYTES
