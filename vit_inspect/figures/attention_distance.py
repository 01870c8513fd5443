"""How far does each head attend, layer by layer? (ViT paper 2010.11929, Fig. 7 right, Fig. 11)"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.records.names import special_names
from vit_inspect.records.paper import AttentionDistance

DEPTH, DISTANCE = "Network depth (layer)", "Mean attention distance (pixels)"
UNIFORM, SHARES = "Uniform", (-0.05, 1.05)
"""The line's name, and the ends of the axis of shares."""
LEGEND_ROW_IN, ENTRY_IN, LETTER_IN = 0.14, 0.225, 0.062
"""Height of a row of the legend, and width of an entry but for its name, and of a letter of it."""
DOT_PT, DOT_PX, DOT_OPACITY = 2.6, 7, 0.75
"""Width of a dot in print and on a screen, and how much it hides of what is behind it."""
ROOM = 0.38
"""How far beside its layer a dot may stand, as a share of the way to the next one."""
DRAWN_PX, PARTS = (632, 412), ((0.3, 1), (0, 0.22))
"""Width and height of the drawing on a usual screen, and the parts of it from below: distances, and
shares on special tokens."""


def draw(
    result: AttentionDistance,
    *,
    limits: looks.Limits | None = None,
    width_in: float | None = None,
) -> Figure:
    """One dot per head; below, the share of its attention that falls on special tokens.

    limits: ends of the distance axis in px, to give two figures the same axis.
    width_in: of the sheet, in inches.
    """
    width_in = width_in or print_sheet.COLUMN_IN
    width = width_in - 1.03
    # On a page half as high as wide.
    height = max(2.15, 0.5 * width)
    heads = result.distance_px.shape[2]
    columns = legend_columns(heads, width + 0.25)
    top = 0.4 + LEGEND_ROW_IN * (legend_rows(heads, columns) - 1)
    below = top + 0.1 + height
    figure = print_sheet.page(width_in, below + 1.25)
    place = {"left": 0.55, "width": width}
    main = print_sheet.place(figure, top=top, height=height, **place)
    slim = print_sheet.place(figure, top=below, height=0.55, **place)
    low, high = limits or limits_of(result)
    draw_panel(main, result, (low, high))
    _draw_heads(slim, result.prefix_mass.mean(axis=0), SHARES)
    main.tick_params(labelbottom=False)
    percent = print_sheet.place(figure, top=top, height=height, **place)
    diagonal = result.layout.diagonal_px
    percent.set(xticks=[], ylim=(100 * low / diagonal, 100 * high / diagonal))
    percent.yaxis.tick_right()
    percent.yaxis.set_label_position("right")
    percent.spines[:].set_visible(False)
    print_sheet.label(percent, y="% of the image diagonal")
    percent.yaxis.labelpad = 4
    draw_legend(main, heads=heads, columns=columns)
    print_sheet.label(main, y=distance_title(result))
    slim.set(yticks=(0, 0.5, 1))
    print_sheet.label(slim, x=DEPTH, y="On special\ntokens")
    print_sheet.write_caption(figure, _caption(result), top=below + 0.95)
    print_sheet.write_title_over(figure, result.model, over=main)
    return figure


def draw_panel(axes: Axes, result: AttentionDistance, limits: looks.Limits) -> None:
    """One dot per head, and a line for uniform attention; `limits` are the axis' ends in px."""
    _draw_heads(axes, result.distance_px.mean(axis=0), limits)
    draw_uniform(axes, result.layout.uniform_distance_px())


def draw_uniform(axes: Axes, value: float) -> None:
    """A line at the value of a head that attends to all tokens alike."""
    axes.axhline(
        value,
        color=looks.QUIET,
        linewidth=0.8,
        linestyle=(0, (4, 3)),
        zorder=1,
        label=UNIFORM,
    )


def plot(result: AttentionDistance, *, limits: looks.Limits | None = None) -> go.Figure:
    """The same; each dot shows its layer, head, distance, spread and mass on special tokens.

    limits: ends of the distance axis in px, to give two figures the same axis.
    """
    figure = screen_sheet.screen(result.model, _caption(result), height=640)
    distance, mass = result.distance_px.mean(axis=0), result.prefix_mass.mean(axis=0)
    spread = result.distance_px.std(axis=0)
    images, layers, heads = result.distance_px.shape
    ends = limits or limits_of(result)
    asides = [
        _aside(values, scale, DRAWN_PX[1] * (high - low), DRAWN_PX[0], DOT_PX)
        for values, scale, (low, high) in zip((distance, mass), (ends, SHARES), PARTS, strict=True)
    ]
    for head in range(heads):
        hover = [
            f"<b>{looks.place_name(layer, head)}</b>"
            f"<br>{distance[layer, head]:.1f} px, "
            f"{distance[layer, head] / result.layout.diagonal_px:.1%} of the diagonal"
            + (f"<br>± {spread[layer, head]:.1f} px over the images" if images > 1 else "")
            + f"<br>{mass[layer, head]:.1%} on special tokens"
            for layer in range(layers)
        ]
        for values, aside, y_axis in zip((distance, mass), asides, ("y", "y2"), strict=True):
            figure.add_scatter(
                x=np.arange(layers) + aside[:, head],
                y=values[:, head],
                xaxis="x",
                yaxis=y_axis,
                mode="markers",
                marker={"color": looks.head_colour(head), "size": DOT_PX, "opacity": DOT_OPACITY},
                name=looks.head_name(head),
                legendgroup=looks.head_name(head),
                showlegend=y_axis == "y",
                text=hover,
                customdata=[[layer, head] for layer in range(layers)],
                hovertemplate="%{text}<extra></extra>",
            )
    uniform = result.layout.uniform_distance_px()
    figure.add_scatter(
        x=[-0.6, layers - 0.4],
        y=[uniform, uniform],
        mode="lines",
        line={"color": looks.QUIET, "width": 1, "dash": "dash"},
        name=f"Uniform, {uniform:.0f} px",
        hoverinfo="skip",
    )
    figure.update_layout(
        showlegend=True,
        legend=screen_sheet.screen_legend(figure),
        xaxis=screen_sheet.screen_axis(DEPTH, range=[-0.6, layers - 0.4], anchor="y2"),
        yaxis=screen_sheet.screen_axis(distance_title(result), range=ends, domain=PARTS[0]),
        yaxis2=screen_sheet.screen_axis("On special tokens", range=SHARES, domain=PARTS[1]),
    )
    figure.update_xaxes(tickmode="auto" if layers > 1 else "array", tickvals=np.arange(layers))
    return figure


def _draw_heads(axes: Axes, values: Float[np.ndarray, "layer head"], limits: looks.Limits) -> None:
    layers, heads = values.shape
    width, height = (72 * side for side in print_sheet.size_in(axes))
    aside = _aside(values, limits, height, width, DOT_PT)
    for head in range(heads):
        axes.scatter(
            np.arange(layers) + aside[:, head],
            values[:, head],
            s=DOT_PT**2,
            color=looks.head_colour(head),
            alpha=DOT_OPACITY,
            linewidths=0,
            label=looks.head_name(head),
            clip_on=False,
            zorder=2,
        )
    axes.set(xlim=(-0.6, layers - 0.4), ylim=limits)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))


def _aside(
    values: Float[np.ndarray, "layer head"],
    limits: looks.Limits,
    height: float,
    width: float,
    dot: float,
) -> Float[np.ndarray, "layer head"]:
    """How far each dot stands beside its layer, in layers, so that dots do not hide each other.

    Of dots with nearly equal values each stands at the free place that is nearest to the middle.
    height, width: of the drawing, and dot: of a dot, in one unit.
    """
    layers, heads = values.shape
    near = dot * (limits[1] - limits[0]) / height
    widest = dot * (layers + 0.2) / width
    places, middle_first = np.zeros((layers, heads), int), sorted(range(-heads, heads), key=abs)
    for row, own in zip(values, places, strict=True):
        order = row.argsort(kind="stable")
        for rank, head in enumerate(order):
            taken = {own[other] for other in order[:rank] if row[head] - row[other] < near}
            own[head] = next(each for each in middle_first if each not in taken)
    # Where many dots share what is free, they overlap.
    reach = np.abs(places).max(axis=1, keepdims=True)
    aside: Float[np.ndarray, "layer head"] = places * np.minimum(
        widest, ROOM / np.maximum(reach, 1)
    )
    return aside


def _legend_names(heads: int) -> list[str]:
    """What the legend calls each colour: its heads, three at most, and the first with the word."""
    colours = len(looks.HEAD_COLOURS)
    names = []
    for first in range(min(heads, colours)):
        own = list(map(str, range(first, heads, colours)))
        names.append(", ".join(own if len(own) <= 3 else [*own[:2], "…"]))
    return [f"Head{'s' if ',' in names[0] else ''} {names[0]}", *names[1:]]


def legend_columns(heads: int, width_in: float, *, uniform: bool = True) -> int:
    """How many entries of the legend stand side by side in a width.

    uniform: whether there is a line for uniform attention.
    """
    names = [*_legend_names(heads), *[UNIFORM][: int(uniform)]]
    for columns in range(len(names), 1, -1):
        widest = (max(map(len, names[start::columns])) for start in range(columns))
        if sum(ENTRY_IN + LETTER_IN * letters for letters in widest) <= width_in:
            return columns
    return 1


def legend_rows(heads: int, columns: int, *, uniform: bool = True) -> int:
    """In how many rows the entries of the legend stand."""
    return -(-(len(_legend_names(heads)) + int(uniform)) // columns)


def draw_legend(axes: Axes, *, heads: int, columns: int, **place: Any) -> None:
    """The heads of each colour, and the line for uniform attention, where there is one.

    columns: names side by side, of `legend_columns`.
    place: matplotlib's words for it; above the axes if not given: inside, it would hide dots.
    """
    handles, labels = axes.get_legend_handles_labels()
    entries = list(zip(handles, _legend_names(heads), strict=False))
    if labels[-1] == UNIFORM:
        entries.append((handles[-1], UNIFORM))
    # matplotlib fills column by column; numbers are read row by row.
    entries = [each for start in range(columns) for each in entries[start::columns]]
    axes.legend(
        *zip(*entries, strict=True),
        fontsize=print_sheet.TEXT_PT,
        **({"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)} | place),
        ncols=columns,
        frameon=False,
        borderpad=0,
        borderaxespad=0.3,
        handletextpad=0.1,
        columnspacing=0.7,
        handlelength=1.5,
        labelcolor=looks.INK,
    )


def limits_of(result: AttentionDistance) -> looks.Limits:
    """The ends of the distance axis, in px."""
    return 0.0, _top_px(result)


def _top_px(result: AttentionDistance) -> float:
    highest = max(float(result.distance_px.mean(axis=0).max()), result.layout.uniform_distance_px())
    return 1.08 * highest or 1.0


def distance_title(result: AttentionDistance) -> str:
    """The name of the axis of distances."""
    return DISTANCE if result.definition == "paper" else f"{DISTANCE},\n{result.definition}"


def _caption(result: AttentionDistance) -> str:
    images = len(result.distance_px)
    over = "One image" if images == 1 else f"Mean over {images} images"
    tokens = special_names(result.layout)
    return f"{over}, {result.definition} definition.\nSpecial tokens: {tokens}."


FIGURE = FigureSpec(
    record=AttentionDistance,
    slug="attention_distance",
    title="Attention distance",
    question="How far does each head attend?",
    reading="Each dot is one head of one layer: the mean distance, in pixels, between a patch and "
    "the patches it attends to. Low dots are local heads, like small convolutions. Dots "
    "near the dashed line attend to all patches equally, or to near and far ones in "
    "balance. Dots of nearly equal values stand side by side.",
    caveat="In the paper's definition, attention to special tokens (class token, registers) "
    "counts as distance 0. A head that attends mostly to them looks local: see the lower "
    "panel. One image says little; the paper averages 128.",
    formula="d = mean over q of Σₖ A[q, k] · |centre of q − centre of k|, q and k patches",
    source=f"{VIT_PAPER}, Figures 7 right and 11, Appendix D.7",
    draw=draw,
    plot=plot,
    limits=limits_of,
    compared="distance_px",
)
