"""How does rotation encode the offset of query and key? (RoFormer 2104.09864, RoPE-ViT)"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.tiles import (
    Tiles,
    compose,
    draw_heads,
    draw_tiles,
    fit,
    layers_and_heads,
    name_tiles,
    plot_tiles,
)
from vit_inspect.records.paper import RotarySimilarity

TITLE = "Similarity after rotation"
ROW, COLUMN = "Row offset", "Column offset"
UNIT = "Cosine similarity"
COLUMNS = 8
"""Pairs of dimensions side by side."""
OWN_IN, MEAN_IN, TILES_IN = 6.85, 1.75, 5.6
"""Width of its own sheet, on it the longer side of the mean, and the height of tiles at most."""
HIGH_IN, STACKED_HIGH_IN = 7.5, 5.2
"""Height of tiles on a wide and on a narrow sheet, at most: all shall fit on a page."""
TITLE_IN, BAR_IN = 1.5, 0.09
"""Room for the title of the mean, and thickness of the colour bar."""


def draw(result: RotarySimilarity, *, width_in: float | None = None) -> Figure:
    """One tile per pair of dimensions if all heads share them, else per layer and head; their mean.

    In each tile the query is in the middle and keys are around it; the scale is -1 to 1. The mean
    stands beside the tiles, on a narrow sheet below them.

    width_in: of the sheet, in inches.
    """
    tiles = tiles_of(result)
    sheet = width_in or OWN_IN
    left = 0.05 if _shared(result) else 0.4
    stacked = sheet < print_sheet.STACKED_BELOW_IN
    longer = MEAN_IN if stacked else MEAN_IN * sheet / OWN_IN
    rows, columns = result.similarity.shape[2:]
    mean_width, mean_height = longer * min(1, columns / rows), longer * min(1, rows / columns)
    beside = 0.05 if stacked else 0.85 + max(mean_width, TITLE_IN)
    highest = STACKED_HIGH_IN if stacked else min(HIGH_IN, TILES_IN * max(1, sheet / OWN_IN))
    width, height = fit(tiles, width=sheet - left - beside, height=highest)
    whole = left + width + beside
    if width_in is None:
        sheet = max(5.4, whole)
    # On a sheet of a given width in its middle.
    left += 0.0 if width_in is None else (sheet - whole) / 2
    if stacked:
        figure = print_sheet.page(sheet, 1.75 + height + mean_height)
        place = {"left": (sheet - mean_width) / 2, "top": 1.25 + height, "height": mean_height}
        bar_place = place | {"left": (sheet + mean_width) / 2 + 0.1, "width": BAR_IN}
    else:
        figure = print_sheet.page(sheet, 0.95 + max(height, mean_height + 1.0))
        place = {"left": left + width + 0.75, "top": 0.85, "height": mean_height}
        bar_place = place | {"top": 1.3 + mean_height, "width": mean_width, "height": BAR_IN}
    axes = print_sheet.place(figure, left=left, top=0.85, width=width, height=height)
    draw_panel(axes, result, tiles)
    mean = print_sheet.place(figure, **place, width=mean_width)
    draw_mean(mean, result)
    bar = print_sheet.place(figure, **bar_place)
    draw_bar(bar, result, orientation="vertical" if stacked else "horizontal")
    print_sheet.write_head(figure, TITLE, _caption(result))
    return figure


def draw_panel(axes: Axes, result: RotarySimilarity, tiles: Tiles) -> None:
    """The tiles, with layers and heads where they differ; axes are of their proportions."""
    if _shared(result):
        draw_tiles(axes, tiles)
        axes.set(xticks=[], yticks=[])
    else:
        draw_heads(axes, tiles)


def draw_mean(axes: Axes, result: RotarySimilarity) -> None:
    """The mean of all tiles, by offset."""
    row, column = (int(offsets[-1]) + 0.5 for offsets in (result.row_offset, result.column_offset))
    axes.imshow(
        looks.colour(_mean(result), looks.SIMILARITY_MAP, looks.SIMILARITY_LIMITS),
        extent=(-column, column, row, -row),
        interpolation="none",
        aspect="auto",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    print_sheet.label(axes, x=COLUMN, y=ROW, title=_mean_name(result))


def draw_bar(axes: Axes, result: RotarySimilarity, **options: Any) -> None:
    """Fills the axes with the colour bar; `options` are those of `print_sheet.colour_bar`."""
    print_sheet.similarity_bar(axes, UNIT, **options)


def plot(result: RotarySimilarity) -> go.Figure:
    """The same; customdata of a tile is its [pair] or its (layer, head)."""
    tiles = tiles_of(result)
    height = max(560, min(1100, 56 * tiles.count[0]) + 210)
    figure = screen_sheet.screen(TITLE, _caption(result), height=height, above=110)
    if _shared(result):
        picked = [[int(pair)] for pair in _order(result)]
        hover = [_pair_name(result, pair) for (pair,) in picked]
    else:
        picked = [list(each) for each in np.ndindex(tiles.count)]
        hover = [looks.place_name(layer, head) for layer, head in picked]
    # On a page of usual width the mean stands beside the tiles, however few heads there are.
    rows, columns, _ = tiles.picture.shape
    right = min(0.58, (height - 230) * columns / rows / 1000)
    plot_tiles(figure, tiles, hover=hover, picked=picked, domain=(0.0, right))
    if not _shared(result):
        layers, heads = layers_and_heads(tiles.count)
        name_tiles(figure, tiles, rows=("Layer", layers), columns=("Head", heads), side="top")
    least, greatest = looks.SIMILARITY_LIMITS
    figure.add_heatmap(
        z=_mean(result).astype(np.float32),
        x=result.column_offset,
        y=result.row_offset,
        zmin=least,
        zmax=greatest,
        xaxis="x2",
        yaxis="y2",
        colorscale=looks.colour_scale(looks.SIMILARITY_MAP),
        colorbar=screen_sheet.screen_colour_bar(UNIT, tickvals=[least, greatest], ypad=50),
        hovertemplate="%{y} rows, %{x} columns<br>%{z:.3f}<extra></extra>",
    )
    note = {"xref": "x2", "yref": "y2", "showarrow": False}
    top, left = (float(each[0]) - 0.5 for each in (result.row_offset, result.column_offset))
    figure.add_annotation(text=_mean_name(result), x=0, y=top, yshift=14, **note)
    # An axis title of plotly's stays where the axis was before the map's proportions moved it.
    figure.add_annotation(text=COLUMN, x=0, y=-top, yshift=-38, **note)
    figure.add_annotation(text=ROW, x=left, y=0, xshift=-42, textangle=-90, **note)
    axis = screen_sheet.screen_axis(constrain="domain", showline=False)
    across = {"range": [left, -left], "domain": (right + 0.1, right + 0.42), "anchor": "y2"}
    down = {"range": [-top, top], "scaleanchor": "x2", "constraintoward": "top", "anchor": "x2"}
    return figure.update_layout(
        xaxis2=axis | across | {"constraintoward": "left"}, yaxis2=axis | down
    )


def _shared(result: RotarySimilarity) -> bool:
    """Whether all layers and heads share one rotation, so that each pair gets a tile."""
    return result.frequency.shape[:2] == (1, 1)


def tiles_of(result: RotarySimilarity) -> Tiles:
    """All tiles as one picture."""
    if not _shared(result):
        return _coloured(result.similarity)
    pairs = _of_pairs(result)[_order(result)]
    rows = -(-len(pairs) // COLUMNS)
    grid = np.full((rows * COLUMNS, *pairs.shape[1:]), np.nan)
    grid[: len(pairs)] = pairs
    return _coloured(grid.reshape(rows, COLUMNS, *pairs.shape[1:]))


def _coloured(values: Float[np.ndarray, "down across row column"]) -> Tiles:
    """Colours of values; NaN stays empty."""
    return compose(looks.colour(values, looks.SIMILARITY_MAP, looks.SIMILARITY_LIMITS))


def _of_pairs(result: RotarySimilarity) -> Float[np.ndarray, "pair row_offset column_offset"]:
    """The similarity by each pair alone."""
    down, right = result.frequency[0, 0].astype(np.float64).T
    return np.cos(
        down[:, None, None] * result.row_offset[:, None]
        + right[:, None, None] * result.column_offset
    )


def _order(result: RotarySimilarity) -> Int[np.ndarray, "pair"]:
    """Pairs by wavelength, the shortest first; equal ones in their order."""
    turns = np.hypot(*result.frequency[0, 0].T)
    return np.argsort(-turns.round(5), kind="stable")


def _mean(result: RotarySimilarity) -> Float[np.ndarray, "row_offset column_offset"]:
    return result.similarity.mean(axis=(0, 1))


def _mean_name(result: RotarySimilarity) -> str:
    return "Mean of all pairs" if _shared(result) else "Mean of all layers and heads"


def tile_words(result: RotarySimilarity) -> str:
    """What there is a tile for."""
    return "pair of dimensions, the shortest wave first" if _shared(result) else "layer and head"


def _wavelength(turn: float) -> str:
    return f"{float(f'{2 * np.pi / turn:.3g}'):,g} patches" if turn > 1e-6 else "infinite"


def _pair_name(result: RotarySimilarity, pair: int) -> str:
    down, right = result.frequency[0, 0, pair].tolist()
    wave = _wavelength(float(np.hypot(down, right)))
    return (
        f"<b>Pair {pair} of dimensions</b><br>wavelength {wave}<br>"
        f"rotated by {down:.3g} per row, {right:.3g} per column (radians)"
    )


def _caption(result: RotarySimilarity) -> str:
    count = result.frequency.shape[2]
    if not _shared(result):
        return f"{result.model}\nEach tile is the mean over {count} pairs of a head's dimensions."
    turns = np.sort(np.hypot(*result.frequency[0, 0].T))
    longest, shortest = _wavelength(float(turns[0])), _wavelength(float(turns[-1]))
    return (
        f"{result.model}\n{count} pairs of a head's dimensions, by wavelength: {shortest} to "
        f"{longest}. The same in all layers and heads."
    )


FIGURE = FigureSpec(
    record=RotarySimilarity,
    slug="rotary_similarity",
    title="Rotary positions",
    question="How does rotation encode the offset of query and key?",
    reading="Queries and keys are rotated by their position. Each tile shows how similar a key "
    "remains to an equal query in the middle, by its offset: for each pair of dimensions, "
    "or for each head if heads rotate differently. Short waves distinguish neighbours; "
    "long waves change little with position.",
    caveat="This assumes equal queries and keys with the same length in every pair. Real ones "
    "weight the pairs by their content, so a head may use a single wave, or none.",
    formula="S[offset] = mean over pairs of cos(ω·offset), ω = (per row, per column)",
    source="Su et al. (RoFormer), arXiv 2104.09864; Heo et al. (RoPE-ViT), arXiv 2403.13298",
    draw=draw,
    plot=plot,
    compared="similarity",
)
