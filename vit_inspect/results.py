"""What the analyses return: small frozen records of read-only arrays, which the figures draw.

Units are in the names, axes in the annotations and in `axes()`. Images, layers, heads, rows and
columns count from 0. What an analysis left out (the mass on prefix tokens) travels with it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, UInt8

from vit_inspect.layout import Box, TokenLayout


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture as the user gave it, and the part of it that the model saw.

    pixels: upright RGB, scaled down to at most 1024 px a side, for showing.
    size_px: (rows px, columns px) of the original, the unit of `seen`.
    sha256, source: identify the original: hash of its bytes, and the path if there is one.
    """

    name: str
    pixels: UInt8[np.ndarray, "row column 3"]
    size_px: tuple[int, int]
    seen: Box
    sha256: str = ""
    source: str | None = None


class Result:
    """Makes every array of a record read-only, so that a cached one cannot be changed."""

    def __post_init__(self) -> None:
        for array in self.arrays().values():
            array.setflags(write=False)

    def arrays(self) -> dict[str, np.ndarray]:
        """The record's arrays by name, in order."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]
        return {name: value for name, value in values if isinstance(value, np.ndarray)}


@dataclass(frozen=True, eq=False)
class EmbeddingFilters(Result):
    """Principal components of the filters that turn a patch into a token (ViT paper, Fig. 7 left).

    components: unit length each, strongest first, the largest weight positive.
    explained_variance_ratio: share of the filters' variance, of every component that exists.
    source: what the filters are, such as "patch embedding, 384 filters of 14x14 px".
    """

    model: str
    source: str
    components: Float[np.ndarray, "component row column channel"]
    explained_variance_ratio: Float[np.ndarray, "rank"]


@dataclass(frozen=True, eq=False)
class PositionSimilarity(Result):
    """Cosine similarity of the patches' position embeddings (ViT paper, Fig. 7 centre).

    similarity: [i, j, k, m] compares patch (i, j) with patch (k, m); in [-1, 1], 1 on i=k, j=m.
    """

    model: str
    similarity: Float[np.ndarray, "row column other_row other_column"]


@dataclass(frozen=True, eq=False)
class AttentionMaps(Result):
    """Where one query looks, in every layer and head.

    weights: attention on the patches; with `prefix_mass` each map sums to 1.
    prefix_mass: attention on each prefix token, in the order of `layout.prefix`.
    query: the read-out, the prefix token or the patch that looks, in words.
    """

    model: str
    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    query: str
    weights: Float[np.ndarray, "image layer head row column"]
    prefix_mass: Float[np.ndarray, "image layer head prefix"]


@dataclass(frozen=True, eq=False)
class AttentionDistance(Result):
    """How far each head looks on average, in pixels of the model input (ViT paper, Fig. 7 right).

    definition: "paper" (mass on prefix tokens counts as distance 0) or "renormalised".
    prefix_mass: mean attention of the patches on all prefix tokens together.
    """

    model: str
    layout: TokenLayout
    definition: str
    distance_px: Float[np.ndarray, "image layer head"]
    prefix_mass: Float[np.ndarray, "image layer head"]


@dataclass(frozen=True, eq=False)
class AttentionRollout(Result):
    """How much of each patch reaches the read-out through all layers (Abnar and Zuidema 2020).

    relevance: with `prefix_mass` each map sums to 1.
    prefix_mass: what stays on each prefix token, in the order of `layout.prefix`.
    """

    model: str
    layout: TokenLayout
    photographs: tuple[Photograph, ...]
    fusion: str
    discard: float
    start_layer: int
    relevance: Float[np.ndarray, "image row column"]
    prefix_mass: Float[np.ndarray, "image prefix"]
