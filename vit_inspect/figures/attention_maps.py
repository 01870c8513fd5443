"""Which patches does one query token attend to? Raw attention of every layer and head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_inspect.errors import BadParameter
from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import (
    aspect,
    bar_ticks,
    beyond_words,
    draw_patch,
    draw_photograph,
)
from vit_inspect.figures.tiles import (
    Tiles,
    compose,
    draw_tiles,
    fit,
    name_tiles,
    plot_tiles,
)
from vit_inspect.layout import PADDING
from vit_inspect.records.paper import AttentionMaps

PHOTO_TOP_IN, HEADS_IN = 0.64, 0.4
"""Room for title and words above the photograph, and for the numbers of heads above maps."""
LEFT_IN, BETWEEN_IN, RIGHT_IN = 0.35, 0.3, 0.1
"""Room for the numbers of layers, from maps to the table beside them, and right of both."""
BOTTOM_IN = 8.7
"""Where the sheet ends, at most, but for names that take several lines."""
TILE_IN, OWN_TILE_IN, LEAST_TILE_IN = 1.2, 0.7, 0.15
"""Width of a map: at most, at most where no width is given, and at least beside the table."""
CELL_IN, LEAST_CELL_IN, LEAST_TABLE_IN = 0.2, 0.18, 0.9
"""Width of a cell of the table beside the maps, where there is room and at least; and of the
table, at least."""
ROW_IN, ROW_SHARE = 0.16, 0.4
"""Height of a row of the table below the maps, at most; also as a share of a layer's room."""
LEAST_SHEET_IN, LEAST_PT = 4.8, 6.0
"""Width of the sheet, at least, where none is given; and the size of digits, which are left out
where they would be smaller."""


@dataclass(frozen=True)
class _Sizes:
    """Of maps and table, in inches."""

    maps: tuple[float, float]
    table: tuple[float, float]
    beside: bool


def draw(
    result: AttentionMaps,
    *,
    image: int = 0,
    scale: str = "shared",
    limits: looks.Limits | None = None,
    width_in: float | None = None,
) -> Figure:
    """Layers down, heads across; the photograph above, and the mass on special tokens at the side.

    Its table stands below where it would leave too little room for the maps.

    scale: "shared" by all maps of the image, or "per map": each from 0 to its largest weight.
    limits: ends of the shared colour scale, to give two figures the same scale.
    width_in: of the sheet, in inches.
    """
    limit, largest = _limit(result, image, scale)
    limit = limits[1] if limits else limit
    tiles, photograph = _tiles(result, image, scale, limit), result.photographs[image]
    photo_height = float(np.clip(0.15 * (width_in or print_sheet.PAGE_IN), 0.8, 1.4))
    top = PHOTO_TOP_IN + photo_height + HEADS_IN
    sizes = _sizes(tiles, width_in, height=BOTTOM_IN - top)
    (width, height), (table_width, table_height) = sizes.maps, sizes.table
    around = LEFT_IN + BETWEEN_IN + RIGHT_IN
    sheet = width_in or max(LEAST_SHEET_IN, width + sizes.beside * table_width + around)
    below = top if sizes.beside else top + height + HEADS_IN
    figure = print_sheet.page(sheet, below + table_height + print_sheet.EDGE_IN)

    photo_width = photo_height * float(np.clip(aspect(photograph), 0.45, 1.65))
    place = {"top": PHOTO_TOP_IN, "height": photo_height}
    photo = print_sheet.place(figure, left=print_sheet.EDGE_IN, width=photo_width, **place)
    draw_photograph(photo, photograph)
    if result.patch is not None:
        draw_patch(photo, photograph, grid=result.layout.grid, patch=result.patch)
    left = photo_width + 0.25
    long, middle = min(2.3, sheet - left - 0.35), PHOTO_TOP_IN + photo_height / 2
    bar = print_sheet.place(figure, left=left, top=middle - 0.2, width=long, height=0.09)
    ticks, told = bar_ticks((0.0, limit), above=bool(largest > limit))
    print_sheet.colour_bar(
        bar,
        looks.WEIGHT_MAP,
        (0.0, limit),
        name=print_sheet.folded_at(_unit(scale), long, print_sheet.TEXT_PT),
        ticks=ticks,
        orientation="horizontal",
    ).set_ticklabels(told)

    # Maps that are as high as the page, and its table below, stand in the middle.
    spare = 0.0 if sizes.beside else (sheet - LEFT_IN - RIGHT_IN - width) / 2
    maps = print_sheet.place(figure, left=LEFT_IN + spare, top=top, width=width, height=height)
    draw_tiles(maps, tiles)
    _name_heads(maps, tiles.count, "Head")
    start = LEFT_IN + (width + BETWEEN_IN if sizes.beside else spare)
    table = print_sheet.place(figure, left=start, top=below, width=table_width, height=table_height)
    _draw_masses(table, result, image)
    if sizes.beside:
        table.set(ylim=maps.get_ylim(), yticks=[], ylabel="")
    words = _caption(result, limit, largest, scale)
    print_sheet.write_head(figure, _title(result), words)
    return figure


def _sizes(tiles: Tiles, width_in: float | None, *, height: float) -> _Sizes:
    """The sizes of maps and table, in `height`; side by side if maps become large enough."""
    layers, heads = tiles.count
    free = (width_in or print_sheet.PAGE_IN) - LEFT_IN - RIGHT_IN
    table = max(LEAST_TABLE_IN, min(CELL_IN * heads, max(2.4, LEAST_CELL_IN * heads)))
    room = min(free - BETWEEN_IN - table, heads * (TILE_IN if width_in else OWN_TILE_IN))
    if room >= LEAST_TILE_IN * heads:
        maps = fit(tiles, width=room, height=height)
        # What is free makes the table as wide as the maps.
        rest = min(free - BETWEEN_IN - maps[0], maps[0]) if width_in else 0
        return _Sizes(maps, (max(table, rest), maps[1]), beside=True)
    height -= HEADS_IN
    row = min(ROW_IN, ROW_SHARE * height / layers)
    maps = fit(tiles, width=free, height=height - layers * row)
    return _Sizes(maps, (maps[0], layers * row), beside=False)


def plot(
    result: AttentionMaps,
    *,
    image: int = 0,
    scale: str = "shared",
    limits: looks.Limits | None = None,
) -> go.Figure:
    """The maps as one picture; customdata of a map is its (layer, head).

    limits: ends of the shared colour scale, to give two figures the same scale.
    """
    limit, largest = _limit(result, image, scale)
    limit = limits[1] if limits else limit
    tiles = _tiles(result, image, scale, limit)
    layers, heads = tiles.count
    height = max(360, min(1100, 64 * layers)) + 210
    figure = screen_sheet.screen(
        _title(result), _caption(result, limit, largest, scale), height=height, above=110
    )
    picked = [(layer, head) for layer in range(layers) for head in range(heads)]
    hover = [_hover(result, image, layer, head) for layer, head in picked]
    plot_tiles(figure, tiles, hover=hover, picked=picked)
    name_tiles(
        figure, tiles, rows=("Layer", range(layers)), columns=("Head", range(heads)), side="top"
    )
    figure.update_layout(margin_b=24)
    ticks, told = bar_ticks((0.0, limit), above=bool(largest > limit))
    figure.data[0].marker.update(
        cmin=0,
        cmax=limit,
        colorscale=looks.colour_scale(looks.WEIGHT_MAP),
        showscale=True,
        colorbar=screen_sheet.screen_colour_bar(
            _unit(scale), tickvals=ticks, ticktext=told, ypad=50
        ),
    )
    return figure


def limits_of(result: AttentionMaps, image: int = 0) -> looks.Limits:
    """The ends of the shared colour scale."""
    return 0.0, _limit(result, image, "shared")[0]


def _tiles(result: AttentionMaps, image: int, scale: str, limit: float) -> Tiles:
    weights = result.weights[image]
    if scale == "per map":
        largest = weights.max(axis=(-2, -1), keepdims=True)
        weights = weights / np.where(largest > 0, largest, 1)
    return compose(looks.colour(weights, looks.WEIGHT_MAP, (0.0, limit)))


def _limit(result: AttentionMaps, image: int, scale: str) -> tuple[float, float]:
    """The upper end of the colour scale, and the largest weight, which may be above it."""
    if scale not in ("shared", "per map"):
        raise BadParameter(f"the scale {scale!r}", "'shared' or 'per map'", "choose one of these")
    if scale == "per map":
        return 1.0, 1.0
    largest = float(result.weights[image].max())
    limit = float(np.percentile(result.weights[image], looks.SHARED_SCALE_PERCENTILE))
    limit = limit or largest or 1.0
    return limit, largest


def _draw_masses(axes: Axes, result: AttentionMaps, image: int) -> None:
    """A table of percentages on colours, layers down and heads across."""
    masses = result.prefix_mass[image].sum(axis=-1)
    axes.imshow(masses, cmap=looks.WEIGHT_MAP, vmin=0, vmax=1, aspect="auto", interpolation="none")
    (layers, heads), (width, height) = masses.shape, print_sheet.size_in(axes)
    cells = [f"{100 * mass:.0f}" for mass in masses.ravel()]
    # A digit is 0.64 em wide and 0.73 em high; some room around it keeps it clear of the others.
    digits_pt = 72 * min(width / heads / (0.7 * max(map(len, cells))), height / layers / 1.2)
    readable = digits_pt >= LEAST_PT
    if readable:
        for (layer, head), cell in zip(np.ndindex(masses.shape), cells, strict=True):
            ink = looks.INK if masses[layer, head] > 0.6 else looks.PAPER
            place: dict[str, Any] = {"ha": "center", "va": "center_baseline", "color": ink}
            size = min(print_sheet.TEXT_PT, digits_pt)
            axes.text(head, layer, cell, fontsize=size, **place)
    only_padding = result.layout.key_prefix == (PADDING,)
    tokens = PADDING if only_padding else "special tokens"
    words = f"% on {tokens}" if readable else f"Dark to light: 0 to 100% on {tokens}"
    folded = print_sheet.folded_at(words, width + 2 * RIGHT_IN, print_sheet.TEXT_PT)
    _name_heads(axes, (layers, heads), folded)


def _name_heads(axes: Axes, count: tuple[int, int], name: str) -> None:
    """Numbers along so many layers and, at the top, heads; `name` stands above the heads."""
    (layers, heads), (width, height) = count, print_sheet.size_in(axes)
    axes.set(xticks=range(heads), yticks=range(layers))
    axes.set(
        xticklabels=print_sheet.tick_labels(range(heads), width / heads),
        yticklabels=print_sheet.tick_labels(range(layers), height / layers),
    )
    print_sheet.label(axes, x=name, y="Layer")
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    print_sheet.bare(axes)


def _hover(result: AttentionMaps, image: int, layer: int, head: int) -> str:
    masses = zip(result.layout.key_prefix, result.prefix_mass[image, layer, head], strict=True)
    lines = [f"{name} {mass:.1%}" for name, mass in masses]
    largest = f"maximum on a patch {result.weights[image, layer, head].max():.3g}"
    return "<br>".join([f"<b>{looks.place_name(layer, head)}</b>", largest, *lines])


def _title(result: AttentionMaps) -> str:
    return f"Query: {result.query}"


def _unit(scale: str) -> str:
    return "Attention weight" if scale == "shared" else "Attention weight / maximum of the map"


def _caption(result: AttentionMaps, limit: float, largest: float, scale: str) -> str:
    if scale == "per map":
        return f"{result.model}\nEach map has its own scale, from 0 to its maximum."
    clipped = f", clipped at {limit:.3g} (largest {largest:.3g}{beyond_words(largest, limit)})"
    return f"{result.model}\nShared scale{clipped if largest > limit else f', 0 to {limit:.3g}'}."


FIGURE = FigureSpec(
    record=AttentionMaps,
    slug="attention_maps",
    title="Attention maps",
    question="Which patches does CLS attend to?",
    reading="Each small map is one head of one layer. Patches that are bright, or pale "
    "yellow over the photograph, get most of the attention of the query token: the class token "
    "(CLS), or what this model reads instead. Rows are layers, the first on top. Maps on a shared "
    "scale can be compared; on a scale of its own even a faint map can be seen.",
    caveat="Attention on special tokens is not on the maps; it is told in numbers. Attention "
    "shows what is mixed into a token, not what the decision depends on.",
    formula="A[layer, head, query, :] = softmax(q·K / √d)",
    source="Vaswani et al., arXiv 1706.03762; Caron et al. (DINO), arXiv 2104.14294",
    draw=draw,
    plot=plot,
    limits=limits_of,
    compared="weights",
)
