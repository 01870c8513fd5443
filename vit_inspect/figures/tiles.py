"""How do many small pictures become one? A grid with gaps, as one array.

Axis coordinates count tiles: tile (i, j) is centred on y = i, x = j.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import plotly.graph_objects as go
from jaxtyping import UInt8
from matplotlib.axes import Axes
from PIL import Image

from vit_inspect.figures import print_sheet, screen_sheet

GAP = 0.14
"""Share of a tile's longer side."""
LONG_SIDE_PX = 1200
"""Viewers blur what they enlarge; a picture of this size stays sharp in print and on a screen."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """A composed grid.

    picture: RGBA bytes, the gaps transparent.
    count: tiles as (rows, columns).
    pitch_px: from one tile to the next as (rows px, columns px) of the picture.
    extent: the picture's (left, right, bottom, top) in axis coordinates.
    """

    picture: UInt8[np.ndarray, "row column 4"]
    count: tuple[int, int]
    pitch_px: tuple[int, int]
    extent: tuple[float, float, float, float]


def compose(pictures: UInt8[np.ndarray, "tile_row tile_column row column 4"]) -> Tiles:
    """Puts RGBA pictures of one size side by side, each pixel enlarged by a whole number."""
    rows, columns, height, width, _ = pictures.shape
    enlarge = max(1, -(-LONG_SIDE_PX // max(rows * height, columns * width)))
    large = pictures.repeat(enlarge, axis=2).repeat(enlarge, axis=3)
    height, width = height * enlarge, width * enlarge
    gap = max(1, round(GAP * max(height, width)))
    # Transparent white: readers of PDF mix the colours of a gap with those of its tiles.
    spaced = np.full((rows, columns, height + gap, width + gap, 4), (255, 255, 255, 0), np.uint8)
    spaced[:, :, :height, :width] = large
    joined = spaced.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap), 4)
    down, right = height / (height + gap) / 2, width / (width + gap) / 2
    return Tiles(
        picture=joined[:-gap, :-gap],
        count=(rows, columns),
        pitch_px=(height + gap, width + gap),
        extent=(-right, columns - 1 + right, rows - 1 + down, -down),
    )


def fit(tiles: Tiles, *, width: float, height: float) -> tuple[float, float]:
    """The largest (width, height) of the picture inside the given one, undistorted."""
    rows, columns, _ = tiles.picture.shape
    scale = min(width / columns, height / rows)
    return columns * scale, rows * scale


def draw_tiles(axes: Axes, tiles: Tiles) -> None:
    """Fills axes of the picture's proportions; ticks are integers, one for each tile."""
    axes.imshow(tiles.picture, extent=tiles.extent, interpolation="none", aspect="auto")
    axes.set(xticks=range(tiles.count[1]), yticks=range(tiles.count[0]))
    print_sheet.bare(axes)


def draw_heads(axes: Axes, tiles: Tiles) -> None:
    """Fills axes with one tile for each head of each layer, layers down and heads across."""
    draw_tiles(axes, tiles)
    layers, heads = layers_and_heads(tiles.count)
    print_sheet.name_places(axes, rows=("Layer", layers), columns=("Head", heads))
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    print_sheet.bare(axes)


def plot_tiles(
    figure: go.Figure,
    tiles: Tiles,
    *,
    hover: Sequence[str],
    picked: Sequence[Sequence[int]],
    domain: tuple[float, float] = (0.0, 1.0),
) -> go.Figure:
    """One layout image, and on each tile a transparent square for the cursor.

    hover, picked: text and customdata of the tiles in raster order; there may be fewer than tiles.
    domain: the part of the figure's width to fill.
    """
    left, right, bottom, top = tiles.extent
    figure.add_layout_image(
        source=data_uri(Image.fromarray(tiles.picture)),
        x=left,
        y=top,
        sizex=right - left,
        sizey=bottom - top,
        xref="x",
        yref="y",
        sizing="stretch",
        layer="below",
    )
    row, column = np.divmod(np.arange(len(hover)), tiles.count[1])
    screen_sheet.add_squares(
        figure,
        size=24,
        x=column,
        y=row,
        customdata=[list(index) for index in picked],
        text=list(hover),
        hovertemplate="%{text}<extra></extra>",
    )
    down, across = tiles.pitch_px
    axis = screen_sheet.screen_axis(
        showline=False,
        ticks="",
        # Off the tiles.
        ticklabelstandoff=4,
        showticklabels=False,
        constrain="domain",
        tickmode="array",
    )
    vertical = {"scaleanchor": "x", "scaleratio": down / across, "constraintoward": "top"}
    return figure.update_layout(
        xaxis=axis | {"range": [left, right], "domain": domain, "constraintoward": "left"},
        yaxis=axis | {"range": [bottom, top]} | vertical,
    )


def name_tiles(
    figure: go.Figure,
    tiles: Tiles,
    *,
    rows: tuple[str, Sequence[object]],
    columns: tuple[str, Sequence[object]],
    side: Literal["top", "bottom"],
) -> go.Figure:
    """Writes title and names along the rows and, at the `side`, along the columns."""
    left, _, bottom, top = tiles.extent
    for (_, names), update in ((rows, figure.update_yaxes), (columns, figure.update_xaxes)):
        text = [str(name) for name in names]
        update(showticklabels=True, tickvals=list(range(len(text))), ticktext=text)
    figure.update_xaxes(side=side)
    # An axis title of plotly's stays where the axis was before the picture's proportions moved it.
    note = {"xref": "x", "yref": "y", "showarrow": False}
    middle, shift = (tiles.count[1] - 1) / 2, 36 if side == "top" else -36
    figure.add_annotation(
        text=columns[0], x=middle, y=top if side == "top" else bottom, yshift=shift, **note
    )
    middle = (tiles.count[0] - 1) / 2
    return figure.add_annotation(text=rows[0], x=left, y=middle, xshift=-42, textangle=-90, **note)


def layers_and_heads(count: tuple[int, int]) -> tuple[list[str], list[str]]:
    """Names along the rows and columns of a grid; "all" if there is a single one for all."""
    layer_names, head_names = (
        [str(index) for index in range(each)] if each > 1 else ["all"] for each in count
    )
    return layer_names, head_names


def data_uri(picture: Image.Image, encoding: str = "PNG") -> str:
    """A picture as text for a page: PNG keeps every pixel, WEBP is small for photographs."""
    file = io.BytesIO()
    picture.save(file, encoding)
    return f"data:image/{encoding.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
