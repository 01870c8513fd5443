"""Which offsets does each head prefer in every image? (Shaw 1803.02155, BEiT 2106.08254)"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import bar_ticks
from vit_inspect.figures.tiles import (
    Tiles,
    compose,
    draw_heads,
    fit,
    layers_and_heads,
    name_tiles,
    plot_tiles,
)
from vit_inspect.records.paper import PositionBias

TITLE, UNIT = "Relative position bias", "Added to the score"
HEAD_IN = 1.45
"""Height of the head of the sheet, with the colour bar."""
OWN_PITCH_IN, MOST_PITCH_IN = 0.7, 1.2
"""From one tile to the next, at most, on its own sheet and on one of a given width."""


def draw(
    result: PositionBias,
    *,
    limits: looks.Limits | None = None,
    width_in: float | None = None,
) -> Figure:
    """Layers down, heads across; in each tile the query is in the middle and keys are around it.

    limits: ends of the colour scale, to give two figures the same scale.
    width_in: of the sheet, in inches.
    """
    tiles = tiles_of(result, limits)
    heads, sheet = tiles.count[1], width_in or print_sheet.PAGE_IN
    pitch = OWN_PITCH_IN if width_in is None else MOST_PITCH_IN
    width, height = fit(tiles, width=min(sheet - 0.4, pitch * heads), height=6.6)
    sheet = width_in or max(4.8, width + 0.4)
    # On a sheet of a given width in its middle.
    spare = 0.0 if width_in is None else (sheet - 0.4 - width) / 2
    figure = print_sheet.page(sheet, HEAD_IN + height + 0.05)
    bar = print_sheet.place(figure, left=0.35 + spare, top=0.62, width=2.3, height=0.09)
    draw_bar(bar, result, limits, orientation="horizontal")
    axes = print_sheet.place(figure, left=0.35 + spare, top=HEAD_IN, width=width, height=height)
    draw_panel(axes, result, tiles)
    print_sheet.write_head(figure, TITLE, _caption(result))
    return figure


def draw_panel(axes: Axes, result: PositionBias, tiles: Tiles) -> None:
    """The tiles with layers and heads; axes are of their proportions."""
    draw_heads(axes, tiles)


def draw_bar(
    axes: Axes, result: PositionBias, limits: looks.Limits | None = None, **options: Any
) -> None:
    """Fills the axes with the colour bar; `options` are those of `print_sheet.colour_bar`."""
    low, high = limits or limits_of(result)
    ticks, told = _ticks(result, (low, high))
    print_sheet.colour_bar(
        axes, looks.BIAS_MAP, (low, high), name=UNIT, ticks=ticks, **options
    ).set_ticklabels(told)


def plot(result: PositionBias, *, limits: looks.Limits | None = None) -> go.Figure:
    """The same; each tile shows the offset it prefers, customdata is its (layer, head).

    limits: ends of the colour scale, to give two figures the same scale.
    """
    low, high = limits or limits_of(result)
    tiles = tiles_of(result, (low, high))
    height = max(360, min(1100, 64 * tiles.count[0])) + 210
    figure = screen_sheet.screen(TITLE, _caption(result), height=height, above=110)
    layers, heads = layers_and_heads(tiles.count)
    picked = list(np.ndindex(tiles.count))
    plot_tiles(figure, tiles, hover=[_hover(result, *each) for each in picked], picked=picked)
    name_tiles(figure, tiles, rows=("Layer", layers), columns=("Head", heads), side="top")
    figure.update_layout(margin_b=24)
    ticks, told = _ticks(result, (low, high))
    figure.data[0].marker.update(
        cmin=low,
        cmax=high,
        colorscale=looks.colour_scale(looks.BIAS_MAP),
        showscale=True,
        colorbar=screen_sheet.screen_colour_bar(UNIT, tickvals=ticks, ticktext=told, ypad=50),
    )
    return figure


def numbers(result: PositionBias) -> list[str]:
    """What stands beside the colour bar, where the figure has its own scale."""
    return _ticks(result, limits_of(result))[1]


def _ticks(result: PositionBias, limits: looks.Limits) -> tuple[list[float], list[str]]:
    """Where the numbers of the colour bar stand, and how they are told."""
    low, high = limits
    above, below = bool(result.bias.max() > high), bool(result.bias.min() < low)
    return bar_ticks(limits, above=above, below=below)


def limits_of(result: PositionBias) -> looks.Limits:
    """The ends of the shared colour scale, symmetric around its middle.

    The middle is 0 if some biases are positive and some negative. The biases of Swin v2 are all
    positive: there it is their mean, since adding one number to all scores of a row does not change
    its softmax.
    """
    bias = result.bias
    middle = 0.0 if bias.min() < 0 < bias.max() else float(bias.mean())
    sizes = np.abs(bias - middle)
    limit = float(np.percentile(sizes, looks.SHARED_SCALE_PERCENTILE)) or float(sizes.max()) or 1.0
    return middle - limit, middle + limit


def tiles_of(result: PositionBias, limits: looks.Limits | None = None) -> Tiles:
    """All tiles as one picture; `limits` are the ends of the colour scale."""
    return compose(looks.colour(result.bias, looks.BIAS_MAP, limits or limits_of(result)))


def _caption(result: PositionBias) -> str:
    rows, columns = result.row_offset[-1], result.column_offset[-1]
    return (
        f"{result.model}\nThe query is in the middle. Keys: row offset up to {rows}, column offset "
        f"up to {columns}. Shared scale."
    )


def _hover(result: PositionBias, layer: int, head: int) -> str:
    tile = result.bias[layer, head]
    shared = result.bias.shape[0] == 1
    lines = [f"<b>{looks.head_name(head) if shared else looks.place_name(layer, head)}</b>"]
    for name, place in (("most", tile.argmax()), ("least", tile.argmin())):
        row, column = np.unravel_index(place, tile.shape)
        where = looks.offset_name(int(result.row_offset[row]), int(result.column_offset[column]))
        lines.append(f"{name} {looks.number(tile[row, column], '+.3g')}, {where}")
    return "<br>".join(lines)


FIGURE = FigureSpec(
    record=PositionBias,
    slug="position_bias",
    title="Relative position bias",
    question="Which offsets does each head prefer in every image?",
    reading="Each tile is one head of one layer, with the query in its middle. Red keys get a "
    "higher score for every query, blue keys a lower one. A red spot in the middle is a "
    "local head; a red spot beside the middle is a head that attends in this direction. "
    "All tiles share one scale.",
    caveat="The score of the content is added to the bias and may be larger. Only differences "
    "within a tile move attention between patches. The biases of special tokens are left "
    "out, and a bias inside a window says nothing about keys outside it.",
    formula="A[q, :] = softmax(q·K / √d + B[offset of key from query])",
    source="Shaw et al., arXiv 1803.02155; Bao et al. (BEiT), arXiv 2106.08254; "
    "Liu et al. (Swin), arXiv 2103.14030",
    draw=draw,
    plot=plot,
    limits=limits_of,
    compared="bias",
)
