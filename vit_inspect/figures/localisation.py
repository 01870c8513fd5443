"""Does a map lie on the thing that it should show? Its share in boxes, and the pointing game."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_inspect.figures import looks, named_rows, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.named_rows import BELOW_IN, RIGHT_IN, TOP_IN, WIDTH_IN
from vit_inspect.records.evidence import CENTRE, RANDOM, Localisation
from vit_inspect.records.resampling import mean_ends

INSIDE, HIT = "Share of the map in the box", "Largest value in the box"
CHANCE = "an even map"
ROW_IN, GAP_IN, DOT_PT = 0.19, 0.4, 14
ROW_PX, DOT_PX = 26, 9
PANELS = (0.0, 0.48), (0.52, 1.0)
"""Where the panels are on a screen, as shares of its width."""


class Row(NamedTuple):
    """A map, and its means over the pictures with the ends of their intervals (NaN for one)."""

    name: str
    inside: float
    inside_ends: tuple[float, float]
    hit: float
    hit_ends: tuple[float, float]
    colour: str


def draw(result: Localisation, *, width_in: float | None = None) -> Figure:
    """A row for each map: dots with intervals beside the line of an even map, in two panels.

    width_in: of the sheet, in inches.
    """
    sheet, found = width_in or WIDTH_IN, rows(result)
    names, left = named_rows.fitted([each.name for each in found], sheet)
    wide, height = (sheet - left - GAP_IN - RIGHT_IN) / 2, ROW_IN * len(found)
    panels = [
        (shown, print_sheet.folded_at(name, wide, print_sheet.TEXT_PT), chance)
        for shown, name, chance in _panels(result)
    ]
    more = max(name.count("\n") for _, name, _ in panels)
    below = BELOW_IN + more * print_sheet.LINE_EM * print_sheet.TEXT_PT / 72
    figure = print_sheet.page(sheet, TOP_IN + height + below)
    for place, (shown, name, chance) in enumerate(panels):
        start = left + place * (wide + GAP_IN)
        axes = print_sheet.place(figure, left=start, top=TOP_IN, width=wide, height=height)
        _draw_dots(axes, found, shown, chance)
        named_rows.draw(axes, len(found), () if place else names)
        named_rows.draw_rules(axes)
        print_sheet.label(axes, x=name)
    print_sheet.write_title(figure, _title(result))
    print_sheet.write_foot(figure, _words(result), top=float(figure.get_size_inches()[1]))
    return figure


def _draw_dots(axes: Axes, found: list[Row], shown: str, chance: float) -> None:
    axes.axvline(chance, color=looks.QUIET, linestyle=":", linewidth=1.0, zorder=1)
    for place, row in enumerate(found):
        ends, mean = getattr(row, f"{shown}_ends"), getattr(row, shown)
        axes.plot(ends, (place, place), color=row.colour, linewidth=1.2, zorder=2)
        axes.scatter([mean], [place], s=DOT_PT, color=row.colour, linewidths=0, zorder=3)
    axes.set(xlim=(-0.03, 1.03), xticks=(0, 0.5, 1))
    axes.xaxis.set_major_formatter(print_sheet.percent_ticks())


def plot(result: Localisation, *, width: int = screen_sheet.SCREEN_PX) -> go.Figure:
    """The same; a row tells its means and their intervals.

    width: px of the place that the figure is shown in.
    """
    found = rows(result)
    names = [row.name for row in found]
    figure = named_rows.screen(_title(result), _words(result), names, row_px=ROW_PX, width=width)
    for place, (shown, name, chance) in enumerate(_panels(result)):
        axis = str(place + 1) if place else ""
        on = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
        line = {"color": looks.QUIET, "dash": "dot", "width": 1.5}
        figure.add_scatter(
            x=[chance, chance],
            y=[-0.6, len(found) - 0.4],
            mode="lines",
            line=line,
            hovertemplate=f"{CHANCE}: {looks.percent(chance)}<extra></extra>",
            **on,
        )
        means = np.array([getattr(row, shown) for row in found])
        ends = np.array([getattr(row, f"{shown}_ends") for row in found])
        colours = [row.colour for row in found]
        for row, (low, high) in enumerate(ends):
            if np.isfinite(low):
                figure.add_scatter(
                    x=[low, high],
                    y=[row, row],
                    mode="lines",
                    line={"color": colours[row], "width": 2},
                    hoverinfo="skip",
                    **on,
                )
        told = [
            f"<b>{screen_sheet.literal(row.name)}</b><br>{name}: {_told(mean, pair)}"
            for row, mean, pair in zip(found, means, ends, strict=True)
        ]
        figure.add_scatter(
            x=[None if np.isnan(mean) else mean for mean in means],
            y=list(range(len(found))),
            mode="markers",
            marker={"color": colours, "size": DOT_PX},
            text=told,
            hovertemplate="%{text}<extra></extra>",
            **on,
        )
        axes = {"domain": PANELS[place], "range": [-0.03, 1.03], "tickformat": ".0%"}
        figure.update_layout(
            {
                f"xaxis{axis}": screen_sheet.screen_axis(name, anchor=f"y{axis}", **axes),
                f"yaxis{axis}": named_rows.screen_axis(
                    names, anchor=f"x{axis}", showticklabels=not place, showgrid=True
                ),
            }
        )
    return figure


def rows(result: Localisation) -> list[Row]:
    """The tested maps, the centre, and random orders as one map."""
    tested = result.tested()
    random = [place for place, name in enumerate(result.maps) if name.startswith(f"{RANDOM} ")]
    groups = [(name, [place]) for place, name in enumerate(tested)]
    groups += [(CENTRE, [result.maps.index(CENTRE)]), (RANDOM, random)]
    found = []
    for place, (name, members) in enumerate(groups):
        inside, hit = (each[:, members].mean(axis=1) for each in (result.inside, result.hit))
        colour = looks.head_colour(place) if place < len(tested) else looks.QUIET
        found.append(Row(name, _mean(inside), _ends(inside), _mean(hit), _ends(hit), colour))
    return found


def verdict(result: Localisation) -> str:
    """Which maps hold more of themselves in the boxes than an even map would, in two sentences."""
    if len(result.photographs) == 1:
        return "One picture: chance cannot be told from skill."
    more = [name for place, name in enumerate(result.tested()) if _gain(result, place)[0] > 0]
    rest = [name for name in result.tested() if name not in more]
    if not more:
        return f"No map has more in the box than {CHANCE}."
    found = f"More in the box than {CHANCE}: {', '.join(more)}."
    return f"{found} Not: {', '.join(rest)}." if rest else found


def _gain(result: Localisation, place: int) -> tuple[float, float]:
    """The ends of the mean difference to an even map, picture by picture."""
    return _ends(result.inside[:, place] - result.area)


def _mean(values: Float[np.ndarray, "image"]) -> float:
    """The mean over the pictures whose map has values; NaN where there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _ends(values: Float[np.ndarray, "image"]) -> tuple[float, float]:
    low, high = mean_ends(values)
    return float(low), float(high)


def _told(mean: float, ends: Float[np.ndarray, "end"]) -> str:
    if np.isnan(mean):
        return "no positive values"
    told = looks.percent(mean)
    low, high = map(looks.percent, ends)
    return told if np.isnan(ends[0]) else f"{told}, in 95 of 100 draws {low} to {high}"


def _panels(result: Localisation) -> tuple[tuple[str, str, float], ...]:
    """The field of a row, the name of its axis, and what an even map has."""
    return (
        ("inside", INSIDE, float(result.area.mean())),
        ("hit", HIT, float(result.centres.mean())),
    )


def _title(result: Localisation) -> str:
    count = len(result.photographs)
    of = result.photographs[0].name if count == 1 else f"{count:,} pictures"
    return f"{result.model}: localisation, {of}"


def _words(result: Localisation) -> str:
    named = set(result.targets) - {""}
    target = f" Class: {next(iter(named))}." if len(named) == 1 else ""
    lines = [
        f"The boxes take {looks.percent(float(result.area.mean()))} of what the model saw: "
        f"{CHANCE} has as much (dotted).{target}",
        verdict(result),
    ]
    if len(result.photographs) > 1:
        lines.append("Lines: the mean in 95 of 100 draws of as many pictures, with replacement.")
    return "\n".join(lines)


FIGURE = FigureSpec(
    record=Localisation,
    slug="localisation",
    title="Localisation",
    question="Does a map lie on the thing that it should show?",
    reading="The share of a map's positive values that lies in the box of the thing, beside the "
    "share of the area, which an even map would have; and how often the patch of the largest value "
    "has its centre in the box. A map that does no better than the nearness to the centre has "
    "shown where things usually are.",
    caveat="A box says where the thing is, not what the model looks at: a model may rightly use "
    "what is around it, and a box holds background too. So a high share is no proof of a faithful "
    "map, and a low one no proof against it; deletion and insertion ask the model itself.",
    formula="sum of max(map, 0) × (share of the patch in the box) / sum of max(map, 0)",
    source="pointing game: Zhang et al. (Excitation Backprop), arXiv 1608.00507",
    draw=draw,
    plot=plot,
)
