"""How far does each head attend, layer by layer? (ViT paper 2010.11929, Fig. 7 right, Fig. 11)"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.records.names import special_names
from vit_inspect.records.paper import AttentionDistance

DEPTH, DISTANCE = "Network depth (layer)", "Mean attention distance (pixels)"
NAMED_HEADS = 3
"""Those that the legend names where it has no room for all."""
LEGEND_ENTRY_IN, LEGEND_ROW_IN = 0.56, 0.14
"""The usual width of a name in the legend, and the height of one row."""


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
    columns = max(NAMED_HEADS + 2, int((width + 0.25) / LEGEND_ENTRY_IN))
    top = 0.4 + LEGEND_ROW_IN * (_legend_rows(heads, columns) - 1)
    below = top + 0.1 + height
    figure = print_sheet.page(width_in, below + 1.25)
    place = {"left": 0.55, "width": width}
    main = print_sheet.place(figure, top=top, height=height, **place)
    slim = print_sheet.place(figure, top=below, height=0.55, **place)
    low, high = limits or limits_of(result)
    draw_panel(main, result, (low, high))
    _draw_heads(slim, result.prefix_mass.mean(axis=0))
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
    slim.set(ylim=(-0.05, 1.05), yticks=(0, 0.5, 1))
    print_sheet.label(slim, x=DEPTH, y="On special\ntokens")
    print_sheet.write_caption(figure, _caption(result), top=below + 0.95)
    print_sheet.write_title_over(figure, result.model, over=main)
    return figure


def draw_panel(axes: Axes, result: AttentionDistance, limits: looks.Limits) -> None:
    """One dot per head, and a line for uniform attention; `limits` are the axis' ends in px."""
    _draw_heads(axes, result.distance_px.mean(axis=0))
    axes.axhline(
        result.layout.uniform_distance_px(),
        color=looks.QUIET,
        linewidth=0.8,
        linestyle=(0, (4, 3)),
        zorder=1,
        label="Uniform",
    )
    axes.set_ylim(*limits)


def plot(result: AttentionDistance, *, limits: looks.Limits | None = None) -> go.Figure:
    """The same; each dot shows its layer, head, distance, spread and mass on special tokens.

    limits: ends of the distance axis in px, to give two figures the same axis.
    """
    figure = screen_sheet.screen(result.model, _caption(result), height=640)
    distance, mass = result.distance_px.mean(axis=0), result.prefix_mass.mean(axis=0)
    spread = result.distance_px.std(axis=0)
    images, layers, heads = result.distance_px.shape
    for head in range(heads):
        hover = [
            f"<b>{looks.place_name(layer, head)}</b>"
            f"<br>{distance[layer, head]:.1f} px, "
            f"{distance[layer, head] / result.layout.diagonal_px:.1%} of the diagonal"
            + (f"<br>± {spread[layer, head]:.1f} px over the images" if images > 1 else "")
            + f"<br>{mass[layer, head]:.1%} on special tokens"
            for layer in range(layers)
        ]
        for values, y_axis in ((distance, "y"), (mass, "y2")):
            figure.add_scatter(
                x=np.arange(layers),
                y=values[:, head],
                xaxis="x",
                yaxis=y_axis,
                mode="markers",
                marker={"color": looks.head_colour(head), "size": 7},
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
        yaxis=screen_sheet.screen_axis(
            distance_title(result), range=limits or limits_of(result), domain=(0.3, 1)
        ),
        yaxis2=screen_sheet.screen_axis("On special tokens", range=[-0.05, 1.05], domain=(0, 0.22)),
    )
    figure.update_xaxes(tickmode="auto" if layers > 1 else "array", tickvals=np.arange(layers))
    return figure


def _draw_heads(axes: Axes, values: np.ndarray) -> None:
    layers, heads = values.shape
    for head in range(heads):
        axes.scatter(
            np.arange(layers),
            values[:, head],
            s=7,
            color=looks.head_colour(head),
            linewidths=0,
            label=looks.head_name(head),
            clip_on=False,
            zorder=2,
        )
    axes.set_xlim(-0.6, layers - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))


def _legend_entries(heads: int, columns: int) -> list[int]:
    """Heads that the legend has a dot for: all in two rows, or one more than it names."""
    return list(range(heads if heads + 1 <= 2 * columns else NAMED_HEADS + 1))


def _legend_rows(heads: int, columns: int) -> int:
    """Rows of the legend, with the line for uniform attention."""
    return -(-(len(_legend_entries(heads, columns)) + 1) // columns)


def draw_legend(axes: Axes, *, heads: int, columns: int, **place: Any) -> None:
    """All heads by name in two rows at most; else as in the paper, three and a dot for the others.

    columns: names side by side for which there is room.
    place: matplotlib's words for it; above the axes if not given: inside, it would hide dots.
    """
    handles, labels = axes.get_legend_handles_labels()
    named = [*_legend_entries(heads, columns), len(handles) - 1]
    words = [labels[index] for index in named]
    if len(named) <= heads:
        words[NAMED_HEADS] = "..."
    axes.legend(
        [handles[index] for index in named],
        words,
        fontsize=print_sheet.TEXT_PT,
        **({"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)} | place),
        ncols=-(-len(words) // _legend_rows(heads, columns)),
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
    "balance.",
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
