"""What does one token attend to? Raw attention of a query in every layer and head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vit_inspect.analyses.readout import readout_weights
from vit_inspect.attention.blocks import RowBlock
from vit_inspect.attention.layer import LayerAttention
from vit_inspect.attention.rows import rows
from vit_inspect.attention.sweep import Reduction, sweep
from vit_inspect.errors import BadParameter
from vit_inspect.layout import READOUT, Query, Region
from vit_inspect.recording.recorder import Capture, of_capture
from vit_inspect.records.names import query_name
from vit_inspect.records.paper import AttentionMaps

ROWS = 128
"""Rows of a region that are in memory at a time."""


@of_capture
def attention_maps(capture: Capture, *, query: Query | Region = READOUT) -> AttentionMaps:
    """Attention of one query to every token, in all layers and heads.

    query: "readout" (the row of the class token, or the mean of the rows that the model pools; in
        a stage that is not the last, the mean of all rows), the name of a special token, a patch
        as (row, column), or a `Region` of patches (the mean of their rows).

    Each map and its prefix masses sum to 1. Raises `BadParameter` for a token that does not exist,
    `UnsupportedModel` for a read-out that takes maxima or merges patches.
    """
    layout = capture.layout
    asked = isinstance(query, str) and query == READOUT
    if asked and (averaged := readout_reduction(capture)):
        sweep(capture.layers, averaged)
        return averaged.result()
    token = layout.readout if asked else query
    if isinstance(token, Region):
        queries, patch = layout.region(token), None
    else:
        queries = [layout.token(token)]
        patch = None if isinstance(token, str) else layout.patch(token)
    with torch.inference_mode():
        weights = torch.stack([_mean_row(layer, queries) for layer in capture.layers], dim=1)
    return _record(capture, weights, query=patch or token, patch=patch)


def _mean_row(layer: LayerAttention, queries: Sequence[int]) -> Float[Tensor, "image head key"]:
    """The mean of the rows of some tokens, of which a part is in memory at a time."""
    parts = [queries[first : first + ROWS] for first in range(0, len(queries), ROWS)]
    total = torch.stack([rows(layer, part).sum(dim=2) for part in parts]).sum(dim=0)
    return total / len(queries)


def readout_reduction(capture: Capture) -> ReadoutReduction | None:
    """The sum over the rows of all tokens that the model reads; None if it reads one token."""
    return None if capture.layout.readout in capture.layout.prefix else ReadoutReduction(capture)


class ReadoutReduction(Reduction):
    """Sums the rows of the tokens that the model reads, weighted by their shares."""

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.row = readout_weights(capture)
        keys = capture.layers[0].keys
        shape = (len(keys), len(capture.layers), keys.shape[1], keys.shape[2])
        self.total = self.row.new_zeros(shape)

    def add(self, layer: int, block: RowBlock) -> None:
        """Add the rows of one block."""
        self.total[block.images, layer] += block.product(self.row)

    def result(self) -> AttentionMaps:
        """The record, after all blocks were added."""
        return _record(self.capture, self.total, query=READOUT)


def _record(
    capture: Capture,
    weights: Float[Tensor, "image layer head key"],
    *,
    query: Query | Region,
    patch: tuple[int, int] | None = None,
) -> AttentionMaps:
    layout, values = capture.layout, weights.cpu().numpy()
    first = len(layout.key_prefix)
    maps = values[..., first:]
    return AttentionMaps(
        model=capture.model.id,
        layout=layout,
        photographs=capture.photographs,
        query=query_name(query, layout),
        patch=patch,
        weights=maps.reshape(*maps.shape[:3], *layout.grid),
        prefix_mass=values[..., :first].copy(),
    )


def mass_mask(
    weights: Float[np.ndarray, "*map row column"], *, mass: float = 0.6
) -> Bool[np.ndarray, "*map row column"]:
    """The smallest set of patches with a share `mass` of each map (DINO, Caron et al. 2021).

    The share is of the attention to patches. Without its weakest patch, the set holds less.
    """
    if not 0 < mass <= 1:
        raise BadParameter(
            f"the mass {mass}", "a share above 0 and up to 1", "use 0.6, as DINO does"
        )
    flat = weights.reshape(*weights.shape[:-2], -1).astype(np.float64)
    order = np.argsort(-flat, axis=-1, kind="stable")
    ranked = np.take_along_axis(flat, order, axis=-1)
    before = np.cumsum(ranked, axis=-1) - ranked
    kept = before < mass * ranked.sum(axis=-1, keepdims=True)
    mask = np.zeros_like(kept)
    np.put_along_axis(mask, order, kept, axis=-1)
    return mask.reshape(weights.shape)


def telling_head(maps: AttentionMaps, *, image: int = 0) -> tuple[int, int]:
    """The (layer, head) whose map shows most at a glance; of equal ones the first.

    The head with the largest product of three numbers between 0 and 1: Moran's I of its map (how
    alike neighbours are; below 0 counts as 0), the share of the patches that it leaves alone (1 -
    effective number / number of patches), and its attention on patches. Weights above percentile
    98.5 of a map count as this percentile: single patches draw much attention and show little.

    Moran, Notes on continuous stochastic phenomena, Biometrika 37 (1950); neighbours share an edge.
    """
    weights = maps.weights[image].astype(np.float64)
    clipped = np.minimum(weights, np.percentile(weights, 98.5, axis=(-2, -1), keepdims=True))
    shares = clipped / np.maximum(clipped.sum(axis=(-2, -1), keepdims=True), 1e-300)
    entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=(-2, -1))
    left_alone = 1 - np.exp(entropy) / shares[0, 0].size
    on_patches = weights.sum(axis=(-2, -1))
    score = _morans_i(clipped).clip(0) * left_alone * on_patches
    layer, head = np.unravel_index(score.argmax(), score.shape)
    return int(layer), int(head)


def _morans_i(maps: Float[np.ndarray, "*map row column"]) -> Float[np.ndarray, "*map"]:
    """How alike neighbours are: their mean product, by the variance; 0 on a map without any."""
    deviation = maps - maps.mean(axis=(-2, -1), keepdims=True)
    down = deviation[..., 1:, :] * deviation[..., :-1, :]
    right = deviation[..., :, 1:] * deviation[..., :, :-1]
    count = np.prod(down.shape[-2:]) + np.prod(right.shape[-2:])
    products = (down.sum(axis=(-2, -1)) + right.sum(axis=(-2, -1))) / max(count, 1)
    variance = np.square(deviation).mean(axis=(-2, -1))
    return np.asarray(np.where(variance > 0, products / np.where(variance > 0, variance, 1), 0.0))
