"""How does a figure of many small tiles become readable? One tile is large under the cursor.

Takes a plotly figure as `vit_inspect.figures.tiles` makes it, and shows the same picture, names
and colour scale in a component of its own, because plotly's hover holds no pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from vit_inspect.figures import looks
from vit_inspect_dashboard.components import component


def magnifier(
    figure: go.Figure,
    *,
    key: str,
    alt: str,
    on_pick: Callable[[list[int]], None] | None = None,
    opened: Sequence[int] = (),
) -> None:
    """Shows a figure of tiles; hovering over a tile shows it large, with its words.

    opened: customdata of the tile that is outlined, if it is among them.
    on_pick: is called before the rerun with the customdata of the tile that was clicked.
    """
    # The session keeps what this names; the figure is large.
    tiles = [list(map(int, index)) for index in figure.data[0].customdata]

    def picked() -> None:
        tile = st.session_state[key].get("tile")
        if on_pick and isinstance(tile, int) and 0 <= tile < len(tiles):
            on_pick(tiles[tile])

    outlined = tiles.index([*opened]) if [*opened] in tiles else None
    data = described(figure, alt=alt) | {"opened": outlined}
    component(__file__)(key=key, data=data, on_tile_change=picked)


def described(figure: go.Figure, *, alt: str) -> dict[str, Any]:
    """What the browser draws: the picture and where its tiles lie, names, words and scale."""
    marks, image, layout = figure.data[0], figure.layout.images[0], figure.layout
    bar = marks.marker
    _, below, beside = layout.annotations
    return {
        "alt": alt,
        "lines": list(layout.meta),
        "picture": image.source,
        "extent": [image.x, image.y, image.sizex, image.sizey],
        "columns": 1 + int(max(marks.x)),
        "words": [text.split("<br>") for text in marks.text],
        "rows": [beside.text, *layout.yaxis.ticktext],
        "across": [below.text, *layout.xaxis.ticktext],
        "side": layout.xaxis.side,
        "scale": {
            "colours": [colour for _, colour in bar.colorscale],
            "ends": [looks.number(end, ".3g") for end in (bar.cmin, bar.cmax)],
            "unit": bar.colorbar.title.text,
        },
    }
