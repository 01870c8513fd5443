"""How does one statistic of the heads change while a network is trained? A curve over the steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.colors import ListedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vit_inspect.arguments import one_of
from vit_inspect.figures import attention_distance, looks, print_sheet, screen_sheet
from vit_inspect.figures.attention_distance import UNIFORM
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.figures.spread import uniform_of
from vit_inspect.records.names import special_names
from vit_inspect.records.survey import Steps

STEP, LAYER = "Training step", "Layer"
DEPTH_MAP = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.2, 0.88, 256)))
"""The colour of a layer by its depth: what can be seen on white paper and on a dark page."""
WIDTH_IN, HEIGHT_IN = 5.5, (1.9, 2.6)
"""Width of the usual sheet, and height of the curves at least and at most."""
LEFT_IN, RIGHT_IN, BAR_IN, TOP_IN, BELOW_IN = 0.6, 0.2, 0.5, 0.34, 0.42
"""What is free around the curves in print; at the right, with or without the colour bar."""
SCREEN_PX, BAR_PX = 440, 60
MARKED = 60
"""Points of a curve that have a marker, at most; all others answer the cursor too."""
MARGIN = 0.05
"""What is free above and below the curves, as a share of their range."""


class _Curve(NamedTuple):
    """One line: what it is called, and where a click on it leads beside its step."""

    name: str
    values: Float[np.ndarray, "step"]
    colour: str
    dash: str
    place: tuple[int, ...]


def draw(
    result: Steps,
    *,
    layer: int | None = None,
    limits: looks.Limits | None = None,
    width_in: float | None = None,
) -> Figure:
    """A curve of each layer, the mean over its heads; or a curve of each head of one layer.

    limits: ends of the axis, to give two figures the same scale.
    width_in: of the sheet, in inches.
    """
    sheet, curves = width_in or WIDTH_IN, list(_curves(result, layer))
    width = sheet - LEFT_IN - (BAR_IN if layer is None else RIGHT_IN)
    height = float(np.clip(0.5 * width, *HEIGHT_IN))
    uniform = uniform_of(result)
    line = {"uniform": uniform is not None}
    columns = attention_distance.legend_columns(len(curves), width, **line)
    top = TOP_IN
    if layer is not None:
        rows = attention_distance.legend_rows(len(curves), columns, **line)
        top += 0.06 + attention_distance.LEGEND_ROW_IN * (rows - 1)
    figure = print_sheet.page(sheet, top + height + BELOW_IN)
    axes = print_sheet.place(figure, left=LEFT_IN, top=top, width=width, height=height)
    for curve in curves:
        axes.plot(
            result.step,
            curve.values,
            color=curve.colour,
            linestyle=looks.DASHES[curve.dash],
            linewidth=1.0,
            marker="o" if len(result.step) <= MARKED else "",
            markersize=2.4,
            label=curve.name,
        )
    if uniform is not None:
        attention_distance.draw_uniform(axes, uniform)
    axes.set(xlim=_ends(result), ylim=limits or limits_of(result, layer=layer))
    longest = f"{result.step[-1]:,}"
    spaces = max(1, min(8, int(width / (print_sheet.text_width(longest, 7) / 72 + 0.2))))
    axes.xaxis.set_major_locator(MaxNLocator(spaces, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: looks.number(step, ",.0f")))
    name = STATISTICS[result.statistic].title
    folded = print_sheet.folded_at(name, height, print_sheet.TEXT_PT)
    print_sheet.label(axes, x=STEP, y=folded)
    if layer is None:
        bar = print_sheet.place(
            figure, left=LEFT_IN + width + 0.1, top=top, width=0.08, height=height
        )
        ticks = MaxNLocator(8, integer=True)
        print_sheet.colour_bar(bar, DEPTH_MAP, _depths(result), name=LAYER, ticks=ticks)
    else:
        attention_distance.draw_legend(axes, heads=len(curves), columns=columns)
    print_sheet.write_title(figure, _title(result, layer))
    foot = float(figure.get_size_inches()[1])
    print_sheet.write_foot(figure, _words(result, layer), top=foot)
    return figure


def plot(
    result: Steps,
    *,
    layer: int | None = None,
    limits: looks.Limits | None = None,
    width: int = screen_sheet.SCREEN_PX,
) -> go.Figure:
    """The same; a point tells its step and value, customdata begins with (step, layer) or with
    (step, layer, head).

    limits: ends of the axis, to give two figures the same scale.
    width: px of the place that the figure is shown in.
    """
    above = BAR_PX if layer is None else 0
    title, words = _title(result, layer), _words(result, layer)
    wide = max(width, screen_sheet.SCREEN_PX)
    figure = screen_sheet.screen(title, words, height=SCREEN_PX + above, above=above, width=wide)
    for curve in _curves(result, layer):
        figure.add_scatter(
            x=result.step,
            y=curve.values,
            mode="lines+markers",
            line={"color": curve.colour, "width": 2, "dash": curve.dash},
            marker={"color": curve.colour, "size": 6, "maxdisplayed": MARKED},
            name=curve.name,
            showlegend=layer is not None,
            customdata=_picked(result, curve),
            hovertemplate=_hover(result, curve),
        )
    if (uniform := uniform_of(result)) is not None:
        figure.add_scatter(
            x=_ends(result),
            y=[uniform, uniform],
            mode="lines",
            line={"color": looks.QUIET, "width": 1, "dash": "dash"},
            name=UNIFORM,
            showlegend=layer is not None,
            hoverinfo="skip",
        )
    if layer is None:
        low, high = _depths(result)
        bar = screen_sheet.screen_colour_bar(LAYER, nticks=8, tickformat="d")
        scale = {"colorscale": looks.colour_scale(DEPTH_MAP), "cmin": low, "cmax": high}
        marker = {"color": [low], "showscale": True, "colorbar": bar, **scale}
        figure.add_scatter(
            x=[None], y=[None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip"
        )
    ends = limits or limits_of(result, layer=layer)
    figure.update_layout(
        xaxis=screen_sheet.screen_axis(range=_ends(result), tickformat=",d"),
        yaxis=screen_sheet.screen_axis(STATISTICS[result.statistic].title, range=ends),
        showlegend=layer is not None,
    )
    figure.update_layout(legend=screen_sheet.screen_legend(figure))
    return screen_sheet.name_below(figure, STEP)


def limits_of(result: Steps, *, layer: int | None = None) -> looks.Limits:
    """The ends of the axis: all curves, and the line of uniform attention."""
    values = [each.values for each in _curves(result, layer)]
    if (uniform := uniform_of(result)) is not None:
        values.append(np.array([uniform]))
    low, high = min(float(each.min()) for each in values), max(float(each.max()) for each in values)
    free = MARGIN * (high - low) or 0.5
    return max(0.0, low - free), high + free


def _curves(result: Steps, layer: int | None) -> Iterator[_Curve]:
    """The layers, or the heads of one layer."""
    _, layers, heads = result.mean.shape
    if layer is None:
        low, high = _depths(result)
        for each in range(layers):
            colour = to_hex(DEPTH_MAP((each - low) / (high - low)))
            yield _Curve(f"Layer {each}", result.layer_mean[:, each], colour, "solid", (each,))
        return
    layer = one_of(layer, layers, "layer")
    for head in range(heads):
        turn = head // len(looks.HEAD_COLOURS)
        dash = looks.line_dash(turn - 1) if turn else "solid"
        values, name = result.mean[:, layer, head], looks.head_name(head)
        yield _Curve(name, values, looks.head_colour(head), dash, (layer, head))


def _depths(result: Steps) -> looks.Limits:
    """The ends of the colours of layers."""
    return 0.0, float(max(1, result.mean.shape[1] - 1))


def _ends(result: Steps) -> looks.Limits:
    """The ends of the axis of steps."""
    first, last = result.step[0], result.step[-1]
    free = 0.02 * (last - first) or 0.5
    return float(first - free), float(last + free)


def _picked(result: Steps, curve: _Curve) -> list[list[Any]]:
    """What is known of each point: its step and place, and how the heads of a layer differ."""
    found = [[step, *curve.place] for step in result.step.tolist()]
    if len(curve.place) > 1:
        return found
    spread = result.layer_std[:, curve.place[0]].tolist()
    return [[*each, float(f"{std:.4g}")] for each, std in zip(found, spread, strict=True)]


def _hover(result: Steps, curve: _Curve) -> str:
    words = STATISTICS[result.statistic].words
    value = words.replace("{:", "%{y:")
    if len(curve.place) > 1:
        name, spread = looks.place_name(*curve.place), ""
    else:
        found = re.search("{:(.*?)}", words)
        form = found[1] if found else ""
        name = curve.name
        spread = (
            f", mean over {result.mean.shape[2]} heads"
            f"<br>Standard deviation of the heads %{{customdata[2]:{form}}}"
        )
    return f"<b>{name}</b>, step %{{x:,d}}<br>{value}{spread}<extra></extra>"


def _title(result: Steps, layer: int | None) -> str:
    where = "" if layer is None else f", layer {layer}"
    return f"{STATISTICS[result.statistic].name} in training{where}: {result.model}"


def _words(result: Steps, layer: int | None) -> str:
    """What a curve is, and what the statistic measures."""
    statistic, heads = STATISTICS[result.statistic], result.mean.shape[2]
    over = "one picture" if result.count == 1 else f"the same {result.count:,} pictures"
    if layer is None:
        curves = f"Each curve is one layer: the mean of its {heads} heads over {over}."
        if heads == 1:
            curves = f"Each curve is the only head of one layer, over {over}."
    else:
        curves = f"Each curve is one head of layer {layer}, the mean over {over}."
        if heads > (colours := len(looks.HEAD_COLOURS)):
            curves += f" From head {colours} on colours repeat, and lines are broken."
    line = " The dashed line is uniform attention." if uniform_of(result) is not None else ""
    count = len(result.step)
    steps = "One step was surveyed" if count == 1 else f"{count:,} steps were surveyed"
    measured = statistic.meaning[0].lower() + statistic.meaning[1:]
    return (
        f"{curves} {steps}.{line}\n"
        f"{statistic.title}: {measured} Special tokens: {special_names(result.layout)}."
    )


FIGURE = FigureSpec(
    record=Steps,
    slug="steps",
    title="Over training",
    question="How do the heads change while the network is trained?",
    reading="Each curve is one layer over the steps of the training: the mean over its heads and "
    "over the pictures. Curves that part show layers that take different roles; a curve that stays "
    "flat shows a layer that does not change in this respect. Of one layer, each curve is a head.",
    caveat="The mean over the heads of a layer hides heads that move in opposite directions: look "
    "at its heads. Nothing is known between two points. The axis need not begin at 0. A curve "
    "tells that heads change, not why, and not whether the network gets better.",
    formula="mean over the pictures, and over the heads of a layer, of the mean over the queries "
    "of a picture",
    source=f"vit_inspect; statistics as in their own figure, distance after {VIT_PAPER}, Figure 7",
    draw=draw,
    plot=plot,
    limits=limits_of,
)
