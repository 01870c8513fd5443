"""What does each head do? How spread out, local and query-dependent its attention is."""

from __future__ import annotations

from collections.abc import Collection
from math import log
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from vit_inspect.analyses.attention_distance import DistanceReduction
from vit_inspect.arguments import takes
from vit_inspect.attention.blocks import RowBlock
from vit_inspect.attention.rows import row_entropy
from vit_inspect.attention.sweep import Reduction
from vit_inspect.layout import TokenLayout
from vit_inspect.model import Model
from vit_inspect.recording.inputs import Given
from vit_inspect.recording.observer import summed
from vit_inspect.recording.recorder import Capture, Heads
from vit_inspect.records.evidence import HeadStatistics

Statistic = Literal["distance", "masses", "entropy", "nmi"]
"""What can be summed over the rows of the heads."""


@takes(Model | Capture, "what vit_inspect.load or vit_inspect.capture returns")
def head_statistics(model: Model | Capture, image: Given | None = None) -> HeadStatistics:
    """Seven numbers for every image, layer and head: means over all patches as queries.

    Keys are all tokens. `entropy` of a row a is -sum a ln a, in nats: 0 for a single key, and
    ln(tokens) if all keys get the same attention. `effective_tokens` is the mean of exp(entropy of
    the row), not exp of the mean: the number of tokens that a query attends to, on average over
    queries; at least exp(entropy). `prefix_mass`, `self_mass` and `local_mass` are the attention to
    all special tokens, to the patch itself, and to the 3 × 3 patches centred on it (fewer at the
    border). `distance_px` is the attention distance as in the paper.

    `nmi` is the normalised mutual information of query and key, (H(keys) - entropy) /
    sqrt(H(queries) H(keys)), with equally likely queries, and keys as likely as in the mean row: 0
    if all queries attend alike, 1 if each query has its own key (Park et al., arXiv 2305.00729).

    The padding of windows counts as one special token, although it fills many places.

    model, image: as for `attention_distance`.
    """
    return summed(model, image, HeadReduction).result()


class HeadReduction(Reduction):
    """Sums statistics of the heads over blocks of attention rows.

    statistics: those that are wanted.
    """

    def __init__(
        self, heads: Heads, statistics: Collection[Statistic] = get_args(Statistic)
    ) -> None:
        self.heads = heads
        self.statistics = statistics
        self.needs_entropy = not {"entropy", "nmi"}.isdisjoint(statistics)
        layout = heads.layout
        self.distance = DistanceReduction(heads)
        self.entropy = heads.zeros()
        self.effective_tokens = heads.zeros()
        self.self_mass = heads.zeros()
        self.local_mass = heads.zeros()
        # The padding is a key, and no token.
        self.padding = int(layout.padded)
        self.keys = self.padding + layout.token_count
        self.summed_rows = heads.zeros(self.keys if "nmi" in statistics else 0)
        self.patches = self.entropy.new_zeros(heads.images, layout.token_count)
        self.patches[:, layout.prefix_count :] = 1
        pairs = neighbours(layout)
        # Pairs are sorted by query, so those of a block are contiguous.
        every = torch.arange(layout.token_count + 1)
        self.bounds = torch.searchsorted(pairs[0].contiguous(), every).tolist()
        # Where these pairs are, if all rows of a layer lie one behind the other.
        self.near = (pairs[0] * self.keys + self.padding + pairs[1]).to(heads.device)

    def add(self, layer: int, block: RowBlock) -> None:
        """Add the rows of one block."""
        place, start = (block.images, layer), block.queries.start
        first = max(self.heads.layout.prefix_count - start, 0)
        # Attention to special tokens is summed with the distance.
        if not {"distance", "masses"}.isdisjoint(self.statistics):
            self.distance.add(layer, block)
        if "masses" in self.statistics:
            itself = block.weights.diagonal(offset=start + self.padding, dim1=2, dim2=3)
            self.self_mass[place].add_(itself[:, :, first:].sum(dim=2))
            near = self.near[self.bounds[start] : self.bounds[block.queries.stop]]
            # Of two axes: with three of them torch takes seven times as long.
            flat = block.weights.flatten(2).flatten(0, 1)
            local = flat.index_select(1, near - start * self.keys).sum(dim=1)
            self.local_mass[place].add_(local.unflatten(0, block.weights.shape[:2]))
        if self.needs_entropy:
            assert block.entropy is not None
            entropy = block.entropy[:, :, first:]
            self.entropy[place].add_(entropy.sum(dim=2))
            self.effective_tokens[place].add_(entropy.exp().sum(dim=2))
        if "nmi" in self.statistics:
            self.summed_rows[place].add_(block.product(self.patches))

    def means(self) -> dict[str, Float[np.ndarray, "image layer head"]]:
        """What was asked for, after all blocks were added, by the names of `HeadStatistics`."""
        count = self.heads.layout.patch_count
        found: dict[str, Tensor] = {}
        if "distance" in self.statistics:
            found["distance_px"] = self.distance.distance / count
        if "masses" in self.statistics:
            found["prefix_mass"] = self.distance.prefix_mass / count
            found["self_mass"] = self.self_mass / count
            found["local_mass"] = self.local_mass / count
        if "entropy" in self.statistics:
            found["entropy"] = self.entropy / count
            found["effective_tokens"] = self.effective_tokens / count
        if "nmi" in self.statistics:
            keys = row_entropy(self.summed_rows / count)
            scale = (keys * log(count)).sqrt()
            # Rounding can make the difference negative. With a single query, or one key for all
            # queries, nothing depends on the query.
            shared = (keys - self.entropy / count).clamp_min(0)
            found["nmi"] = torch.where(scale > 0, shared / scale, 0)
        return {name: values.cpu().numpy() for name, values in found.items()}

    def result(self) -> HeadStatistics:
        """The record of all statistics."""
        return HeadStatistics(self.heads.model.id, self.heads.layout, **self.means())


def neighbours(layout: TokenLayout) -> Int[Tensor, "2 pair"]:
    """Token pairs of every patch and each patch in the 3 × 3 around it, sorted by the first."""
    tokens = layout.prefix_count + torch.arange(layout.patch_count).reshape(layout.grid)
    around = pad(tokens, (1, 1, 1, 1), value=-1).unfold(0, 3, 1).unfold(1, 3, 1).flatten(2)
    each = tokens[..., None].expand_as(around)
    return torch.stack([each[around >= 0], around[around >= 0]])
