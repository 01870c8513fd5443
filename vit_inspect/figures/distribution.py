"""How is one number of one head distributed over pictures? A histogram."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.records.survey import HeadValues

TITLE = "Distribution over pictures"
WIDTH_IN, HEIGHT_IN = 5.5, 2.0
LEFT_IN, RIGHT_IN, TOP_IN, BELOW_IN = 0.55, 0.15, 0.3, 0.45
SCREEN_HEIGHT_PX = 340
MOST_BARS = 40
ALIKE = 1e-9
"""Values that differ by no more than this share of the largest are one."""
COUNTED = "Pictures"
MEAN = "Mean"


def draw(result: HeadValues, *, width_in: float | None = None) -> Figure:
    """The histogram, and a line at the mean; `width_in` is of the sheet, in inches."""
    sheet = width_in or WIDTH_IN
    figure = print_sheet.page(sheet, TOP_IN + HEIGHT_IN + BELOW_IN)
    axes = print_sheet.place(
        figure, left=LEFT_IN, top=TOP_IN, width=sheet - LEFT_IN - RIGHT_IN, height=HEIGHT_IN
    )
    counts, edges = bars(result)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=looks.QUIET, edgecolor="white")
    axes.axvline(float(result.values.mean()), color=looks.INK, linewidth=1, linestyle="--")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.05 * counts.max()))
    print_sheet.label(axes, x=_statistic(result), y=COUNTED)
    print_sheet.write_title(figure, _title(result))
    print_sheet.write_foot(figure, _words(result), top=float(figure.get_size_inches()[1]))
    return figure


def plot(result: HeadValues, *, width: int = screen_sheet.SCREEN_PX) -> go.Figure:
    """The same; a bar tells its ends and how many pictures it holds.

    width: px of the place that the figure is shown in.
    """
    figure = screen_sheet.screen(
        _title(result), _words(result), height=SCREEN_HEIGHT_PX, width=width
    )
    counts, edges = bars(result)
    ends = list(pairwise(edges.tolist()))
    figure.add_bar(
        x=[(low + high) / 2 for low, high in ends],
        y=counts.tolist(),
        width=np.diff(edges).tolist(),
        marker={"color": looks.QUIET, "line": {"width": 1, "color": "white"}},
        text=[f"{looks.number(low, '.3g')} to {looks.number(high, '.3g')}" for low, high in ends],
        textposition="none",
        hovertemplate="%{text}<br>%{y} pictures<extra></extra>",
    )
    # In a colour that is seen on the bars, and on light and dark pages.
    figure.add_vline(
        x=float(result.values.mean()), line={"width": 1.5, "dash": "dash", "color": looks.ACCENT}
    )
    return figure.update_layout(
        xaxis=screen_sheet.screen_axis(_statistic(result), range=[edges[0], edges[-1]]),
        yaxis=screen_sheet.screen_axis(COUNTED, rangemode="tozero"),
        showlegend=False,
    )


def bars(
    result: HeadValues,
) -> tuple[Int[np.ndarray, "bar"], Float[np.ndarray, "edge"]]:
    """How many pictures fall between which values; the last bar holds its upper end too.

    As many bars as the square root of the number of pictures, of one width.
    """
    values = result.values.astype(np.float64)
    return np.histogram(values, edges_of(values))


def edges_of(values: Float[np.ndarray, "picture"]) -> Float[np.ndarray, "edge"]:
    """Between which values the bars lie."""
    count = min(MOST_BARS, max(1, round(np.sqrt(len(values)))))
    if np.ptp(values) <= ALIKE * np.abs(values).max():
        count = 1
    return np.histogram_bin_edges(values, count)


def _statistic(result: HeadValues) -> str:
    return STATISTICS[result.statistic].title


def _title(result: HeadValues) -> str:
    return f"{looks.place_name(result.layer, result.head)} over pictures: {result.model}"


def _words(result: HeadValues) -> str:
    count = len(result.values)
    words = STATISTICS[result.statistic].words
    mean = words.format(float(result.values.mean()))
    pictures = "One picture" if count == 1 else f"{count:,} pictures"
    return f"{pictures} of {result.over}. The dashed line is their mean: {mean}."


FIGURE = FigureSpec(
    record=HeadValues,
    slug="distribution",
    title=TITLE,
    question="How does one head differ over many pictures?",
    reading="Each bar is a number of pictures whose value lies between its ends. Two hills are two "
    "kinds of pictures that the head treats in different ways; a long tail is a few that "
    "stand out.",
    caveat="It depends on the set of pictures. The width of the bars is chosen by the number of "
    "pictures: gaps between few of them mean nothing.",
    formula="counts of the mean over the queries of a picture",
    source="vit_inspect; statistics as in their own figure",
    draw=draw,
    plot=plot,
)
