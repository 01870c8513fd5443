"""What does each head do? How spread out, local and query-dependent its attention is."""

from __future__ import annotations

from math import log

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from vit_inspect.analyses.attention_distance import DistanceReduction
from vit_inspect.attention.blocks import RowBlock
from vit_inspect.attention.sweep import sweep
from vit_inspect.layout import TokenLayout
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.evidence import HeadStatistics


@of_capture
def head_statistics(capture: Capture) -> HeadStatistics:
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
    """
    heads = HeadReduction(capture)
    sweep(capture.layers, heads)
    return heads.result()


class HeadReduction:
    """Sums the statistics of the heads over blocks of attention rows."""

    def __init__(self, capture: Capture) -> None:
        layout = capture.layout
        self.capture = capture
        self.distance = DistanceReduction(capture)
        self.entropy = torch.zeros_like(self.distance.distance)
        self.effective_tokens = torch.zeros_like(self.entropy)
        self.self_mass = torch.zeros_like(self.entropy)
        self.local_mass = torch.zeros_like(self.entropy)
        # The padding is a key, and no token.
        self.padding = int(layout.padded)
        keys = self.padding + layout.token_count
        self.summed_rows = self.entropy.new_zeros(*self.entropy.shape, keys)
        self.patches = self.entropy.new_zeros(len(self.entropy), layout.token_count)
        self.patches[:, layout.prefix_count :] = 1
        pairs = neighbours(layout)
        # Pairs are sorted by query, so those of a block are contiguous.
        every = torch.arange(layout.token_count + 1)
        self.bounds = torch.searchsorted(pairs[0].contiguous(), every).tolist()
        self.query, self.key = pairs.to(self.entropy.device)

    def add(self, layer: int, block: RowBlock) -> None:
        """Add the rows of one block."""
        self.distance.add(layer, block)
        place, start = (block.images, layer), block.queries.start
        first = max(self.capture.layout.prefix_count - start, 0)
        entropy = row_entropy(block.weights)[:, :, first:]
        self.entropy[place] += entropy.sum(dim=2)
        self.effective_tokens[place] += entropy.exp().sum(dim=2)
        self.summed_rows[place] += block.product(self.patches)
        itself = block.weights.diagonal(offset=start + self.padding, dim1=2, dim2=3)
        self.self_mass[place] += itself[:, :, first:].sum(dim=2)
        near = slice(self.bounds[start], self.bounds[block.queries.stop])
        local = block.weights[:, :, self.query[near] - start, self.key[near] + self.padding]
        self.local_mass[place] += local.sum(dim=2)

    def result(self) -> HeadStatistics:
        """The record, after all blocks were added."""
        layout = self.capture.layout
        distance = self.distance.result()
        entropy, effective_tokens, self_mass, local_mass = (
            (total / layout.patch_count).cpu()
            for total in (self.entropy, self.effective_tokens, self.self_mass, self.local_mass)
        )
        keys = row_entropy(self.summed_rows.cpu() / layout.patch_count)
        scale = (keys * log(layout.patch_count)).sqrt()
        # Rounding can make the difference negative. With a single query, or one key for all
        # queries, nothing depends on the query.
        shared = (keys - entropy).clamp_min(0)
        nmi = torch.where(scale > 0, shared / scale, 0)
        return HeadStatistics(
            model=self.capture.model.id,
            layout=layout,
            entropy=entropy.numpy(),
            effective_tokens=effective_tokens.numpy(),
            prefix_mass=distance.prefix_mass,
            self_mass=self_mass.numpy(),
            local_mass=local_mass.numpy(),
            nmi=nmi.numpy(),
            distance_px=distance.distance_px,
        )


def row_entropy(rows: Float[Tensor, "*row key"]) -> Float[Tensor, "*row"]:
    """Entropy of each row, in nats; the rows sum to 1.

    On a CPU, it takes half the time of LSE - scale * q . (mean of k) - (mean bias), which also
    loses digits in float32, as a difference of large scores.
    """
    # 0 ln 0 is 0. In place, so that the block stays in the cache.
    logarithms = rows.clamp_min(torch.finfo(rows.dtype).tiny).log_()
    return logarithms.mul_(rows).sum(dim=-1).neg_()


def neighbours(layout: TokenLayout) -> Int[Tensor, "2 pair"]:
    """Token pairs of every patch and each patch in the 3 × 3 around it, sorted by the first."""
    tokens = layout.prefix_count + torch.arange(layout.patch_count).reshape(layout.grid)
    around = pad(tokens, (1, 1, 1, 1), value=-1).unfold(0, 3, 1).unfold(1, 3, 1).flatten(2)
    each = tokens[..., None].expand_as(around)
    return torch.stack([each[around >= 0], around[around >= 0]])
