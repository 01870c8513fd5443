"""The records behind the paper's figures: filters, positions, distance, maps, rollout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from vit_inspect.layout import TokenLayout
from vit_inspect.records.base import Photograph, Result


@dataclass(frozen=True, eq=False)
class EmbeddingFilters(Result):
    """Principal components of the filters that turn a patch into a token (ViT paper, Fig. 7 left).

    components: unit length each, strongest first, the largest weight positive.
    explained_variance_ratio: share of the filters' variance, for all components.
    source: which filters, such as "patch embedding, 384 filters of 14x14 px".
    """

    source: str
    components: Float[np.ndarray, "component row column channel"]
    explained_variance_ratio: Float[np.ndarray, "rank"]


@dataclass(frozen=True, eq=False)
class PositionSimilarity(Result):
    """Cosine similarity of the patches' position embeddings (ViT paper, Fig. 7 centre).

    similarity: [i, j, k, m] compares patch (i, j) with patch (k, m); in [-1, 1], 1 on i=k, j=m.
    """

    similarity: Float[np.ndarray, "row column other_row other_column"]


@dataclass(frozen=True, eq=False)
class PositionBias(Result):
    """The bias added to attention scores for each offset, key minus query, in patches.

    If all layers share one bias, there is a single layer. The bias of special tokens is left out:
    they have no offset.

    bias: before the softmax, after the scores were scaled.
    row_offset, column_offset: the offset at each place of the last two axes; 0 in the middle.
    """

    bias: Float[np.ndarray, "layer head row_offset column_offset"]
    row_offset: Int[np.ndarray, "row_offset"]
    column_offset: Int[np.ndarray, "column_offset"]


@dataclass(frozen=True, eq=False)
class RotarySimilarity(Result):
    """The similarity of an equal query and key after their rotation, by offset in patches.

    If all layers or heads share one rotation, there is a single one.

    similarity: the mean over pairs of cos(frequency . offset); in [-1, 1], 1 at offset 0, the same
        at the opposite offset.
    frequency: the rotation of each pair of a head's dimensions, in radians per patch, for an offset
        of one row (axis 0) and of one column (axis 1).
    row_offset, column_offset: the offset at each place of the last two axes; 0 in the middle.
    """

    similarity: Float[np.ndarray, "layer head row_offset column_offset"]
    frequency: Float[np.ndarray, "layer head pair axis"]
    row_offset: Int[np.ndarray, "row_offset"]
    column_offset: Int[np.ndarray, "column_offset"]


@dataclass(frozen=True, eq=False)
class AttentionMaps(Result):
    """The attention of one query token in every layer and head.

    weights: attention on the patches; with `prefix_mass` each map sums to 1.
    prefix_mass: attention on each key before the patches, in the order of `layout.key_prefix`.
    query: the query token in words: what the model reads, a special token or a patch.
    patch: the (row, column) if the query is a patch, else None.
    """

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    query: str
    patch: tuple[int, int] | None
    weights: Float[np.ndarray, "image layer head row column"]
    prefix_mass: Float[np.ndarray, "image layer head prefix"]


@dataclass(frozen=True, eq=False)
class AttentionDistance(Result):
    """The mean attention distance of each head, in px of the model input (ViT paper, Fig. 7 right).

    definition: "paper" (attention on special tokens counts as distance 0) or "renormalised".
    prefix_mass: mean attention of the patches on all special tokens and padding together.
    """

    layout: TokenLayout
    definition: str
    distance_px: Float[np.ndarray, "image layer head"]
    prefix_mass: Float[np.ndarray, "image layer head"]


@dataclass(frozen=True, eq=False)
class AttentionRollout(Result):
    """How much of each patch reaches the output through all layers (Abnar and Zuidema 2020).

    relevance: with `prefix_mass` each map sums to 1.
    prefix_mass: the same for each key before the patches, in the order of `layout.key_prefix`.
    growth: the relevance for each start layer, from `start_layer` (equal to `relevance`) to the
        last layer alone.
    """

    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    fusion: str
    discard: float
    start_layer: int
    relevance: Float[np.ndarray, "image row column"]
    prefix_mass: Float[np.ndarray, "image prefix"]
    growth: Float[np.ndarray, "image layer row column"]
