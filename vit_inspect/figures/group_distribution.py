"""How is one number of one head distributed over two groups? Two histograms, one over the other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.distribution import edges_of
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.records.survey import HeadGroups

WIDTH_IN, HEIGHT_IN = 5.5, 2.0
LEFT_IN, RIGHT_IN, TOP_IN, BELOW_IN = 0.6, 0.15, 0.52, 0.45
SCREEN_HEIGHT_PX = 360
COLOURS = ("#b2182b", "#2166ac")
"""Of the first group and of the second, as in the map of differences."""
COVER = 0.45
SHARE = "Share of the group"


def draw(result: HeadGroups, *, width_in: float | None = None) -> Figure:
    """The histograms, and a line at each mean; `width_in` is of the sheet, in inches."""
    sheet = width_in or WIDTH_IN
    figure = print_sheet.page(sheet, TOP_IN + HEIGHT_IN + BELOW_IN)
    axes = print_sheet.place(
        figure, left=LEFT_IN, top=TOP_IN, width=sheet - LEFT_IN - RIGHT_IN, height=HEIGHT_IN
    )
    edges, shares = bars(result)
    for which, values in enumerate((result.first, result.second)):
        axes.bar(
            edges[:-1],
            shares[which],
            np.diff(edges),
            align="edge",
            color=COLOURS[which],
            alpha=COVER,
            linewidth=0,
            label=_name(result, which),
        )
        axes.axvline(float(values.mean()), color=COLOURS[which], linewidth=1, linestyle="--")
    axes.yaxis.set_major_formatter(print_sheet.percent_ticks())
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.05 * shares.max()))
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        frameon=False,
        fontsize=print_sheet.TEXT_PT,
        labelcolor=looks.INK,
        borderaxespad=0.2,
        handlelength=1.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
        room = (sheet - LEFT_IN - RIGHT_IN) / 2 - 0.35
        text.set_text(print_sheet.fitted_at(text.get_text(), room, print_sheet.TEXT_PT))
    print_sheet.label(axes, x=STATISTICS[result.statistic].title, y=SHARE)
    print_sheet.write_title(figure, _title(result))
    print_sheet.write_foot(figure, _words(result), top=float(figure.get_size_inches()[1]))
    return figure


def plot(result: HeadGroups, *, width: int = screen_sheet.SCREEN_PX) -> go.Figure:
    """The same; a bar tells its ends and how many pictures of its group it holds.

    width: px of the place that the figure is shown in.
    """
    figure = screen_sheet.screen(
        _title(result), _words(result), height=SCREEN_HEIGHT_PX, width=width
    )
    edges, shares = bars(result)
    ends = [
        f"{looks.number(low, '.3g')} to {looks.number(high, '.3g')}"
        for low, high in pairwise(edges.tolist())
    ]
    for which, values in enumerate((result.first, result.second)):
        name = screen_sheet.literal(_name(result, which))
        counts = np.rint(shares[which] * len(values)).astype(int).tolist()
        figure.add_bar(
            x=((edges[:-1] + edges[1:]) / 2).tolist(),
            y=shares[which].tolist(),
            width=np.diff(edges).tolist(),
            name=name,
            opacity=COVER,
            marker={"color": COLOURS[which], "line": {"width": 0}},
            text=[f"{name}, {end}" for end in ends],
            textposition="none",
            customdata=counts,
            hovertemplate="%{text}<br>%{customdata} pictures, %{y:.1%}<extra></extra>",
        )
        figure.add_vline(
            x=float(values.mean()), line={"width": 2, "dash": "dash", "color": COLOURS[which]}
        )
    figure.update_layout(
        barmode="overlay",
        xaxis=screen_sheet.screen_axis(
            STATISTICS[result.statistic].title, range=[edges[0], edges[-1]]
        ),
        yaxis=screen_sheet.screen_axis(SHARE, rangemode="tozero", tickformat=".0%"),
        showlegend=True,
    )
    return figure.update_layout(legend=screen_sheet.screen_legend(figure))


def bars(
    result: HeadGroups,
) -> tuple[Float[np.ndarray, "edge"], Float[np.ndarray, "group bar"]]:
    """The edges of the bars of both groups, and the share of each group between them."""
    groups = [values.astype(np.float64) for values in (result.first, result.second)]
    edges = edges_of(np.concatenate(groups))
    return edges, np.array([np.histogram(each, edges)[0] / len(each) for each in groups])


def _name(result: HeadGroups, which: int) -> str:
    return looks.short(result.groups[which])


def _title(result: HeadGroups) -> str:
    first, second = (_name(result, which) for which in range(2))
    return f"{looks.place_name(result.layer, result.head)}: {first} and {second}"


def _words(result: HeadGroups) -> str:
    words = STATISTICS[result.statistic].words
    told = [
        f"{_name(result, which)}: {len(values):,} {'picture' if len(values) == 1 else 'pictures'}, "
        f"mean {words.format(float(values.mean()))}"
        for which, values in enumerate((result.first, result.second))
    ]
    return f"{'; '.join(told)}. Dashed lines are the means."


FIGURE = FigureSpec(
    record=HeadGroups,
    slug="group_distribution",
    title="Distributions of two groups",
    question="How does one head differ between two groups of pictures?",
    reading="Each bar is the share of a group whose value lies between its ends: groups of unlike "
    "size are told alike. Where the bars of both lie over each other, the head does not tell the "
    "groups apart.",
    caveat="It depends on the set of pictures. The width of the bars is chosen by the number of "
    "pictures: gaps between few of them mean nothing.",
    formula="counts of the mean over the queries of a picture, by the size of the group",
    source="vit_inspect; statistics as in their own figure",
    draw=draw,
    plot=plot,
)
