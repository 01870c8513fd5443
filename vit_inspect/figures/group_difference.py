"""Which heads differ between two groups of pictures? Effect sizes, and the most different heads."""

from __future__ import annotations

import re

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.figures.narrow_sheet import narrow
from vit_inspect.figures.tiles import Tiles, compose, draw_tiles, fit
from vit_inspect.records.survey import SURE, GroupDifference

TITLE = "Difference of two groups"
UNIT = "Effect size (Hedges' g)"
LEAST_END = 0.8
"""Where the scale ends at least, so that small effects have pale colours (Cohen's "large")."""
NAMED = 10
"""Heads at the right, at most: those with the largest effects."""
NAME_LETTERS = 32
"""Of a group, at most."""
HEAD_IN, LEFT_IN, FOREST_LEFT_IN, RIGHT_IN, BELOW_IN, HEIGHT_IN, CELL_IN = (
    0.75,
    0.4,
    0.7,
    0.12,
    0.42,
    2.3,
    0.4,
)
"""Room above the drawings for the title and the colour bar, beside them and below; their height,
and the side of a cell at most."""
BAR_IN = 1.6
BESIDE, DRAWN_PX, BAR_PX = ((0.0, 0.5), (0.66, 1.0)), 380, 60
"""On a screen: parts of the width, height of both, and room for the colour bar above."""
MOST_TICKS = 12


def draw(result: GroupDifference, *, width_in: float | None = None) -> Figure:
    """The effects as a matrix, and the most different heads with their intervals.

    width_in: of the sheet, in inches.
    """
    sheet, end = width_in or print_sheet.PAGE_IN, _end(result)
    layers, heads = result.effect.shape
    tiles = _tiles(result, end)
    beside = sheet >= print_sheet.STACKED_BELOW_IN
    room = (sheet / 2 if beside else sheet) - LEFT_IN - RIGHT_IN
    wide, high = fit(tiles, width=min(room, CELL_IN * heads), height=HEIGHT_IN)
    top = HEAD_IN if beside else HEAD_IN + high + BELOW_IN + 0.1
    forest_high = max(high, 1.6) if beside else 0.6 + 0.15 * len(_named(result))
    figure = print_sheet.page(sheet, top + forest_high + BELOW_IN)
    matrix = print_sheet.place(figure, left=LEFT_IN, top=HEAD_IN, width=wide, height=high)
    draw_tiles(matrix, tiles)
    matrix.set(
        yticklabels=print_sheet.tick_labels(range(layers), high / layers),
        xticklabels=print_sheet.tick_labels(range(heads), wide / heads),
    )
    print_sheet.label(matrix, x="Head", y="Layer")
    bar = print_sheet.place(figure, left=LEFT_IN, top=HEAD_IN - 0.12, width=BAR_IN, height=0.07)
    print_sheet.colour_bar(
        bar,
        looks.DIFFERENCE_MAP,
        (-end, end),
        name=UNIT,
        ticks=(-end, 0, end),
        orientation="horizontal",
    ).set_ticklabels([looks.number(each, ".2g") for each in (-end, 0, end)])
    bar.xaxis.set_ticks_position("top")
    bar.xaxis.set_label_position("top")
    left = LEFT_IN + wide + FOREST_LEFT_IN if beside else LEFT_IN + 0.15
    forest = print_sheet.place(
        figure, left=left, top=top, width=sheet - left - RIGHT_IN, height=forest_high
    )
    _draw_forest(forest, result)
    print_sheet.write_title(figure, _title(result))
    print_sheet.write_foot(figure, _words(result), top=float(figure.get_size_inches()[1]))
    return figure


def _draw_forest(axes: Axes, result: GroupDifference) -> None:
    """The most different heads: a dot at the difference, a line for its interval."""
    named = _named(result)
    axes.axvline(0, color=looks.QUIET, linewidth=print_sheet.RULE_PT, linestyle="--")
    for place, head in enumerate(named):
        axes.hlines(place, result.low[head], result.high[head], color=looks.INK, linewidth=1)
        axes.plot(
            result.difference[head],
            place,
            marker="o",
            markersize=4,
            color=looks.INK,
            markerfacecolor=looks.INK if _apart(result)[head] else looks.PAPER,
        )
    axes.set(xlim=_reach(result), ylim=(len(named) - 0.5, -0.5), yticks=range(len(named)))
    axes.set_yticklabels([looks.place_name(*head) for head in named])
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(print_sheet.round_ticks(4))
    axes.xaxis.set_major_formatter(print_sheet.number_ticks())
    width, _ = print_sheet.size_in(axes)
    print_sheet.label(axes, x=print_sheet.folded_at(_across(result), width, print_sheet.TEXT_PT))


def plot(result: GroupDifference, *, width: int = screen_sheet.SCREEN_PX) -> go.Figure:
    """The same; a cell and a dot tell all numbers of a head, customdata is its (layer, head).

    width: px of the place that the figure is shown in.
    """
    figure = screen_sheet.screen(
        _title(result),
        _words(result),
        height=DRAWN_PX,
        above=BAR_PX,
        width=max(width, screen_sheet.SCREEN_PX),
    )
    margin = figure.layout.margin
    figure.update_layout(height=margin.t + DRAWN_PX + margin.b)
    layers, heads = result.effect.shape
    end, cells = _end(result), list(np.ndindex(layers, heads))
    figure.add_heatmap(
        z=[[None if np.isnan(each) else each for each in row] for row in result.effect.tolist()],
        x=list(range(heads)),
        y=list(range(layers)),
        zmin=-end,
        zmax=end,
        colorscale=looks.colour_scale(looks.DIFFERENCE_MAP),
        xgap=1,
        ygap=1,
        hoverinfo="skip",
        colorbar=screen_sheet.screen_colour_bar(
            UNIT,
            tickvals=[-end, 0, end],
            ticktext=[looks.number(each, ".2g") for each in (-end, 0, end)],
            # Hung from above: plotly misplaces the axes' titles under one that stands on them.
            y=1 + BAR_PX / DRAWN_PX,
            yanchor="top",
            ypad=6,
        ),
    )
    screen_sheet.add_squares(
        figure,
        size=12,
        x=[head for _, head in cells],
        y=[layer for layer, _ in cells],
        customdata=[list(cell) for cell in cells],
        text=[_hover(result, cell) for cell in cells],
        hovertemplate="%{text}<extra></extra>",
    )
    _plot_forest(figure, result)
    bare = {"showline": False, "ticks": "", "tickangle": 0, "ticklabelstandoff": 4}
    (left, right), named = BESIDE, _named(result)
    figure.update_layout(
        xaxis=screen_sheet.screen_axis(
            "Head", domain=left, range=[-0.5, heads - 0.5], tickvals=_ticks(heads), **bare
        ),
        yaxis=screen_sheet.screen_axis(
            "Layer", range=[layers - 0.5, -0.5], tickvals=_ticks(layers), **bare
        ),
        xaxis2=screen_sheet.screen_axis(
            _across(result), anchor="y2", domain=right, range=_reach(result)
        ),
        yaxis2=screen_sheet.screen_axis(
            anchor="x2",
            range=[len(named) - 0.5, -0.5],
            tickvals=list(range(len(named))),
            ticktext=[looks.place_name(*head) for head in named],
            showline=False,
            ticks="",
        ),
    )
    return narrow(figure, width) if width < screen_sheet.SCREEN_PX else figure


def _plot_forest(figure: go.Figure, result: GroupDifference) -> None:
    named, place = _named(result), {"xaxis": "x2", "yaxis": "y2"}
    known = [head for head in named if not np.isnan(result.low[head])]
    figure.add_scatter(
        x=[x for head in known for x in (result.low[head], result.high[head], None)],
        y=[y for head in known for y in (named.index(head), named.index(head), None)],
        mode="lines",
        line={"color": looks.QUIET, "width": 2},
        hoverinfo="skip",
        **place,
    )
    figure.add_scatter(
        x=[result.difference[head] for head in named],
        y=list(range(len(named))),
        mode="markers",
        marker={
            "size": 9,
            "color": [looks.QUIET if _apart(result)[head] else looks.PAPER for head in named],
            "line": {"width": 2, "color": looks.QUIET},
        },
        customdata=[list(head) for head in named],
        text=[_hover(result, head) for head in named],
        hovertemplate="%{text}<extra></extra>",
        **place,
    )
    figure.add_shape(
        type="line",
        x0=0,
        x1=0,
        y0=0,
        y1=1,
        xref="x2",
        yref="y2 domain",
        line={"width": 1, "dash": "dash", "color": looks.QUIET},
    )


def _ticks(count: int) -> list[int]:
    return list(range(0, count, -(-count // MOST_TICKS)))


def _tiles(result: GroupDifference, end: float) -> Tiles:
    return compose(looks.colour(result.effect[..., None, None], looks.DIFFERENCE_MAP, (-end, end)))


def _end(result: GroupDifference) -> float:
    """Where the scale ends, on both sides."""
    known = np.abs(result.effect[~np.isnan(result.effect)])
    return max(LEAST_END, float(known.max(initial=0)))


def _named(result: GroupDifference) -> list[tuple[int, int]]:
    """The heads with the largest effects, or where none has one, the largest differences."""
    sizes = np.abs(result.effect)
    if np.isnan(sizes).all():
        sizes = np.abs(result.difference)
    order = np.argsort(-sizes, axis=None, kind="stable")[:NAMED]
    places = [(int(at) // sizes.shape[1], int(at) % sizes.shape[1]) for at in order]
    return [place for place in places if not np.isnan(sizes[place])]


def _reach(result: GroupDifference) -> looks.Limits:
    """From where to where the named heads reach, with 0, and some air."""
    ends = [
        [result.difference[head], result.low[head], result.high[head]] for head in _named(result)
    ]
    low, high = min(0.0, float(np.nanmin(ends))), max(0.0, float(np.nanmax(ends)))
    air = 0.06 * (high - low) or 1.0
    return low - air, high + air


def _apart(result: GroupDifference) -> np.ndarray:
    """Whether the interval of each head leaves out 0; an interval that is not known does not."""
    return np.asarray((result.low > 0) | (result.high < 0))


def _across(result: GroupDifference) -> str:
    return f"Difference: {STATISTICS[result.statistic].title}"


def _title(result: GroupDifference) -> str:
    return f"{STATISTICS[result.statistic].name} of {_group(result, 0)} − {_group(result, 1)}"


def _group(result: GroupDifference, which: int) -> str:
    return looks.short(result.groups[which], NAME_LETTERS)


def _words(result: GroupDifference) -> str:
    """Which groups these are, what colours mean, and how sure it is."""
    first, second = (_group(result, which) for which in range(2))
    heads = result.difference.size
    if result.paired:
        groups = f"The same {_pictures(result.counts[0])} in {first} and in {second}."
    else:
        counts = [_pictures(count) for count in result.counts]
        groups = f"{first}: {counts[0]}; {second}: {counts[1]}. Of {result.over}, {result.model}."
    colours = f"Red is more in {first}, blue is more in {second}."
    if np.isnan(result.effect).all():
        colours = "Two pairs have no effect size, and no cell has a colour."
    known = int((~np.isnan(result.low)).sum())
    if not known:
        sure = "One picture has no spread: there are no effect sizes and no intervals."
        if min(result.counts) > 1:
            sure = "No head has any spread: there are no effect sizes and no intervals."
        return f"{groups}\n{sure}"
    missing = ""
    if known < heads:
        those = "1 head has" if heads - known == 1 else f"{heads - known} heads have"
        missing = f" {those} no spread, and no colour."
    chance = looks.number((1 - SURE) * heads, ".2g")
    apart = int(_apart(result).sum())
    return (
        f"{groups}\n{colours}{missing}\n"
        f"Lines are intervals that hold for all {heads} heads together with {SURE:.0%} or more: "
        f"{apart} of {heads} leave out 0. If no head differed, intervals for one head alone would "
        f"leave out 0 for about {chance} heads by chance."
    )


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count:,} pictures"


def _hover(result: GroupDifference, head: tuple[int, int]) -> str:
    """All numbers of a head."""
    effect, low, high = result.effect[head], result.low[head], result.high[head]
    words = STATISTICS[result.statistic].words
    lines = [f"<b>{looks.place_name(*head)}</b>"]
    lines.append("No effect size" if np.isnan(effect) else f"g = {looks.number(effect, '.2f')}")
    for which, mean in enumerate((result.first[head], result.second[head])):
        lines.append(f"{screen_sheet.literal(_group(result, which))}: {words.format(mean)}")
    lines.append(f"Difference {_value(result, result.difference[head])}")
    if not np.isnan(low):
        lines.append(f"Interval {_value(result, low)} to {_value(result, high)}")
    return "<br>".join(lines)


def _value(result: GroupDifference, value: float) -> str:
    """A difference as numbers of its statistic are written."""
    found = re.search(r"{:(.*?)}", STATISTICS[result.statistic].words)
    return looks.number(value, found[1] if found else ".3g")


FIGURE = FigureSpec(
    record=GroupDifference,
    slug="group_difference",
    title=TITLE,
    question="Which heads differ between two groups of pictures?",
    reading="Each cell is the effect size of one head: the difference of the two means by the "
    "standard deviation within the groups. Heads with the largest effects are named, with "
    "their difference and its interval. A full dot is a head whose interval leaves out 0.",
    caveat="With many heads some differ by chance: the intervals allow for all heads, not for all "
    "statistics and groups that you try. They take pictures as drawn by chance, each of its own "
    "scene, and are rough for fewer than about 10 in a group. A difference does not say why: "
    "groups may also differ in what nobody named. Pictures that were chosen by the value of a head "
    "differ in it by choice.",
    formula="g = J · (mean₁ − mean₂) / s, s pooled within the groups, or of the differences where "
    "they are paired, J = Γ(ν/2) / (√(ν/2) Γ((ν−1)/2)); interval: Welch's t, or of pairs "
    "Student's, at level "
    "1 − 0.05 / heads",
    source="Hedges, J. Educ. Stat. 6 (1981); Welch, Biometrika 34 (1947); Dunn, J. Am. Stat. "
    "Assoc. 56 (1961)",
    draw=draw,
    plot=plot,
)
