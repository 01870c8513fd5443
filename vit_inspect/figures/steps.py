"""How does one statistic of the heads change while a network is trained? A curve over the steps.

`draw_curves` and `plot_curves` show other numbers over the steps, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int
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


class Curve(NamedTuple):
    """One line: what it is called, what a click on each point leads to, and what a point tells."""

    name: str
    values: Float[np.ndarray, "step"]
    colour: str
    dash: str
    picked: list[list[Any]]
    hover: str


class Curves(NamedTuple):
    """What is shown over the steps.

    axis: the name of the values; layers: of the colour bar, where each curve is a layer, else "".
    share: whether the values are shares. uniform: where a line tells it.
    """

    title: str
    words: str
    axis: str
    layers: str
    step: Int[np.ndarray, "step"]
    lines: list[Curve]
    share: bool = False
    uniform: float | None = None

    def limits(self) -> looks.Limits:
        """The ends of the axis: all curves, and the line of uniform attention."""
        values = [each.values for each in self.lines]
        if self.uniform is not None:
            values.append(np.array([self.uniform]))
        low, high = (
            min(float(each.min()) for each in values),
            max(float(each.max()) for each in values),
        )
        free = MARGIN * (high - low) or 0.5
        return (low - free if low < 0 else max(0.0, low - free)), high + free


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
    return draw_curves(_curves(result, layer), limits, width_in)


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
    return plot_curves(_curves(result, layer), limits, width)


def limits_of(result: Steps, *, layer: int | None = None) -> looks.Limits:
    """The ends of the axis: all curves, and the line of uniform attention."""
    return _curves(result, layer).limits()


def draw_curves(shown: Curves, limits: looks.Limits | None, width_in: float | None) -> Figure:
    """The curves in print."""
    sheet, curves, of_layers = width_in or WIDTH_IN, shown.lines, bool(shown.layers)
    width = sheet - LEFT_IN - (BAR_IN if of_layers else RIGHT_IN)
    height = float(np.clip(0.5 * width, *HEIGHT_IN))
    line = {"uniform": shown.uniform is not None}
    columns = attention_distance.legend_columns(len(curves), width, **line)
    top = TOP_IN
    if not of_layers:
        rows = attention_distance.legend_rows(len(curves), columns, **line)
        top += 0.06 + attention_distance.LEGEND_ROW_IN * (rows - 1)
    figure = print_sheet.page(sheet, top + height + BELOW_IN)
    axes = print_sheet.place(figure, left=LEFT_IN, top=top, width=width, height=height)
    for curve in curves:
        axes.plot(
            shown.step,
            curve.values,
            color=curve.colour,
            linestyle=looks.DASHES[curve.dash],
            linewidth=1.0,
            marker="o" if len(shown.step) <= MARKED else "",
            markersize=2.4,
            label=curve.name,
        )
    if shown.uniform is not None:
        attention_distance.draw_uniform(axes, shown.uniform)
    axes.set(xlim=_ends(shown.step), ylim=limits or shown.limits())
    longest = f"{shown.step[-1]:,}"
    spaces = max(1, min(8, int(width / (print_sheet.text_width(longest, 7) / 72 + 0.2))))
    axes.xaxis.set_major_locator(MaxNLocator(spaces, integer=True, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: looks.number(step, ",.0f")))
    if shown.share:
        axes.yaxis.set_major_formatter(print_sheet.percent_ticks())
    folded = print_sheet.folded_at(shown.axis, height, print_sheet.TEXT_PT)
    print_sheet.label(axes, x=STEP, y=folded)
    if of_layers:
        bar = print_sheet.place(
            figure, left=LEFT_IN + width + 0.1, top=top, width=0.08, height=height
        )
        ticks = MaxNLocator(8, integer=True)
        depths = _depths(len(curves))
        print_sheet.colour_bar(bar, DEPTH_MAP, depths, name=shown.layers, ticks=ticks)
    else:
        attention_distance.draw_legend(axes, heads=len(curves), columns=columns)
    print_sheet.write_title(figure, shown.title)
    foot = float(figure.get_size_inches()[1])
    print_sheet.write_foot(figure, shown.words, top=foot)
    return figure


def plot_curves(shown: Curves, limits: looks.Limits | None, width: int) -> go.Figure:
    """The same on a screen."""
    of_layers, ends = bool(shown.layers), _ends(shown.step)
    above = BAR_PX if of_layers else 0
    wide = max(width, screen_sheet.SCREEN_PX)
    figure = screen_sheet.screen(
        shown.title, shown.words, height=SCREEN_PX + above, above=above, width=wide
    )
    for curve in shown.lines:
        figure.add_scatter(
            x=shown.step,
            y=curve.values,
            mode="lines+markers",
            line={"color": curve.colour, "width": 2, "dash": curve.dash},
            marker={"color": curve.colour, "size": 6, "maxdisplayed": MARKED},
            name=curve.name,
            showlegend=not of_layers,
            customdata=curve.picked,
            hovertemplate=curve.hover,
        )
    if shown.uniform is not None:
        figure.add_scatter(
            x=ends,
            y=[shown.uniform, shown.uniform],
            mode="lines",
            line={"color": looks.QUIET, "width": 1, "dash": "dash"},
            name=UNIFORM,
            showlegend=not of_layers,
            hoverinfo="skip",
        )
    if of_layers:
        low, high = _depths(len(shown.lines))
        bar = screen_sheet.screen_colour_bar(shown.layers, nticks=8, tickformat="d")
        scale = {"colorscale": looks.colour_scale(DEPTH_MAP), "cmin": low, "cmax": high}
        marker = {"color": [low], "showscale": True, "colorbar": bar, **scale}
        figure.add_scatter(
            x=[None], y=[None], mode="markers", marker=marker, showlegend=False, hoverinfo="skip"
        )
    percent = {"tickformat": ".3~p"} if shown.share else {}
    figure.update_layout(
        xaxis=screen_sheet.screen_axis(range=ends, tickformat=",d"),
        yaxis=screen_sheet.screen_axis(shown.axis, range=limits or shown.limits(), **percent),
        showlegend=not of_layers,
    )
    figure.update_layout(legend=screen_sheet.screen_legend(figure))
    return screen_sheet.name_below(figure, STEP)


def depth_colour(layer: int, layers: int) -> str:
    """The colour of the curve of a layer."""
    low, high = _depths(layers)
    return to_hex(DEPTH_MAP((layer - low) / (high - low)))


def counted(step: Int[np.ndarray, "step"]) -> str:
    """How many steps there are, in words."""
    return "One step was surveyed" if len(step) == 1 else f"{len(step):,} steps were surveyed"


def over(count: int) -> str:
    """Of which pictures the numbers are, in words."""
    return "one picture" if count == 1 else f"the same {count:,} pictures"


def _curves(result: Steps, layer: int | None) -> Curves:
    """The layers, or the heads of one layer."""
    lines = _of_layers(result) if layer is None else _of_heads(result, layer)
    return Curves(
        _title(result, layer),
        _words(result, layer),
        STATISTICS[result.statistic].title,
        LAYER if layer is None else "",
        result.step,
        list(lines),
        uniform=uniform_of(result),
    )


def _of_layers(result: Steps) -> Iterator[Curve]:
    _, layers, heads = result.mean.shape
    words = STATISTICS[result.statistic].words
    found = re.search("{:(.*?)}", words)
    form = found[1] if found else ""
    for layer in range(layers):
        spread = result.layer_std[:, layer].tolist()
        picked = [
            [step, layer, float(f"{std:.4g}")]
            for step, std in zip(result.step.tolist(), spread, strict=True)
        ]
        told = (
            f"{words.replace('{:', '%{y:')}, mean over {heads} heads"
            f"<br>Standard deviation of the heads: %{{customdata[2]:{form}}}"
        )
        name, colour = f"Layer {layer}", depth_colour(layer, layers)
        values = result.layer_mean[:, layer]
        yield Curve(name, values, colour, "solid", picked, hover(name, told))


def _of_heads(result: Steps, layer: int) -> Iterator[Curve]:
    _, layers, heads = result.mean.shape
    layer = one_of(layer, layers, "layer")
    told = STATISTICS[result.statistic].words.replace("{:", "%{y:")
    for head in range(heads):
        turn = head // len(looks.HEAD_COLOURS)
        yield Curve(
            looks.head_name(head),
            result.mean[:, layer, head],
            looks.head_colour(head),
            looks.line_dash(turn - 1) if turn else "solid",
            [[step, layer, head] for step in result.step.tolist()],
            hover(looks.place_name(layer, head), told),
        )


def hover(name: str, told: str) -> str:
    """What a point tells."""
    return f"<b>{name}</b>, step %{{x:,d}}<br>{told}<extra></extra>"


def _depths(layers: int) -> looks.Limits:
    """The ends of the colours of layers."""
    return 0.0, float(max(1, layers - 1))


def _ends(step: Int[np.ndarray, "step"]) -> looks.Limits:
    """The ends of the axis of steps."""
    first, last = step[0], step[-1]
    free = 0.02 * (last - first) or 0.5
    return float(first - free), float(last + free)


def _title(result: Steps, layer: int | None) -> str:
    where = "" if layer is None else f", layer {layer}"
    return f"{STATISTICS[result.statistic].name} in training{where}: {result.model}"


def _words(result: Steps, layer: int | None) -> str:
    """What a curve is, and what the statistic measures."""
    statistic, heads = STATISTICS[result.statistic], result.mean.shape[2]
    pictures = over(result.count)
    if layer is None:
        curves = f"Each curve is one layer: the mean of its {heads} heads over {pictures}."
        if heads == 1:
            curves = f"Each curve is the only head of one layer, over {pictures}."
    else:
        curves = f"Each curve is one head of layer {layer}, the mean over {pictures}."
        if heads > (colours := len(looks.HEAD_COLOURS)):
            curves += f" From head {colours} on colours repeat, and lines are broken."
    line = " The dashed line is uniform attention." if uniform_of(result) is not None else ""
    measured = statistic.meaning[0].lower() + statistic.meaning[1:]
    return (
        f"{curves} {counted(result.step)}.{line}\n"
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
