"""How is one statistic of each head spread over many pictures? Over depth, and as a matrix."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_inspect.figures import attention_distance, looks, narrow_sheet, print_sheet, screen_sheet
from vit_inspect.figures.attention_distance import DEPTH, DOT_PT, DOT_PX, UNIFORM
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.figures.head_statistics import COLOUR_MAP, STATISTICS
from vit_inspect.figures.tiles import compose, draw_tiles, fit
from vit_inspect.records.names import special_names
from vit_inspect.records.survey import QUANTILES, Spread, Steps

BARS = ((0.05, 0.95, 0.25), (0.25, 0.75, 0.6))
"""From which quantile to which a bar reaches, and its width by that of a dot."""
BAR_OPACITY, BAND = 0.55, 0.08
"""How much a bar hides of what is behind it, and how grey every second layer is."""
ROOM, ENDS = 0.8, 0.6
"""The share of a layer's place that its heads take, and what is free before the first layer and
after the last one, in layers."""
LEAST_PT, MOST_PT, LEAST_PX, MOST_PX = 0.6, 7.0, 3.0, 14.0
"""From one head to the next, in print and on a screen. Where heads would be closer, the panels
stand one below the other, and in print the layers stand in several rows."""
MOST_ROWS = 3
SMALLEST = 0.4
"""The smallest dot by the usual one; where heads are closer, dots overlap."""
LEFT_IN, SCALE_IN, NAMES_IN, RIGHT_IN, BELOW_IN = 0.55, 0.5, 0.38, 0.1, 0.4
"""Room for the name of the statistic and its numbers, for the colour bar with its numbers, for the
numbers of layers beside the matrix, at the right of it, and for numbers and a name below a panel.
"""
LEGEND_FREE_IN = 0.3
"""What is free beside the widest legend, which stands over the whole sheet."""
HEIGHT_IN, ROWS_IN, ROW_GAP_IN, MATRIX_IN, CELL_IN, SHORT_IN = (1.4, 2.4), 3.4, 0.22, 2.4, 0.4, 0.4
"""Height of a row of layers, least and most, and of several together; between rows; height of a
matrix that stands below, and the side of a cell, at most; below which height a matrix is shorter
than its name."""
BESIDE, DRAWN_PX = ((0.0, 0.6), (0.71, 1.0)), 632
"""On a screen: parts of the width where panels stand side by side, and the usual width of both."""
DEPTH_PX, CELL_PX, BAR_PX, BELOW_PX, TICK_GAP_PX, MOST_TICKS = 380, 24, 76, 60, 4, 12
"""Heights on a screen: of the dots, of a row of the matrix below them at most, of the colour bar
above the matrix, of numbers and a name below a panel, and what is free above them; and how many
numbers stand beside an axis at most."""


def draw(
    result: Spread, *, limits: looks.Limits | None = None, width_in: float | None = None
) -> Figure:
    """A dot and its bars for each head over depth; beside or below, the means as a matrix.

    limits: ends of the axis and of the colours, to give two figures the same scale.
    width_in: of the sheet, in inches.
    """
    sheet, ends = width_in or print_sheet.PAGE_IN, limits or limits_of(result)
    tiles = compose(looks.colour(result.mean[..., None, None], COLOUR_MAP, ends))
    layers, heads = result.mean.shape
    height, rows = float(np.clip(0.4 * sheet, *HEIGHT_IN)), 1
    wide, high = fit(tiles, width=min(0.35 * sheet, CELL_IN * heads), height=height)
    width = sheet - LEFT_IN - SCALE_IN - NAMES_IN - wide - RIGHT_IN
    beside = sheet >= print_sheet.STACKED_BELOW_IN and _pitch_pt(width, layers, heads) >= LEAST_PT
    if not beside:
        width = sheet - LEFT_IN - SCALE_IN
        wanted = math.ceil(LEAST_PT / _pitch_pt(width, layers, heads))
        # None of them empty.
        rows = math.ceil(layers / math.ceil(layers / min(wanted, MOST_ROWS, layers)))
        height = height if rows == 1 else min(HEIGHT_IN[0], ROWS_IN / rows)
        room = min(MATRIX_IN, 0.9 + 0.1 * layers)
        wide, high = fit(tiles, width=min(width, CELL_IN * heads), height=room)
    uniform = uniform_of(result) is not None
    columns = attention_distance.legend_columns(heads, sheet - LEGEND_FREE_IN, uniform=uniform)
    entries = attention_distance.legend_rows(heads, columns, uniform=uniform)
    top = 0.4 + attention_distance.LEGEND_ROW_IN * (entries - 1)
    bottom = top + rows * (height + ROW_GAP_IN) - ROW_GAP_IN
    matrix_top = top if beside else bottom + BELOW_IN + 0.05
    figure = print_sheet.page(sheet, max(bottom, matrix_top + high) + BELOW_IN)
    panels = []
    in_row = math.ceil(layers / rows)
    dot = _dot(_pitch_pt(width, in_row, heads), DOT_PT)
    aside = _aside(72 * width, in_row, heads, MOST_PT)
    for row in range(rows):
        place = {"top": top + row * (height + ROW_GAP_IN), "height": height}
        axes = print_sheet.place(figure, left=LEFT_IN, width=width, **place)
        first, last = row * in_row - ENDS, (row + 1) * in_row - 1 + ENDS
        axes.set(xlim=(first, last), ylim=ends)
        shown = range(row * in_row, min(layers, (row + 1) * in_row))
        _draw_heads(axes, result, shown, aside, dot)
        bar = print_sheet.place(figure, left=LEFT_IN + width + 0.06, width=0.07, **place)
        print_sheet.colour_bar(bar, COLOUR_MAP, ends, name="", ticks=axes.get_yticks())
        bar.set_ylim(ends)
        name = STATISTICS[result.statistic].title
        print_sheet.label(axes, y=print_sheet.folded_at(name, height, print_sheet.TEXT_PT))
        panels.append(axes)
    print_sheet.label(panels[-1], x=DEPTH, y=panels[-1].get_ylabel())
    attention_distance.draw_legend(
        panels[0],
        heads=heads,
        columns=columns,
        bbox_to_anchor=((sheet / 2 - LEFT_IN) / width, 1.0),
        markerscale=DOT_PT / dot,
    )
    left = sheet - RIGHT_IN - wide if beside else LEFT_IN + (width - wide) / 2
    matrix = print_sheet.place(figure, left=left, top=matrix_top, width=wide, height=high)
    draw_tiles(matrix, tiles)
    matrix.set(
        yticklabels=print_sheet.tick_labels(range(layers), high / layers),
        xticklabels=print_sheet.tick_labels(range(heads), wide / heads),
    )
    print_sheet.label(matrix, x="Head", y="Layer")
    if high < SHORT_IN:
        # Ends where the cells begin, so that it stays clear of what is above.
        matrix.yaxis.label.set(y=1.0, ha="right")
    print_sheet.write_title(figure, _title(result))
    print_sheet.write_foot(figure, _words(result), top=float(figure.get_size_inches()[1]))
    return figure


def _draw_heads(
    axes: Axes, result: Spread, layers: range, aside: Float[np.ndarray, "head"], dot: float
) -> None:
    """The heads of some layers; `aside` is of `_aside`, `dot` the width of a dot in points."""
    chosen, places = slice(layers.start, layers.stop), np.array(layers)[:, None] + aside
    # The last row may have room for layers that are not there.
    ticks = MaxNLocator(steps=[1, 2, 5, 10], integer=True).tick_values(layers[0], layers[-1])
    axes.set_xticks([int(tick) for tick in ticks if tick in layers])
    for layer in layers[1 - layers.start % 2 :: 2]:
        axes.axvspan(layer - 0.5, layer + 0.5, color=looks.QUIET, alpha=BAND, linewidth=0, zorder=0)
    for head in range(len(aside)):
        colour = looks.head_colour(head)
        for low, high, share in _bars(result):
            axes.vlines(
                places[:, head],
                low[chosen, head],
                high[chosen, head],
                color=colour,
                alpha=BAR_OPACITY,
                linewidth=share * dot,
                zorder=1.5,
            )
        axes.scatter(
            places[:, head],
            result.mean[chosen, head],
            s=dot**2,
            color=colour,
            linewidths=0,
            label=looks.head_name(head),
            clip_on=False,
            zorder=2,
        )
    if (uniform := uniform_of(result)) is not None:
        attention_distance.draw_uniform(axes, uniform)


def plot(
    result: Spread, *, limits: looks.Limits | None = None, width: int = screen_sheet.SCREEN_PX
) -> go.Figure:
    """The same; a dot and a cell tell all numbers of a head, customdata is its (layer, head).

    limits: ends of the axis and of the colours, to give two figures the same scale.
    width: px of the place that the figure is shown in.
    """
    ends, title = limits or limits_of(result), STATISTICS[result.statistic].title
    layers, heads = result.mean.shape
    beside = _pitch(BESIDE[0][1] * DRAWN_PX, layers, heads, MOST_PX) >= LEAST_PX
    left, right = BESIDE if beside else ((0.0, 1.0), (0.0, 1.0))
    matrix_px = 0 if beside else min(CELL_PX * layers, DEPTH_PX)
    drawn_px = DEPTH_PX + (0 if beside else BELOW_PX + BAR_PX + matrix_px)
    wide = max(width, screen_sheet.SCREEN_PX)
    above = BAR_PX if beside else 0
    figure = screen_sheet.screen(
        _title(result), _words(result), height=DEPTH_PX, above=above, width=wide
    )
    margin = figure.layout.margin
    figure.update_layout(height=margin.t + drawn_px + margin.b)
    hover = [_hover(result, *place) for place in np.ndindex(layers, heads)]
    _plot_heads(figure, result, hover, left[1] * DRAWN_PX)
    matrix_top = 1.0 if beside else matrix_px / drawn_px
    bar = {"x": right[0], "len": right[1] - right[0], "y": matrix_top + BAR_PX / drawn_px}
    _plot_matrix(figure, result, hover, ends, bar)
    across = {"range": [-ENDS, layers - 1 + ENDS], "tickvals": _ticks(layers)}
    matrix = {"showline": False, "ticks": "", "ticklabelstandoff": TICK_GAP_PX, "tickangle": 0}
    figure.update_layout(
        showlegend=True,
        xaxis=screen_sheet.screen_axis(DEPTH, domain=left, **across),
        yaxis=screen_sheet.screen_axis(title, range=ends, domain=(1 - DEPTH_PX / drawn_px, 1)),
        xaxis2=screen_sheet.screen_axis(
            "Head",
            anchor="y2",
            domain=right,
            range=[-0.5, heads - 0.5],
            tickvals=_ticks(heads, most=MOST_TICKS // (2 if beside else 1)),
            **matrix,
        ),
        yaxis2=screen_sheet.screen_axis(
            "Layer",
            anchor="x2",
            domain=(0, matrix_top),
            range=[layers - 0.5, -0.5],
            tickvals=_ticks(layers),
            **matrix,
        ),
    )
    figure.update_layout(legend=screen_sheet.screen_legend(figure))
    return narrow_sheet.narrow(figure, width) if width < screen_sheet.SCREEN_PX else figure


def _plot_heads(figure: go.Figure, result: Spread, hover: list[str], drawn_px: float) -> None:
    """A dot and bars for each head; `drawn_px` is the usual width of the panel."""
    layers, heads = result.mean.shape
    places = np.arange(layers)[:, None] + _aside(drawn_px, layers, heads, MOST_PX)
    dot = _dot(_pitch(drawn_px, layers, heads, MOST_PX), DOT_PX)
    for head in range(heads):
        colour, name = looks.head_colour(head), looks.head_name(head)
        across = places[:, head].tolist()
        for low, high, share in _bars(result):
            figure.add_scatter(
                x=[x for each in across for x in (each, each, None)],
                y=[
                    y
                    for ends in zip(low[:, head].tolist(), high[:, head].tolist(), strict=True)
                    for y in (*ends, None)
                ],
                mode="lines",
                line={"color": colour, "width": max(1.0, share * dot)},
                opacity=BAR_OPACITY,
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=across,
            y=result.mean[:, head].tolist(),
            mode="markers",
            marker={"color": colour, "size": dot},
            name=name,
            legendgroup=name,
            text=hover[head::heads],
            customdata=[[layer, head] for layer in range(layers)],
            hovertemplate="%{text}<extra></extra>",
        )
    for layer in range(1, layers, 2):
        band = {"x0": layer - 0.5, "x1": layer + 0.5, "y0": 0, "y1": 1, "yref": "y domain"}
        paint = {"fillcolor": looks.QUIET, "opacity": BAND, "line_width": 0, "layer": "below"}
        figure.add_shape(type="rect", xref="x", **band, **paint)
    if (uniform := uniform_of(result)) is not None:
        figure.add_scatter(
            x=[-ENDS, layers - 1 + ENDS],
            y=[uniform, uniform],
            mode="lines",
            line={"color": looks.QUIET, "width": 1, "dash": "dash"},
            name=UNIFORM,
            hoverinfo="skip",
        )


def _plot_matrix(
    figure: go.Figure, result: Spread, hover: list[str], ends: looks.Limits, bar: dict[str, float]
) -> None:
    """The means as coloured cells, and on each an invisible marker for the cursor.

    bar: the place of the colour bar, as shares of the sheet.
    """
    layers, heads = result.mean.shape
    cells = list(np.ndindex(layers, heads))
    place = {"xaxis": "x2", "yaxis": "y2"}
    figure.add_heatmap(
        z=result.mean.astype(np.float32),
        x=list(range(heads)),
        y=list(range(layers)),
        zmin=ends[0],
        zmax=ends[1],
        colorscale=looks.colour_scale(COLOUR_MAP),
        xgap=1,
        ygap=1,
        hoverinfo="skip",
        showlegend=False,
        colorbar=screen_sheet.screen_colour_bar(
            STATISTICS[result.statistic].title,
            # Hung from above: plotly misplaces the axes' titles under one that stands on them.
            yanchor="top",
            lenmode="fraction",
            thickness=8,
            ypad=6,
            nticks=4,
            **bar,
        ),
        **place,
    )
    screen_sheet.add_squares(
        figure,
        size=12,
        x=[head for _, head in cells],
        y=[layer for layer, _ in cells],
        showlegend=False,
        customdata=[list(cell) for cell in cells],
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        **place,
    )


def limits_of(result: Spread) -> looks.Limits:
    """The ends of the axis and of the colours, from 0."""
    tallest = [result.mean, *(high for _, high, _ in _bars(result))]
    highest = max([float(each.max()) for each in tallest] + [uniform_of(result) or 0.0])
    return 0.0, 1.05 * highest or 1.0


def uniform_of(result: Spread | Steps) -> float | None:
    """The statistic of a head that attends to all tokens alike, where a line tells it."""
    layout = result.layout
    if result.statistic == "distance_px":
        return layout.uniform_distance_px()
    if result.statistic == "entropy":
        return math.log(len(layout.key_prefix) + layout.patch_count)
    return None


Ends = tuple[Float[np.ndarray, "layer head"], Float[np.ndarray, "layer head"], float]


def _bars(result: Spread) -> list[Ends]:
    """The ends of the bars and their widths, the thin one first; none for one picture."""
    if result.count == 1:
        return []
    quantile = dict(zip(QUANTILES, result.quantiles, strict=True))
    return [(quantile[low], quantile[high], share) for low, high, share in BARS]


def _pitch(drawn: float, layers: int, heads: int, most: float) -> float:
    """From one head to the next within a layer, in the unit of the width of the drawing."""
    return min(most, ROOM / heads * drawn / (layers - 1 + 2 * ENDS))


def _pitch_pt(width_in: float, layers: int, heads: int) -> float:
    return _pitch(72 * width_in, layers, heads, MOST_PT)


def _aside(drawn: float, layers: int, heads: int, most: float) -> Float[np.ndarray, "head"]:
    """How far each head stands beside the middle of its layer, in layers."""
    pitch = _pitch(drawn, layers, heads, most) * (layers - 1 + 2 * ENDS) / drawn
    aside: Float[np.ndarray, "head"] = pitch * (np.arange(heads) - (heads - 1) / 2)
    return aside


def _dot(pitch: float, usual: float) -> float:
    """The width of a dot."""
    return float(np.clip(1.2 * pitch, SMALLEST * usual, usual))


def _ticks(count: int, most: int = MOST_TICKS) -> list[int]:
    """The numbers beside an axis on a screen."""
    return list(range(0, count, math.ceil(count / most)))


def _over(result: Spread) -> str:
    return "one picture" if result.count == 1 else f"{result.count:,} pictures"


def _title(result: Spread) -> str:
    over = "of" if result.count == 1 else "over"
    return f"{STATISTICS[result.statistic].name} {over} {_over(result)}: {result.model}"


def _words(result: Spread) -> str:
    """What dots, bars and cells are, and what the statistic measures."""
    statistic = STATISTICS[result.statistic]
    if result.count == 1:
        dots = "Each dot is one head for one picture, which has no spread: there are no bars."
    else:
        (low, high, _), (inner, outer, _) = BARS
        dots = (
            f"Each dot is the mean of one head over {_over(result)}. Its thick bar reaches from "
            f"the {inner:.0%} to the {outer:.0%} quantile of the pictures, its thin one from "
            f"{low:.0%} to {high:.0%}."
        )
    measured = statistic.meaning[0].lower() + statistic.meaning[1:]
    if result.statistic == "distance_px":
        measured += f" The diagonal of the input is {result.layout.diagonal_px:.0f} px."
    line = " The dashed line is uniform attention." if uniform_of(result) is not None else ""
    return (
        f"{dots} Heads stand side by side, head 0 at the left; the matrix shows the same numbers "
        f"as colours.{line}\n"
        f"{statistic.title}: {measured} Special tokens: {special_names(result.layout)}."
    )


def _hover(result: Spread, layer: int, head: int) -> str:
    """All numbers of a head."""
    words = STATISTICS[result.statistic].words
    mean = words.format(result.mean[layer, head])
    if result.statistic == "distance_px":
        mean += f" ({result.diagonal_share[layer, head]:.1%} of the diagonal)"
    name = f"<b>{looks.place_name(layer, head)}</b>"
    if result.count == 1:
        return f"{name}<br>{mean}, one picture"
    told = _told(words)
    lowest, lower, median, upper, uppermost = map(told, result.quantiles[:, layer, head])
    low, inner, _, outer, high = (f"{share:.0%}" for share in QUANTILES)
    std, least, most = (
        told(values[layer, head]) for values in (result.std, result.minimum, result.maximum)
    )
    return "<br>".join(
        (
            name,
            f"{mean}, mean over {_over(result)}",
            f"Standard deviation {std}",
            f"Median {median}",
            f"{inner} to {outer} quantile: {lower} to {upper}",
            f"{low} to {high} quantile: {lowest} to {uppermost}",
            f"Minimum {least}, maximum {most}",
        )
    )


def _told(words: str) -> Callable[[np.floating], str]:
    """How a number of a statistic is written, as in a sentence of it."""
    found = re.search(r"{:(.*?)}", words)
    form = found[1] if found else ""
    return looks.percent if form.endswith("%") else lambda value: looks.number(value, form)


FIGURE = FigureSpec(
    record=Spread,
    slug="spread",
    title="Spread over pictures",
    question="How does each head differ over many pictures?",
    reading="Each dot is the mean of one head of one layer over all pictures. Its thick bar holds "
    "the middle half of the pictures, its thin one the middle 90%. A head with short bars does the "
    "same on every picture; one with long bars depends on what it sees. The matrix shows the same "
    "means as colours.",
    caveat="Bars show how pictures differ, not how well the mean is known. They depend on the set "
    "of pictures: what holds for photographs of one kind may not hold for others. Two heads with "
    "equal bars may differ on every single picture.",
    formula="mean and quantiles over the pictures of the mean over the queries of a picture",
    source=f"{VIT_PAPER}, Figures 7 right and 11, with the spread over pictures",
    draw=draw,
    plot=plot,
    limits=limits_of,
)
