"""How are all attention rows of a layer computed without storing an N x N matrix? In blocks."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vit_inspect.attention.layer import LayerAttention, compute_type
from vit_inspect.attention.rows import weights_of

CPU_BLOCK_BYTES = 3 * 2**20
"""Size of a block on a CPU: small enough for its caches, large enough that calls cost little."""

DEVICE_MEMORY_SHARE = 1 / 16
"""Size of a block on a GPU, as a share of the free memory."""


class RowBlock(NamedTuple):
    """Complete attention rows of some images and queries, for all heads; each row sums to 1.

    weights: over all keys, which begin with the padding if the layer is padded.
    entropy: of each row, in nats, where it was asked for.
    """

    images: slice
    queries: slice
    weights: Float[Tensor, "image head query key"]
    entropy: Float[Tensor, "image head query"] | None = None

    def product(self, row: Float[Tensor, "images queries"]) -> Float[Tensor, "image head key"]:
        """This block's part of the row-vector product: the sum over q of row[q] * A[q, :].

        row: for all images and queries of the layer. The parts of all blocks sum to the product.
        """
        left = row[self.images, None, None, self.queries].to(self.weights.dtype)
        return (left @ self.weights).squeeze(2)


def row_blocks(
    layer: LayerAttention, *, entropy: bool = False, block_bytes: int | None = None
) -> Iterator[RowBlock]:
    """All rows of a layer, in blocks of about `block_bytes`; the default depends on the device.

    A block holds several whole images, or some queries of one image. entropy: whether it is wanted.
    """
    kind = compute_type(layer.queries.dtype)
    scaled, keys = layer.queries.to(kind) * layer.scale, layer.keys.to(kind)
    images, heads, query_count, _ = scaled.shape
    budget = block_bytes or _block_bytes(scaled.device)
    row_bytes = heads * keys.shape[2] * keys.element_size()
    images_per_block = max(1, budget // (query_count * row_bytes))
    # Equally many in each: a rest of a few rows would cost nearly as much as a whole block.
    parts = ceil(query_count / max(1, budget // row_bytes))
    queries_per_block = ceil(query_count / parts)
    if layer.windows is None and parts > 1:
        # As they are multiplied: each block would arrange them anew.
        keys = keys.mT.contiguous().mT
    for first_image in range(0, images, images_per_block):
        image = slice(first_image, min(first_image + images_per_block, images))
        for first_query in range(0, query_count, queries_per_block):
            query = slice(first_query, min(first_query + queries_per_block, query_count))
            part = layer, scaled[image, :, query], keys[image], image, query
            yield RowBlock(image, query, *weights_of(*part, entropy=entropy))


def _block_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * DEVICE_MEMORY_SHARE)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() * DEVICE_MEMORY_SHARE)
    return CPU_BLOCK_BYTES
