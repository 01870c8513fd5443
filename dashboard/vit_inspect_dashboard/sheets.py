"""What is on the canvas? A small map of each layer and head, and rows that follow the cursor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, UInt8

from vit_inspect.analyses.token_similarity import similarities
from vit_inspect.attention.rows import rows
from vit_inspect.figures.attention_relevance import WAYS
from vit_inspect.figures.attention_relevance import shown as shown_relevance
from vit_inspect.figures.feature_pca import colours as feature_colours
from vit_inspect.figures.looks import Limits, ends_of
from vit_inspect.layout import READOUT, Region, TokenLayout
from vit_inspect.layout import Query as OneToken
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import (
    AttentionRelevance,
    FeaturePca,
    PatchMap,
    TokenNorms,
    TokenSimilarity,
)
from vit_inspect.records.paper import AttentionMaps, AttentionRollout

Query = OneToken | Region
"""Whose map it is."""

MEAN, MAX = "mean", "max"
"""The columns beside the heads: over all heads of a layer."""

CLIPS = (95.0, 98.5, 99.5, 100.0)
"""Percentiles at which a colour scale may end; above it all is one colour."""

MAX_BYTES = 4_000_000
"""What the rows of a head may weigh; of a larger layout one is sent, and clicks are answered."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Attention rows, or similarities, of some queries: what the map shows under the cursor.

    queries: whose rows they are, each at most once.
    values: on the keys before the patches, as in the layout's `key_prefix`, and then on the
        patches; where there is no attention on such keys, on the patches alone.
    """

    queries: tuple[Query, ...]
    values: Float32[np.ndarray, "query key"]


@dataclass(frozen=True, eq=False)
class Sheet:
    """The maps of one photograph that are drawn on the canvas, all of one kind.

    kind: what the maps are called, such as "Attention"; unit: of their values.
    columns: what stands side by side in a layer, such as heads; a single one has an empty name.
    values: the maps; prefix: the attention on the keys before the patches, if it is attention.
    query: whose maps they are; None for maps that belong to no token.
    pins: whether another query can be chosen; tokens: the queries that can be chosen beside
        patches, at first what the model reads.
    opened: the (layer, column) of the large map; rows: of this one, where it follows the cursor.
    limits: of a scale that all maps share, for each of `CLIPS`; empty where they have none.
    from_zero: whether each map's own scale begins at 0, and not at its least value.
    colours: instead of a colour scale, the colour of each patch.
    outlined: patches that are outlined on the large map.
    """

    kind: str
    unit: str
    photograph: Photograph
    layout: TokenLayout
    columns: tuple[str, ...]
    values: Float32[np.ndarray, "layer column patch_row patch_column"]
    prefix: Float32[np.ndarray, "layer column key"]
    query: Query | None
    opened: tuple[int, int]
    rows: Rows
    limits: dict[float, Limits]
    from_zero: bool = True
    layer_name: str = "Layer"
    pins: bool = False
    tokens: tuple[Query, ...] = ()
    colours: UInt8[np.ndarray, "layer patch_row patch_column 3"] | None = None
    outlined: tuple[tuple[int, int], ...] = ()


NO_ROWS = Rows((), np.zeros((0, 0), np.float32))


def all_queries(layout: TokenLayout) -> tuple[OneToken, ...]:
    """Every token that looks, as a query, in the order of the layout."""
    return (*layout.prefix, *patches(layout))


def patches(layout: TokenLayout) -> tuple[tuple[int, int], ...]:
    """Every patch, in the order of the layout."""
    height, width = layout.grid
    return tuple((row, column) for row in range(height) for column in range(width))


def all_rows_fit(layout: TokenLayout) -> bool:
    """Whether the rows of all tokens may travel at once."""
    return layout.token_count * layout.patch_count * np.dtype(np.uint16).itemsize <= MAX_BYTES


def shared_limits(values: Float32[np.ndarray, "*shape"], *, from_zero: bool) -> dict[float, Limits]:
    """The ends of one scale for all these values, for each of `CLIPS`."""
    least = 0.0 if from_zero else float(values.min())
    ends = np.percentile(values, CLIPS)
    return {clip: (least, float(end)) for clip, end in zip(CLIPS, ends, strict=True)}


def attention(
    maps: AttentionMaps, readout: AttentionMaps, query: Query, opened: tuple[int, int], found: Rows
) -> Sheet:
    """The maps of a query, heads side by side, and beside them their mean and their maximum.

    readout: the maps of what the model reads, whose scale all queries share: a map that is pinned
        must not change its colours.
    """
    weights, masses = (_with_mean_and_max(each) for each in (maps.weights[0], maps.prefix_mass[0]))
    heads, layout = maps.weights.shape[2], maps.layout
    return Sheet(
        kind="Attention",
        unit="attention weight",
        photograph=maps.photographs[0],
        layout=layout,
        columns=attention_columns(heads),
        values=weights,
        prefix=masses,
        query=query,
        opened=opened,
        rows=found,
        limits=shared_limits(readout.weights[0], from_zero=True),
        pins=True,
        tokens=(READOUT, *(each for each in layout.prefix if each != layout.readout)),
    )


def attention_limits(readout: AttentionMaps, opened: tuple[int, int]) -> dict[float, Limits]:
    """The ends of the scale of a single map of what the model reads, for each of `CLIPS`."""
    values = _with_mean_and_max(readout.weights[0])[opened]
    return {clip: ends_of(values, clip) for clip in CLIPS}


def attention_columns(heads: int) -> tuple[str, ...]:
    """What stands side by side in a layer: its heads, their mean and their maximum."""
    return (*map(str, range(heads)), MEAN, MAX)


def _with_mean_and_max(values: np.ndarray) -> np.ndarray:
    """Values of [layer, head, ...], with two more in place of heads."""
    both = values.mean(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    return np.concatenate([values, *both], axis=1).astype(np.float32)


def attention_rows(
    capture: Capture, maps: AttentionMaps, query: Query, layer: int, column: int
) -> Rows:
    """The rows that the browser needs of a head, or of the mean or maximum of all heads.

    All of them, or the query's where all are too many. column: as in `attention`.
    """
    layout, heads = capture.layout, capture.head_count
    shown = np.concatenate(
        [
            _with_mean_and_max(maps.prefix_mass[0])[layer, column],
            _with_mean_and_max(maps.weights[0])[layer, column].ravel(),
        ]
    )
    if not all_rows_fit(layout):
        return Rows((query,), shown[None])
    known: tuple[Query, ...] = all_queries(layout)
    tokens = [layout.token(each) for each in all_queries(layout)]
    recorded = capture.layers[layer]
    if column < heads:
        found = rows(recorded.of_head(column), tokens)[0, 0]
    else:
        each = rows(recorded, tokens)[0]
        found = each.mean(dim=0) if column == heads else each.amax(dim=0)
    values = found.float().cpu().numpy()
    if query not in known and not (query == READOUT and layout.readout in layout.prefix):
        known, values = (*known, query), np.concatenate([values, shown[None]])
    return Rows(known, values)


def similarity(each: Sequence[TokenSimilarity], layer: int, found: Rows) -> Sheet:
    """The similarity of one patch to all, in every layer, of which one is open."""
    first = each[0]
    values = np.stack([record.similarity[0] for record in each])
    return still(
        "Similarity",
        "cosine similarity",
        first.photographs[0],
        first.layout,
        values,
        layer,
        query=first.patch,
        found=found,
    )


def features(each: Sequence[FeaturePca], layer: int) -> Sheet:
    """The colours of the patches in every layer."""
    first = each[0]
    return still(
        "Patch features",
        "colours of the main directions",
        first.photographs[0],
        first.layout,
        np.stack([record.components[0, :, :, 0] for record in each]),
        layer,
        colours=np.stack([feature_colours(record, 0) for record in each]),
    )


def rollout(whole: AttentionRollout, start: int) -> Sheet:
    """Rollout from each layer on; `whole` begins with the first one."""
    return still(
        "Rollout",
        "rollout weight",
        whole.photographs[0],
        whole.layout,
        whole.growth[0],
        start,
        layer_name="From layer",
    )


def relevance(found: AttentionRelevance, column: int = 0) -> Sheet:
    """Which patches support a target, by the methods of `WAYS`, which have no common scale."""
    maps = [shown_relevance(found, way, 0) for way in WAYS]
    photograph, layout = found.photographs[0], found.layout
    named = dict(zip(WAYS.values(), maps, strict=True))
    return beside("Relevance", "relevance", photograph, layout, named, column)


def matches(each: Mapping[str, PatchMap], column: int) -> Sheet:
    """How the patches match some texts, which have one scale; `each` is by the text."""
    first = next(iter(each.values()))
    photograph, layout = first.photographs[0], first.layout
    maps = {text: record.values[0] for text, record in each.items()}
    sheet = beside("Match", "cosine similarity", photograph, layout, maps, column)
    return replace(sheet, limits=shared_limits(sheet.values, from_zero=False))


def norms(found: TokenNorms) -> Sheet:
    """The norms of the patches' tokens after every layer, artefacts outlined."""
    sheet = still("Norm", "L2 norm", found.photographs[0], found.layout, found.norm[0], found.layer)
    marked = np.argwhere(found.artefact[0]).tolist()
    return replace(sheet, outlined=tuple((row, column) for row, column in marked))


def similarity_rows(capture: Capture, patch: tuple[int, int] | None, layer: int) -> Rows:
    """The similarities of one patch, or of each, to all patches."""
    layout = capture.layout
    known = patches(layout) if patch is None else (patch,)
    values = similarities(capture, known, layer=layer)[0]
    return Rows(known, values.reshape(len(known), -1))


def beside(
    kind: str,
    unit: str,
    photograph: Photograph,
    layout: TokenLayout,
    maps: Mapping[str, np.ndarray],
    column: int,
) -> Sheet:
    """Maps of [row, column] by their names, side by side, each with its scale; `column` is open."""
    values = np.stack(list(maps.values()))[None].astype(np.float32)
    return Sheet(
        kind=kind,
        unit=unit,
        photograph=photograph,
        layout=layout,
        columns=tuple(maps),
        values=values,
        prefix=np.zeros((*values.shape[:2], 0), np.float32),
        query=None,
        opened=(0, column),
        rows=NO_ROWS,
        limits={},
        from_zero=False,
    )


def still(
    kind: str,
    unit: str,
    photograph: Photograph,
    layout: TokenLayout,
    values: np.ndarray,
    layer: int,
    *,
    query: Query | None = None,
    found: Rows = NO_ROWS,
    from_zero: bool = False,
    layer_name: str = "Layer",
    colours: np.ndarray | None = None,
) -> Sheet:
    """Maps of [layer, row, column], one in each layer; `layer` is open."""
    each = values[:, None].astype(np.float32)
    return Sheet(
        kind=kind,
        unit=unit,
        photograph=photograph,
        layout=layout,
        columns=("",),
        values=each,
        prefix=np.zeros((len(each), 1, 0), np.float32),
        query=query,
        opened=(layer, 0),
        rows=found,
        limits=shared_limits(each, from_zero=from_zero),
        from_zero=from_zero,
        layer_name=layer_name,
        pins=query is not None,
        colours=colours,
    )
