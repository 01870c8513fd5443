"""Where do two records of one figure differ? Right - left, with 0 in the middle of the scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import SCALE_IN, bar_ticks
from vit_inspect.figures.tiles import Tiles, compose, draw_tiles, name_tiles, plot_tiles
from vit_inspect.records.difference import Difference

COLOUR_MAP = looks.DIFFERENCE_MAP
HEAD_IN, LEFT_IN, BELOW_IN, RIGHT_IN = 0.62, 0.4, 0.42, 0.2
"""Height of the title and its words; room beside the map for the names of rows, below it for those
of columns, and at its right for the end of the colour bar's numbers."""
BAR_IN, LEAST_IN, SHARE = 2.3, 2.6, 2 / 3
"""Length of the colour bar; the longer side of the map, at least, and as a share of the sheet."""


def draw(result: Difference, *, width_in: float | None = None) -> Figure:
    """Quantities of two axes are one map, those of four axes a grid of maps.

    width_in: of the sheet, in inches; without it a column for one map, a page for a grid.
    """
    values, limit = _shown(result), _limit(result)
    tiles = None if values.ndim == 2 else _tiles(values, limit)
    sheet = width_in or (print_sheet.PAGE_IN if tiles else print_sheet.COLUMN_IN)
    high, wide = (tiles.picture if tiles else values).shape[:2]
    free = sheet - LEFT_IN - RIGHT_IN
    side = min(free, max(LEAST_IN, SHARE * sheet))
    width, height = side * min(1, wide / high), side * min(1, high / wide)
    middle, below = LEFT_IN + free / 2, HEAD_IN + height + BELOW_IN
    figure = print_sheet.page(sheet, below + 0.5)
    left = middle - width / 2
    axes = print_sheet.place(figure, left=left, top=HEAD_IN, width=width, height=height)
    if tiles:
        draw_tiles(axes, tiles)
    else:
        picture = looks.colour(values, COLOUR_MAP, (-limit, limit))
        axes.imshow(picture, interpolation="none", aspect="auto")
    rows, columns = ((_name(axis), places) for axis, places in list(_places(result).items())[:2])
    print_sheet.name_places(axes, rows=rows, columns=columns)
    left = middle - BAR_IN / 2
    bar = print_sheet.place(figure, left=left, top=below, width=BAR_IN, height=SCALE_IN)
    ticks, told = _ticks(values, limit)
    name = print_sheet.folded_at(_bar_name(result), BAR_IN, print_sheet.TEXT_PT)
    print_sheet.colour_bar(
        bar, COLOUR_MAP, (-limit, limit), name=name, ticks=ticks, orientation="horizontal"
    ).set_ticklabels(told)
    print_sheet.write_head(figure, _title(result), _words(result))
    print_sheet.trim(figure)
    return figure


def plot(result: Difference) -> go.Figure:
    """The same; each patch of one map shows its value, each map of a grid its largest one."""
    values, limit = _shown(result), _limit(result)
    height = 560 if values.ndim == 2 else max(560, min(1100, 64 * len(values)) + 200)
    figure = screen_sheet.screen(_title(result), _words(result), height=height, above=60)
    ticks, told = _ticks(values, limit)
    bar = screen_sheet.screen_colour_bar(_bar_name(result), tickvals=ticks, ticktext=told)
    scale = looks.colour_scale(COLOUR_MAP)
    picked = list(_places(result).values())
    names = [_name(axis) for axis in result.along]
    if values.ndim == 2:
        figure.add_heatmap(
            z=values.astype(np.float32),
            x=picked[1],
            y=picked[0],
            zmin=-limit,
            zmax=limit,
            colorscale=scale,
            colorbar=bar,
            hovertemplate=f"{names[0]} %{{y}}, {names[1].lower()} %{{x}}<br>%{{z:.3g}}"
            "<extra></extra>",
        )
        rows, columns = ((places[0] - 0.5, places[-1] + 0.5) for places in picked)
        axis = screen_sheet.screen_axis(constrain="domain")
        figure.update_layout(
            xaxis=axis | {"range": columns, "constraintoward": "left"},
            yaxis=axis | {"range": rows[::-1], "scaleanchor": "x"},
        )
        # An axis title of plotly's stays where the axis was before its proportion moved it.
        note: dict[str, Any] = {"xref": "x", "yref": "y", "showarrow": False}
        figure.add_annotation(text=names[1], x=sum(columns) / 2, y=rows[1], yshift=-34, **note)
        note |= {"textangle": -90, "xshift": -38}
        return figure.add_annotation(text=names[0], x=columns[0], y=sum(rows) / 2, **note)
    tiles = _tiles(values, limit)
    places = [(row, column) for row in picked[0] for column in picked[1]]
    largest_of = np.abs(values).max(axis=(2, 3)).ravel()
    hover = [
        f"<b>{_place(result, place)}</b><br>largest size {each:.3g}"
        for place, each in zip(places, largest_of, strict=True)
    ]
    plot_tiles(figure, tiles, hover=hover, picked=places)
    name_tiles(
        figure, tiles, rows=(names[0], picked[0]), columns=(names[1], picked[1]), side="bottom"
    )
    figure.data[0].marker.update(
        cmin=-limit, cmax=limit, colorscale=scale, showscale=True, colorbar=bar
    )
    return figure


def _places(result: Difference) -> dict[str, list[int]]:
    """The places that are shown along each axis."""
    sizes = dict(zip(result.along, result.values.shape, strict=True))
    return {axis: list(result.shown.get(axis, range(size))) for axis, size in sizes.items()}


def _shown(result: Difference) -> Float[np.ndarray, "..."]:
    return result.values[np.ix_(*_places(result).values())]


def _limit(result: Difference) -> float:
    """The end of the scale: as in the figures themselves, few sink tokens must not whiten all."""
    sizes = np.abs(_shown(result))
    return float(np.percentile(sizes, looks.SHARED_SCALE_PERCENTILE)) or float(sizes.max()) or 1.0


def _ticks(values: Float[np.ndarray, "..."], limit: float) -> tuple[list[float], list[str]]:
    """Where the numbers of the colour bar stand, and how they are told."""
    above, below = bool(values.max() > limit), bool(values.min() < -limit)
    return bar_ticks((-limit, limit), above=above, below=below)


def _tiles(values: Float[np.ndarray, "tile_row tile_column row column"], limit: float) -> Tiles:
    return compose(looks.colour(values, COLOUR_MAP, (-limit, limit)))


def _name(axis: str) -> str:
    return axis.replace("_", " ").capitalize()


def _place(result: Difference, place: tuple[int, int]) -> str:
    """What a tile is of: a head of a layer, or a patch."""
    if result.along[:2] == ("layer", "head"):
        return looks.place_name(*place)
    return looks.patch_name(*place).capitalize()


def _title(result: Difference) -> str:
    return f"{result.quantity[:1].upper()}{result.quantity[1:]}: right − left"


def _bar_name(result: Difference) -> str:
    return f"Difference of {result.quantity}"


def _words(result: Difference) -> str:
    """What is subtracted from what, of what both are, and how far the values go."""
    values, limit = _shown(result), _limit(result)
    least, most, end = (looks.number(float(x), ".3g") for x in (values.min(), values.max(), limit))
    both = f"{result.both}. " if result.both else ""
    beyond = f" Colours end at ±{end}, percentile {looks.SHARED_SCALE_PERCENTILE:g} of the sizes."
    told = beyond if np.abs(values).max() > limit else ""
    return f"{result.right} − {result.left}\n{both}From {least} to {most}.{told}"


FIGURE = FigureSpec(
    record=Difference,
    slug="difference",
    title="Difference",
    question="Where do two records differ, and in which direction?",
    reading="Red is more at the right, blue is more at the left, and white is no difference. The "
    "scale has 0 in its middle. Where it does not reach to the largest difference, its ends say "
    "so.",
    caveat="A difference does not say which side is better, nor why they differ. Heads of two "
    "models do not belong together because they have the same number.",
    formula="right − left, for each value",
    source="as for the figure of the two records",
    draw=draw,
    plot=plot,
    shown=lambda record: {axis: list(places) for axis, places in record.shown.items()},
)
