"""What does one map show, of any kind? The map by itself, over what the model saw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from vit_inspect.arguments import of_kind
from vit_inspect.figures import lit, looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.lit import Edges, Look
from vit_inspect.figures.overlay import (
    PATCH,
    SCALE_IN,
    bar_ticks,
    beyond_words,
    plot_bar,
    rectangle,
)
from vit_inspect.figures.tiles import data_uri
from vit_inspect.layout import Box, Region, TokenLayout
from vit_inspect.records.evidence import PatchMap

UNIT = "value"
MOST_HIGH = 1.36
"""Height of an upright picture in print, relative to the width of the sheet."""
HIGHEST_IN = 7.9
"""So that it fits on a page with its words."""
BAR_END_IN = 0.25
"""How far the labels at the ends of a colour bar reach beyond it, at most."""

Outlined = Sequence[tuple[int, int] | Region]


def draw(
    result: PatchMap,
    *,
    width_in: float | None = None,
    image: int = 0,
    look: Look = "heat",
    edges: Edges = "smooth",
    clip: float = looks.CLIP,
    from_least: bool = False,
    limits: looks.Limits | None = None,
    unit: str = UNIT,
    outlined: Outlined = (),
) -> Figure:
    """The map over what the model saw of the photograph.

    width_in: of the sheet in inches; a column of two without it.
    look: "heat" lays colours over it, "heat on grey" over the photograph in grey; "spotlight"
        darkens what has a small value.
    edges: "smooth" between the centres of patches, or "blocks", one for each patch.
    clip: the percentile of this map where its scale ends; from_least: whether the scale starts at
        the least value, and not at 0.
    limits: the ends of another scale instead, such as one that several maps share.
    unit: of the values. outlined: patches (row, column), and regions.
    """
    picture, ends, (title, words) = _shown(
        result, image, look, edges, clip, from_least, limits, unit
    )
    rows, columns = picture.shape[:2]
    sheet = width_in or print_sheet.COLUMN_IN
    width = sheet - 2 * print_sheet.EDGE_IN
    height = min(width * rows / columns, MOST_HIGH * sheet, HIGHEST_IN)
    width = height * columns / rows
    # An upright map that is as high as the page stands in the middle.
    left = (sheet - width) / 2
    figure = print_sheet.page(sheet, height + 1.0)
    axes = print_sheet.place(figure, left=left, top=0.5, width=width, height=height)
    grid_rows, grid_columns = result.layout.grid
    axes.imshow(
        picture,
        extent=(0, grid_columns, grid_rows, 0),
        aspect="auto",
        interpolation="none",
    )
    axes.set(xticks=[], yticks=[], xlim=(0, grid_columns), ylim=(grid_rows, 0))
    print_sheet.bare(axes)
    _outline(axes, _boxes(outlined, result.layout))
    place = {"top": height + 0.58, "width": max(width - 2 * BAR_END_IN, 1.0)}
    above = float(result.values[image].max()) > ends[1]
    draw_bar(figure, look, ends, unit, above=above, left=left + BAR_END_IN, **place)
    print_sheet.write_head(figure, title, words)
    # A long unit takes several lines.
    print_sheet.trim(figure)
    return figure


def draw_bar(
    figure: Figure,
    look: Look,
    ends: looks.Limits,
    unit: str,
    *,
    above: bool,
    left: float,
    top: float,
    width: float,
    labels: tuple[str, str] | None = None,
) -> None:
    """The scale of a look below maps, in inches from the top left corner of the sheet.

    unit: of the values; a long one takes several lines.
    above: whether values lie beyond the upper end. labels: of both ends, in place of numbers.
    """
    bar = print_sheet.place(figure, left=left, top=top, width=width, height=SCALE_IN)
    middle, sheet = left + width / 2, figure.get_size_inches()[0]
    room = 2 * (min(middle, sheet - middle) - print_sheet.EDGE_IN)
    name = unit[:1].upper() + unit[1:]
    ticks, told = bar_ticks(ends, above=above, labels=labels)
    made = print_sheet.colour_bar(
        bar,
        looks.lit_map(look),
        ends,
        name=print_sheet.folded_at(name, room, print_sheet.TEXT_PT),
        orientation="horizontal",
        ticks=ticks,
    )
    made.set_ticklabels(told)


def plot(
    result: PatchMap,
    *,
    width: int = 720,
    image: int = 0,
    look: Look = "heat",
    edges: Edges = "smooth",
    clip: float = looks.CLIP,
    from_least: bool = False,
    limits: looks.Limits | None = None,
    unit: str = UNIT,
    outlined: Outlined = (),
) -> go.Figure:
    """The same on a screen; each patch says its value, customdata is its (row, column).

    width: px for the photograph.
    """
    picture, ends, words = _shown(result, image, look, edges, clip, from_least, limits, unit)
    values = result.values[image]
    (high, wide), (rows, columns) = picture.shape[:2], values.shape
    height = round(min(620, width * high / wide))
    figure = screen_sheet.screen(*words, height=height + 198, above=60, width=width)
    figure.add_layout_image(
        source=data_uri(Image.fromarray(picture)),
        x=0,
        y=0,
        sizex=columns,
        sizey=rows,
        xref="x",
        yref="y",
        sizing="stretch",
        layer="below",
    )
    figure.add_heatmap(
        z=values.astype(np.float32),
        x0=0.5,
        y0=0.5,
        zmin=ends[0],
        zmax=ends[1],
        # The picture below has the colours; this one has the words and the bar.
        opacity=0,
        showscale=False,
        customdata=[[[row, column] for column in range(columns)] for row in range(rows)],
        hovertemplate=f"{PATCH}<br>%{{z:.3g}}<extra></extra>",
    )
    scale = looks.colour_scale(looks.lit_map(look))
    plot_bar(figure, scale, ends, unit, above=float(values.max()) > ends[1])
    # One shape for all: a shape for each would be slow.
    path = "".join(
        f"M{box.left},{box.top}H{box.right}V{box.bottom}H{box.left}Z"
        for box in _boxes(outlined, result.layout)
    )
    if path:
        for colour, line in ((looks.PAPER, 4), (looks.ACCENT, 2)):
            figure.add_shape(type="path", path=path, line={"color": colour, "width": line})
    axis = screen_sheet.screen_axis(visible=False, constrain="domain")
    ratio = high / wide * columns / rows
    return figure.update_layout(
        margin_b=12,
        xaxis=axis | {"range": [0, columns], "constraintoward": "left"},
        yaxis=axis
        | {
            "range": [rows, 0],
            "scaleanchor": "x",
            "scaleratio": ratio,
            "constraintoward": "top",
        },
    )


def _boxes(outlined: Outlined, layout: TokenLayout) -> list[Box]:
    """The boxes of patches and regions, in patches; raises `BadParameter` for one off the grid."""
    found = []
    for each in outlined:
        if isinstance(each, Region):
            layout.region(each)
            found.append(Box(each.left, each.top, each.right + 1, each.bottom + 1))
            continue
        known = "patches (row, column), and regions, in a list"
        of_kind(each, tuple | list | np.ndarray, "outlined", known)
        row, column = layout.patch(each)
        found.append(Box(column, row, column + 1, row + 1))
    return found


def _outline(axes: Axes, boxes: list[Box]) -> None:
    for colour, line in ((looks.PAPER, 1.8), (looks.ACCENT, 1.0)):
        for box in boxes:
            edge = {"edgecolor": colour, "linewidth": line}
            axes.add_patch(rectangle(box, fill=False, **edge))


def _shown(
    result: PatchMap,
    image: int,
    look: Look,
    edges: Edges,
    clip: float,
    from_least: bool,
    limits: looks.Limits | None,
    unit: str,
) -> tuple[UInt8[np.ndarray, "row_px column_px 3"], looks.Limits, tuple[str, str]]:
    """The picture, the ends of its scale, and its title and words."""
    values = result.values[image]
    ends = limits or looks.ends_of(values, clip, from_zero=not from_least)
    picture = lit.covered(result.photographs[image], values, ends, look, edges)
    largest, end = float(values.max()), looks.number(ends[1], ".3g")
    words = f"Largest {unit} {looks.number(largest, '.3g')}{beyond_words(largest, ends[1])}."
    if limits:
        words += f" Colours end at {end}, on a given scale."
    elif largest > ends[1]:
        words += f" Colours end at {end}, percentile {clip:g} of the map."
    return picture, ends, (f"{result.model}: {result.kind}", words)


FIGURE = FigureSpec(
    record=PatchMap,
    slug="patch_map",
    title="Map of the patches",
    question="Which patches does a map rank highest?",
    reading="Patches high on the scale have the largest values: pale yellow ones as heat, bright "
    "ones in a spotlight. The scale starts at 0 and ends at a percentile that is told; negative "
    "values are shown as 0.",
    caveat="Values of two maps have no common unit. A bright patch is not proved to be a cause: "
    "see Faithfulness.",
    formula="(value - start of the scale) / (end - start), within 0..1",
    source="as for the map that is shown",
    draw=draw,
    plot=plot,
)
