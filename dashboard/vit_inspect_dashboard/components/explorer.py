"""How does one head's attention get into the browser, and a clicked patch back?

All rows of the head are sent at once, as bytes, so that the map follows the cursor without asking
Python. `explorer.js` reads what `pack` writes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import streamlit as st
from PIL import Image

from vit_inspect.figures import looks
from vit_inspect.figures.overlay import unseen
from vit_inspect.layout import Query, TokenLayout
from vit_inspect.records.base import Photograph
from vit_inspect_dashboard.components import component
from vit_inspect_dashboard.head_rows import HeadRows, all_rows_fit
from vit_inspect_dashboard.wording import query_name

STEPS = 65_535
"""Weights travel as whole numbers of this many parts of their row's largest."""
COLOURS = 256

Patch = tuple[int, int]


def explorer(
    rows: HeadRows,
    *,
    pinned: Query,
    limit: float | None,
    key: str,
    on_pick: Callable[[Patch | None], None],
) -> None:
    """Shows the rows over the photograph: hovering shows a patch's row, a click pins the patch.

    pinned: the query that is shown while nothing is hovered; its row must be there. `READOUT` may
        be the row of the token that is read.
    limit: upper end of the colours; None takes each row from 0 to its own largest weight.
    on_pick: is called before the rerun with the patch (row, column) that was clicked or reached by
        arrow keys, or with None when the user unpins it.
    """
    # The session keeps what this names; the rows are large.
    layout = rows.layout

    def picked() -> None:
        patch = st.session_state[key].get("patch")
        if patch == -1:
            on_pick(None)
        elif isinstance(patch, int) and 0 <= patch < layout.patch_count:
            on_pick(divmod(patch, layout.grid[1]))

    component(__file__)(
        key=key, data=pack(rows, pinned=pinned, limit=limit), on_patch_change=picked
    )
    if not all_rows_fit(layout):
        st.caption(
            "At this input size there are too many patches for the map to follow the cursor. Click "
            "a patch to see what it attends to."
        )


def pack(rows: HeadRows, *, pinned: Query, limit: float | None) -> bytes:
    """Everything the browser draws, in little-endian order.

    The length of the header in bytes (uint32), the header (JSON), each row's largest weight on a
    patch (float32), its masses on the keys before the patches (float32), its weights on the patches
    in `STEPS` parts of the largest (uint16), the colour map (RGB), the photograph in grey (WebP).
    The header is padded to a multiple of 4 bytes, so that all numbers lie where they may.
    """
    layout, photograph = rows.layout, rows.photograph
    before = len(layout.key_prefix)
    masses, weights = rows.weights[:, :before], rows.weights[:, before:]
    largest = weights.max(axis=1)
    steps = np.rint(weights * (STEPS / np.where(largest > 0, largest, 1))[:, None])
    ramp = looks.colour(np.linspace(0, 1, COLOURS), looks.WEIGHT_MAP, (0.0, 1.0))[:, :3]
    picture = _picture(photograph)
    queries = [_sent(query, layout) for query in rows.queries]
    if _sent(pinned, layout) not in queries:
        raise ValueError(f"no row of the query {pinned!r}")
    of_map = " / largest of the map" if limit is None else ""
    header = {
        "grid": layout.grid,
        "prefix": layout.key_prefix,
        "queries": queries,
        "pinned": _sent(pinned, layout),
        "steps": STEPS,
        "limit": limit,
        "above": limit is not None and bool(largest.max() > limit),
        "unit": f"attention weight{of_map}",
        "picture": hashlib.sha256(picture).hexdigest(),
        "size": photograph.size_px,
        "seen": photograph.seen,
        "unseen": unseen(photograph),
        "veil": {"colour": looks.UNSEEN, "opacity": looks.UNSEEN_OPACITY},
        "opacity": looks.MAP_OPACITY,
        "accent": looks.ACCENT,
        "ink": looks.INK,
        "paper": looks.PAPER,
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    return b"".join(
        (
            np.uint32(len(text)).astype("<u4").tobytes(),
            text,
            largest.astype("<f4").tobytes(),
            masses.astype("<f4").tobytes(),
            steps.astype("<u2").tobytes(),
            ramp.tobytes(),
            picture,
        )
    )


def _sent(query: Query, layout: TokenLayout) -> int | str:
    """A patch as its index in raster order, any other query as its name on the page."""
    if isinstance(query, str):
        return query_name(query, layout)
    return layout.token(query) - layout.prefix_count


@lru_cache(maxsize=8)
def _picture(photograph: Photograph) -> bytes:
    """The photograph in grey, which leaves colour to the map; it is the same for all heads."""
    file = io.BytesIO()
    Image.fromarray(photograph.pixels).convert("L").convert("RGB").save(file, "WEBP")
    return file.getvalue()
