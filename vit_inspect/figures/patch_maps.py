"""What do many maps of one photograph show together? Each is small, and looks as on the canvas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import UInt8
from matplotlib.figure import Figure

from vit_inspect.figures import lit, looks, patch_map, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.lit import Edges, Look
from vit_inspect.figures.overlay import beyond_words, plot_bar
from vit_inspect.figures.patch_map import UNIT
from vit_inspect.figures.tiles import (
    GAP,
    LONG_SIDE_PX,
    compose,
    draw_tiles,
    fit,
    name_tiles,
    plot_tiles,
)
from vit_inspect.records.evidence import PatchMaps

HEAD_IN, COLUMNS_IN, ROWS_IN = 0.5, 0.42, 0.35
"""Room for title and words, for the names of columns above the maps, and for those of rows."""
NAME_IN, GAP_IN, LETTER_IN = 0.2, 0.08, 0.062
"""Above a map for a name of its own, between two such maps, and the width of a letter."""
LABEL_IN = 0.2
"""Beside the names of rows and columns, for what these are."""
MOST_IN, HIGHEST_IN = 1.7, 7.4
"""The longer side of a map, at most, where no width is given; and the height of all together."""
BAR_IN, BAR_END_IN = 3.0, 0.5
"""Length of the colour bar, at most, and how far the labels of its ends reach beyond it."""
LEAST_ACROSS, PROPORTION = 3, 1.3
"""Maps side by side, at least, and width by height of all, where each has a name of its own."""
MOST_HIGH_PX, WIDE_PX = 1100, 640
"""Height of the maps on a screen, at most, and the width that is free for them."""
NAME_PX = 18
"""Above a map on a screen for a name of its own."""

Scale = tuple[Look, Edges, float, bool, looks.Limits | None]
"""`look`, `edges`, `clip`, `from_least` and `limits`."""

Pictures = UInt8[np.ndarray, "map_row map_column row_px column_px 4"]


def draw(
    result: PatchMaps,
    *,
    width_in: float | None = None,
    image: int = 0,
    look: Look = "heat",
    edges: Edges = "smooth",
    clip: float = looks.CLIP,
    from_least: bool = False,
    limits: looks.Limits | None = None,
    unit: str = UNIT,
) -> Figure:
    """The maps in rows and columns; those of a single row or column one after the other.

    width_in: of the sheet in inches; without it a page, or less where the maps need less.
    Options are those of `patch_map.draw`. limits: the ends of one scale for all maps; without them
    each map has a scale of its own.
    """
    sheet = width_in or print_sheet.PAGE_IN
    figure = print_sheet.page(sheet, HEAD_IN + COLUMNS_IN + HIGHEST_IN)
    most, middle = MOST_IN if width_in is None else math.inf, width_in is not None
    arrange = _draw_crossed if _crossed(result) else _draw_named
    scale = look, edges, clip, from_least, limits
    left, bottom = arrange(figure, result, image, scale, sheet, most, middle)
    ends, labels = _scale(clip, from_least, limits)
    patch_map.draw_bar(
        figure,
        look,
        ends,
        unit,
        above=float(result.values[image].max()) > ends[1] if limits else clip < 100,
        labels=labels,
        left=left + BAR_END_IN,
        top=bottom + 0.1,
        width=min(BAR_IN, sheet - left - print_sheet.EDGE_IN) - 2 * BAR_END_IN,
    )
    if width_in is None:
        _narrow(figure)
    print_sheet.write_head(figure, *_words(result, image, clip, from_least, limits, unit))
    print_sheet.trim(figure)
    return figure


def _draw_crossed(
    figure: Figure,
    result: PatchMaps,
    image: int,
    scale: Scale,
    sheet: float,
    most: float,
    middle: bool,
) -> tuple[float, float]:
    """Maps in rows and columns, whose names stand along them.

    middle: whether they stand in the middle of the sheet, and not at its left.
    Returns where their colour bar begins at the left, and where they end below.
    """
    shape, (rows, columns) = result.photographs[image].seen_aspect, result.values.shape[1:3]
    row_names, column_names = (
        list(map(looks.short, each)) for each in (result.rows, result.columns)
    )
    worded = _length_in([name for name in column_names if not name.isdecimal()])
    left = print_sheet.EDGE_IN + max(ROWS_IN, LABEL_IN + _length_in(row_names))
    free, high, top = sheet - left - print_sheet.EDGE_IN, HIGHEST_IN, HEAD_IN + COLUMNS_IN
    wide = min(1.0, shape) + GAP

    def side() -> float:
        """The longer side of a map."""
        along = (columns * wide - GAP, free), (rows * (min(1.0, 1 / shape) + GAP) - GAP, high)
        return min(most, *(room / sides for sides, room in along))

    # Names that are too long for their columns stand upright, and take of the height of the maps.
    if worded + GAP_IN > side() * wide and (more := LABEL_IN + worded - COLUMNS_IN) > 0:
        high, top = high - more, top + more
    pitch = side() * wide
    tiles = compose(_pictures(result, image, side() * print_sheet.PRINT_DPI, scale))
    width, height = fit(tiles, width=columns * pitch - GAP * side(), height=high)
    spare = (free - width) / 2 if middle else 0.0
    axes = print_sheet.place(figure, left=left + spare, top=top, width=width, height=height)
    draw_tiles(axes, tiles)
    numbers = [name for name in column_names if name.isdecimal()]
    numbered = iter(print_sheet.tick_labels(numbers, pitch))
    # A line is as high as two digits are wide.
    seen = print_sheet.tick_labels([name[:2] for name in row_names], height / rows)
    axes.set_xticklabels(
        [next(numbered) if name.isdecimal() else name for name in column_names], parse_math=False
    )
    axes.set_yticklabels(
        [name if kept else "" for name, kept in zip(row_names, seen, strict=True)],
        parse_math=False,
    )
    print_sheet.label(axes, x=result.column_name, y=result.row_name)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    for name, text in zip(column_names, axes.get_xticklabels(), strict=True):
        narrow = _length_in([name]) + GAP_IN > pitch
        text.set_rotation(90 if narrow and not name.isdecimal() else 0)
    print_sheet.bare(axes)
    return print_sheet.EDGE_IN + ROWS_IN + spare, top + height


def _draw_named(
    figure: Figure,
    result: PatchMaps,
    image: int,
    scale: Scale,
    sheet: float,
    most: float,
    middle: bool,
) -> tuple[float, float]:
    """Maps one after the other, each below its name; as `_draw_crossed`."""
    names, shape, edge = _names(result), result.photographs[image].seen_aspect, print_sheet.EDGE_IN
    count = _across(names, shape, sheet - 2 * edge)
    lines = math.ceil(len(names) / count)
    width = min(
        (sheet - 2 * edge + GAP_IN) / count - GAP_IN,
        shape * (HIGHEST_IN / lines - NAME_IN),
        most * min(1.0, shape),
    )
    height = width / shape
    pictures = _pictures(result, image, max(width, height) * print_sheet.PRINT_DPI, scale)
    pitch = max(width, _length_in(names)) + GAP_IN
    left = edge + ((sheet - 2 * edge + GAP_IN - count * pitch) / 2 if middle else 0.0)
    for place, (name, index) in enumerate(zip(names, np.ndindex(pictures.shape[:2]), strict=True)):
        line, column = divmod(place, count)
        axes = print_sheet.place(
            figure,
            left=left + column * pitch,
            top=HEAD_IN + line * (height + NAME_IN) + NAME_IN,
            width=width,
            height=height,
        )
        axes.imshow(pictures[index], aspect="auto", interpolation="none")
        axes.set(xticks=[], yticks=[])
        written: dict[str, Any] = {"fontsize": print_sheet.TEXT_PT, "color": looks.INK}
        axes.set_title(name, pad=2.5, loc="left", parse_math=False, **written)
        print_sheet.bare(axes)
    return left, HEAD_IN + lines * (height + NAME_IN)


def plot(
    result: PatchMaps,
    *,
    image: int = 0,
    look: Look = "heat",
    edges: Edges = "smooth",
    clip: float = looks.CLIP,
    from_least: bool = False,
    limits: looks.Limits | None = None,
    unit: str = UNIT,
) -> go.Figure:
    """The same on a screen; customdata of a map is its (row, column)."""
    values, shape = result.values[image], result.photographs[image].seen_aspect
    rows, columns = values.shape[:2]
    across, names = columns, [] if _crossed(result) else _names(result)
    if names:
        letter_px = screen_sheet.LETTER_EM * screen_sheet.TEXT_PX
        across = _across(names, shape, LETTER_IN * WIDE_PX / letter_px)
    down = math.ceil(rows * columns / across)
    scale = look, edges, clip, from_least, limits
    pictures = _pictures(result, image, LONG_SIDE_PX / max(down, across), scale)
    flat, named = pictures.reshape(-1, *pictures.shape[2:]), 0.0
    if names:
        flat, named = _below_names(flat, down, across)
    blank = np.zeros((down * across - len(flat), *flat.shape[1:]), np.uint8)
    tiles = compose(np.concatenate([flat, blank]).reshape(down, across, *flat.shape[1:]))
    high, wide = tiles.picture.shape[:2]
    height = WIDE_PX * high / wide
    height = round(height if names else min(MOST_HIGH_PX, height)) + 210
    title, words = _words(result, image, clip, from_least, limits, unit)
    figure = screen_sheet.screen(title, words, height=height, above=110)
    places = list(np.ndindex(rows, columns))
    hover = [
        f"<b>{_name(result, *place)}</b><br>least {looks.number(values[place].min(), '.3g')}, "
        f"most {looks.number(values[place].max(), '.3g')}"
        for place in places
    ]
    plot_tiles(figure, tiles, hover=hover, picked=places)
    if not names:
        name_tiles(
            figure,
            tiles,
            rows=(result.row_name, result.rows),
            columns=(result.column_name, result.columns),
            side="top",
        )
    look_of_names = {"xref": "x", "yref": "y", "yanchor": "bottom", "borderpad": 0}
    look_of_names |= {"showarrow": False, "font_size": screen_sheet.TEXT_PX}
    placed = [
        go.layout.Annotation(
            text=name,
            x=place % across,
            y=place // across + tiles.extent[3] * (1 - 2 * named),
            **look_of_names,
        )
        for place, name in enumerate(names)
    ]
    # At once: plotly looks at all of them for each that is added.
    figure.layout.annotations += tuple(placed)
    ends, labels = _scale(clip, from_least, limits)
    above = float(values.max()) > ends[1] if limits else clip < 100
    colours = looks.colour_scale(looks.lit_map(look))
    return plot_bar(figure, colours, ends, unit, above=above, labels=labels, ypad=50)


def _below_names(
    pictures: UInt8[np.ndarray, "map row_px column_px 4"], down: int, across: int
) -> tuple[UInt8[np.ndarray, "map padded_px wider_px 4"], float]:
    """Pictures with room for a name above each on a screen, and this room's share of the height."""
    high, wide = pictures.shape[1:3]
    # In px of the screen: the width that names need, and what it leaves for the height.
    cell = WIDE_PX / across / (1 + GAP)
    room = min(MOST_HIGH_PX / down / (1 + GAP), MOST_HIGH_PX / down - GAP * cell) - NAME_PX
    shown = min(cell * high / wide, max(room, NAME_PX))
    above = math.ceil(NAME_PX * high / shown)
    beside = round(max(0.0, cell * high / shown - wide) / 2)
    padded = np.pad(pictures, [(0, 0), (above, 0), (beside, beside), (0, 0)])
    return padded, above / (above + high)


def _narrow(figure: Figure) -> None:
    """Takes from the sheet what is free at the right of all maps, down to a column."""
    width, height = figure.get_size_inches()
    # With their names, which may be longer than a map is wide.
    right = print_sheet.WIDER * figure.get_tightbbox().x1
    wide = min(width, max(right + print_sheet.EDGE_IN, print_sheet.COLUMN_IN))
    for axes in figure.axes:
        left, bottom, across, high = axes.get_position(original=True).bounds
        axes.set_position((left * width / wide, bottom, across * width / wide, high))
    figure.set_size_inches(wide, height)


def _crossed(result: PatchMaps) -> bool:
    """Whether there are several rows and several columns."""
    return min(result.values.shape[1:3]) > 1


def _across(names: Sequence[str], shape: float, width_in: float) -> int:
    """How many maps stand side by side, so that all together have a fit shape, below their names.

    shape: width by height of a map.
    """
    room = (width_in + GAP_IN) / (_length_in(names) + GAP_IN)
    wanted = max(LEAST_ACROSS, math.ceil(math.sqrt(PROPORTION * len(names) / shape)))
    return max(1, min(len(names), wanted, int(room)))


def _length_in(names: Sequence[str]) -> float:
    """The length of the longest name in print."""
    return LETTER_IN * max(map(len, names), default=0)


def _names(result: PatchMaps) -> list[str]:
    """Of all maps, which stand in a single row or column; short ones."""
    return [looks.short(_name(result, *place)) for place in np.ndindex(result.values.shape[1:3])]


def _name(result: PatchMaps, row: int, column: int) -> str:
    """Of one map: what tells it from the others."""
    named = [
        f"{name} {own}" if own.isdecimal() else own
        for name, own, several in (
            (result.row_name, result.rows[row], len(result.rows) > 1),
            (result.column_name, result.columns[column], len(result.columns) > 1),
        )
        if several
    ]
    return ", ".join(named) or result.kind


def _pictures(
    result: PatchMaps,
    image: int,
    long_side_px: float,
    scale: Scale,
) -> Pictures:
    """Each map over the photograph."""
    look, edges, clip, from_least, limits = scale
    photograph, pixels = result.photographs[image], max(1, math.ceil(long_side_px))

    def picture(values: np.ndarray) -> np.ndarray:
        ends = limits or looks.ends_of(values, clip, from_zero=not from_least)
        return lit.covered(photograph, values, ends, look, edges, long_side_px=pixels)

    drawn = np.stack([[picture(each) for each in row] for row in result.values[image]])
    return np.pad(drawn, [(0, 0)] * 4 + [(0, 1)], constant_values=255)


def _scale(
    clip: float, from_least: bool, limits: looks.Limits | None
) -> tuple[looks.Limits, tuple[str, str] | None]:
    """The ends of the colour bar, and their labels where each map has numbers of its own."""
    if limits:
        return limits, None
    return (0.0, 1.0), ("least" if from_least else "0", _end(clip))


def _end(clip: float) -> str:
    return f"percentile {clip:g}" if clip < 100 else "largest"


def _words(
    result: PatchMaps,
    image: int,
    clip: float,
    from_least: bool,
    limits: looks.Limits | None,
    unit: str,
) -> tuple[str, str]:
    """Title, and what the scale is."""
    title = f"{result.model}: {result.kind}"
    if limits:
        low, high = (looks.number(end, ".3g") for end in limits)
        largest = float(result.values[image].max())
        most = f"{looks.number(largest, '.3g')}{beyond_words(largest, limits[1])}"
        return title, f"One scale for all maps, {low} to {high}. Largest {unit} {most}."
    start = "its least value" if from_least else "0"
    end = f"its {_end(clip)}" if clip < 100 else "its largest value"
    return title, f"Each map has a scale of its own, from {start} to {end}."


FIGURE = FigureSpec(
    record=PatchMaps,
    slug="patch_maps",
    title="Maps of the patches",
    question="Which maps rank which patches highest?",
    reading="Each small picture is one map over what the model saw. Patches high on the "
    "scale have the largest values: pale yellow ones as heat, bright ones in a spotlight. With a "
    "scale of its own even a faint map can be seen; on one scale maps can be compared. A map with "
    "a few bright patches and nothing else ends its own scale at its largest value.",
    caveat="A bright patch is not proved to be a cause: see Faithfulness.",
    formula="(value - start of the scale) / (end - start), within 0..1",
    source="as for the maps that are shown",
    draw=draw,
    plot=plot,
)
