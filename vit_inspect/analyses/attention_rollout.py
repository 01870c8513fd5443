"""Which patches reach the read-out? Attention rollout (Abnar and Zuidema 2020; ViT, Fig. 6)."""

from __future__ import annotations

from numbers import Real
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize, pad

from vit_inspect.analyses.readout import readout_weights
from vit_inspect.arguments import in_words, one_of
from vit_inspect.attention.blocks import RowBlock
from vit_inspect.attention.sweep import Reduction, sweep
from vit_inspect.errors import BadParameter
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.paper import AttentionRollout

Fusion = Literal["mean", "max", "min"]


@of_capture
def attention_rollout(
    capture: Capture, *, fusion: Fusion = "mean", discard: float = 0.0, start_layer: int = 0
) -> AttentionRollout:
    """The read-out's row of the product over layers of (A + I) / 2, later layers on the left.

    fusion: how heads are combined into A: "mean", as in the paper, or "max" or "min", whose rows
        are divided by their sums.
    discard: share of each patch's lowest attention to patches that is set to 0 before the rows are
        normalised again; attention from and to special tokens is kept.
    start_layer: first layer of the product.

    Only the row that is shown is computed, from the last layer to the first; the result equals
    that row of the full product. Each intermediate row is the result for a later start layer, and
    `growth` keeps it. Each map and its prefix masses sum to 1. Raises `BadParameter` for a value
    outside these ranges, `UnsupportedModel` for a hierarchical model and for a read-out that takes
    maxima or merges patches.
    """
    rollout = RolloutReduction(capture, fusion=fusion, discard=discard, start_layer=start_layer)
    sweep(capture.layers, rollout, first_layer=rollout.start_layer)
    return rollout.result()


class RolloutReduction(Reduction):
    """Multiplies the read-out's row by the layers, last layer first, block by block.

    without: tokens that are removed as keys and from the read-out; rows are then divided by their
        sums, so that they still sum to 1. Figures of this variant must say so.
    """

    def __init__(
        self,
        capture: Capture,
        *,
        fusion: Fusion = "mean",
        discard: float = 0.0,
        start_layer: int = 0,
        without: Bool[Tensor, "image token"] | None = None,
    ) -> None:
        capture.model.check_same_tokens()
        depth = len(capture.layers)
        for wrong, found, expected in (
            (fusion not in get_args(Fusion), f"the fusion {fusion!r}", "'mean', 'max' or 'min'"),
            (
                not (isinstance(discard, Real) and 0 <= discard < 1),
                f"the discard share {in_words(discard)}",
                "a share from 0 to below 1",
            ),
        ):
            if wrong:
                raise BadParameter(found, expected, "choose one of these")
        self.capture = capture
        self.fusion = fusion
        self.discard = discard
        self.start_layer = one_of(start_layer, depth, "start layer")
        self.without = without
        self.layer = depth
        row = readout_weights(capture)
        row = row if without is None else normalize(row.masked_fill(without, 0), p=1)
        # Over keys: what reached the padding stays there, since no token is behind it.
        self.padding = int(capture.layout.padded)
        self.rows = [pad(row, (self.padding, 0))]

    def add(self, layer: int, block: RowBlock) -> None:
        """Add the rows of one block."""
        if layer != self.layer:
            self.layer = layer
            later = self.rows[-1]
            self.rows.append(later / 2)
            self.rows[-1][:, : self.padding] = later[:, : self.padding]
        row, earlier = self.rows[-2][:, self.padding :], self.rows[-1]
        if self.fusion == "mean" and not self.discard and self.without is None:
            earlier[block.images] += block.product(row / 2).mean(dim=1)
            return
        weights = row[block.images, block.queries] / 2
        fused = self._fused(block)
        # A row that became empty attends to nothing: its token only keeps itself.
        earlier[:, self.padding :][block.images, block.queries] += weights * (1 - fused.sum(dim=2))
        earlier[block.images] += (weights[:, None] @ fused).squeeze(1)

    def _fused(self, block: RowBlock) -> Float[Tensor, "image query key"]:
        """Rows of the combined heads, without the lowest attention; each sums to 1 or is empty."""
        if self.fusion == "mean":
            fused = block.weights.mean(dim=1)
        elif self.fusion == "max":
            fused = block.weights.amax(dim=1)
        else:
            fused = block.weights.amin(dim=1)
        if self.without is not None:
            fused[..., self.padding :].masked_fill_(self.without[block.images, None], 0)
        layout = self.capture.layout
        first = max(0, layout.prefix_count - block.queries.start)
        dropped = int(self.discard * layout.patch_count)
        if dropped:
            patches = fused[:, first:, len(layout.key_prefix) :]
            weakest = patches.topk(dropped, dim=2, largest=False).indices
            patches.scatter_(2, weakest, 0)
        total = fused.sum(dim=2, keepdim=True)
        return torch.where(total > 0, fused / total, fused)

    def result(self) -> AttentionRollout:
        """The record, after all blocks were added."""
        layout = self.capture.layout
        rows = torch.stack(self.rows[:0:-1], dim=1).cpu().numpy()
        prefix = len(layout.key_prefix)
        growth = rows[..., prefix:].reshape(*rows.shape[:2], *layout.grid)
        return AttentionRollout(
            model=self.capture.model.id,
            layout=layout,
            photographs=self.capture.photographs,
            fusion=self.fusion,
            discard=self.discard,
            start_layer=self.start_layer,
            relevance=growth[:, 0],
            prefix_mass=rows[:, 0, :prefix],
            growth=growth,
        )
