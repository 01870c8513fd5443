"""In which layers do pictures have artefacts? Their share over depth, and how many they have."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.attention_distance import DEPTH
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.records.survey import ArtefactRate

TITLE = "Artefact rate over depth"
SHARE, NUMBER = "Pictures with\nartefacts", "Artefacts per\npicture"
LINE = looks.HEAD_COLOURS[0]
LEFT_IN, RIGHT_IN, TOP_IN, PANEL_IN, GAP_IN, BELOW_IN = 0.72, 0.12, 0.32, 0.95, 0.14, 0.42
DRAWN_PX, UPPER, LOWER = 400, (0.55, 1.0), (0.0, 0.45)
DOT_PT, DOT_PX = 3.5, 7
ENDS = 0.5
"""What is free before the first layer and after the last one, in layers."""


def draw(result: ArtefactRate, *, width_in: float | None = None) -> Figure:
    """The share of pictures with artefacts, and below it their mean number.

    width_in: of the sheet, in inches.
    """
    sheet = width_in or print_sheet.COLUMN_IN
    figure = print_sheet.page(sheet, TOP_IN + 2 * PANEL_IN + GAP_IN + BELOW_IN)
    layers = np.arange(len(result.share))
    for place, (values, name, top) in enumerate(_panels(result)):
        axes = print_sheet.place(
            figure,
            left=LEFT_IN,
            top=TOP_IN + place * (PANEL_IN + GAP_IN),
            width=sheet - LEFT_IN - RIGHT_IN,
            height=PANEL_IN,
        )
        axes.plot(
            layers, values, color=LINE, linewidth=1, marker="o", markersize=DOT_PT, clip_on=False
        )
        axes.set(xlim=(-ENDS, len(layers) - 1 + ENDS), ylim=(0, top))
        axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
        axes.yaxis.set_major_locator(print_sheet.round_ticks(3))
        if place == 0:
            axes.yaxis.set_major_formatter(print_sheet.percent_ticks())
            axes.tick_params(labelbottom=False)
        print_sheet.label(axes, x=DEPTH if place else "", y=name)
    print_sheet.write_title(figure, _title(result))
    print_sheet.write_foot(figure, _words(result), top=float(figure.get_size_inches()[1]))
    return figure


def plot(result: ArtefactRate, *, width: int = screen_sheet.SCREEN_PX) -> go.Figure:
    """The same; a dot tells the numbers of its layer.

    width: px of the place that the figure is shown in.
    """
    figure = screen_sheet.screen(_title(result), _words(result), height=DRAWN_PX, width=width)
    margin = figure.layout.margin
    figure.update_layout(height=margin.t + DRAWN_PX + margin.b)
    layers = list(range(len(result.share)))
    hover = [_hover(result, layer) for layer in layers]
    names: list[dict[str, Any]] = []
    for place, (values, name, top) in enumerate(_panels(result)):
        figure.add_scatter(
            x=layers,
            y=values.tolist(),
            mode="lines+markers",
            line={"color": LINE, "width": 1.5},
            marker={"color": LINE, "size": DOT_PX},
            cliponaxis=False,
            yaxis=("y", "y2")[place],
            text=hover,
            hovertemplate="%{text}<extra></extra>",
        )
        names.append({"title": name.replace("\n", " "), "range": [0, top], "nticks": 4})
    along: dict[str, Any] = {"range": [-ENDS, len(layers) - 1 + ENDS], "anchor": "y2"}
    if len(layers) == 1:
        along["tickvals"] = layers
    return figure.update_layout(
        showlegend=False,
        xaxis=screen_sheet.screen_axis(DEPTH, **along),
        yaxis=screen_sheet.screen_axis(**names[0], domain=UPPER, tickformat=".3~p"),
        yaxis2=screen_sheet.screen_axis(**names[1], domain=LOWER),
    )


def _panels(result: ArtefactRate) -> list[tuple[np.ndarray, str, float]]:
    """The numbers of each panel, its name and the end of its axis."""
    panels = (result.share, SHARE), (result.mean, NUMBER)
    return [(values, name, 1.05 * (float(values.max()) or 1.0)) for values, name in panels]


def _title(result: ArtefactRate) -> str:
    return f"{TITLE}: {result.model}"


def _words(result: ArtefactRate) -> str:
    count = "One picture" if result.count == 1 else f"{result.count:,} pictures"
    patches = f"{count} of {result.over}, {result.layout.patch_count:,} patches in each."
    if not result.share.any():
        return f"{patches}\nNo artefact in any layer."
    most = int(result.share.argmax())
    return f"{patches}\nMost in layer {most}: {looks.percent(result.share[most])} of the pictures."


def _hover(result: ArtefactRate, layer: int) -> str:
    mean, most = looks.number(result.mean[layer], ".3g"), result.maximum[layer]
    return (
        f"<b>Layer {layer}</b><br>{looks.percent(result.share[layer])} of the pictures have "
        f"artefacts<br>{mean} per picture, at most {most:,}"
    )


FIGURE = FigureSpec(
    record=ArtefactRate,
    slug="artefact_rate",
    title=TITLE,
    question="From which layer on do pictures have tokens with norms far above all others?",
    reading="Above is the share of pictures that have an artefact in a layer: a patch whose token, "
    "as the block returns it, is far longer than those of all other patches. Below is how many a "
    "picture has, in the mean over all pictures. A step is the layer where they appear.",
    caveat="Each picture and layer is judged by itself, and where no gap separates long tokens "
    "from others there is no artefact: a rate of 0 does not mean that all norms are alike.",
    formula="patches above the crossing of two normal distributions of ln |token|, where these "
    "pass the tests of token norms",
    source="Darcet et al., Vision Transformers Need Registers, arXiv 2309.16588",
    draw=draw,
    plot=plot,
)
