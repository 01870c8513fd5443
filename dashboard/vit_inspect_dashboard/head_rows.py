"""Which attention rows of one head does the browser need to follow the cursor?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from vit_inspect.attention.rows import rows
from vit_inspect.layout import READOUT, Query, TokenLayout
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.base import Photograph
from vit_inspect.records.paper import AttentionMaps

MAX_BYTES = 4_000_000
"""What the rows of a head may weigh; of a larger layout one is sent, and clicks are answered."""


@dataclass(frozen=True, eq=False)
class HeadRows:
    """Some attention rows of one head on one photograph, each complete: it sums to 1.

    queries: whose rows they are, each at most once; `all_queries`, or just the one that is shown.
    weights: on the keys, as in the layout's `key_prefix`, and then on the patches.
    """

    photograph: Photograph
    layout: TokenLayout
    queries: tuple[Query, ...]
    weights: Float32[np.ndarray, "query key"]


def all_queries(layout: TokenLayout) -> tuple[Query, ...]:
    """Every token that looks, as a query, in the order of the layout."""
    rows, columns = layout.grid
    return (*layout.prefix, *((row, column) for row in range(rows) for column in range(columns)))


def all_rows_fit(layout: TokenLayout) -> bool:
    """Whether the rows of all tokens may travel at once."""
    return layout.token_count * layout.patch_count * np.dtype(np.uint16).itemsize <= MAX_BYTES


def rows_of_head(
    capture: Capture, maps: AttentionMaps, query: Query, layer: int, head: int
) -> HeadRows:
    """The rows of a head that the browser needs: all, or the query's where all are too many."""
    layout, photograph = capture.layout, capture.photographs[0]
    shown = np.concatenate(
        [maps.prefix_mass[0, layer, head], maps.weights[0, layer, head].ravel()]
    ).astype(np.float32)
    if not all_rows_fit(layout):
        return HeadRows(photograph, layout, (query,), shown[None])
    known = all_queries(layout)
    weights = (
        rows(capture.layers[layer].of_head(head), [layout.token(each) for each in known])[0, 0]
        .float()
        .cpu()
        .numpy()
    )
    if query == READOUT and layout.readout not in layout.prefix:
        known, weights = (*known, READOUT), np.concatenate([weights, shown[None]])
    return HeadRows(photograph, layout, known, weights)
