"""What is switched off, and what does the model say then? The pictures of a live test."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vit_inspect.figures import style
from vit_inspect.figures.overlay import (
    draw_map,
    draw_photograph,
    patch_box,
    plot_input,
    plot_map,
    plot_patches,
    plot_sheet,
)
from vit_inspect.results import Ablation, Photograph

CHANGE = "1 - cosine of the last block's tokens"
ENDS = (0.02, 0.1, 0.5, 1.01)
"""Where the axis of probabilities may end: few, so that it seldom jumps while parts are tried."""


def draw(result: Ablation, *, image: int = 0) -> Figure:
    """Classes before and after, and where the picture's tokens turned, as far as both are known."""
    photograph, labels = result.photographs[image], result.labels[image]
    shape = photograph.size_px[1] / photograph.size_px[0]
    height = min(2.2, 2.6 / shape)
    # Not less than the name of its colour bar needs.
    map_width = max(height * shape, 1.9) if result.patch_change.size else 0.0
    # Bars need more than a photograph that is wide.
    bars_height = max(height, 0.3 * len(labels))
    width = max(4.2, 0.1 + map_width + (4.2 if labels else 0.0))
    figure = style.page(width, 1.2 + bars_height)
    left, top = 0.05, 0.7
    if result.patch_change.size:
        values = result.patch_change[image]
        limits = 0.0, float(values.max()) or 1.0
        axes = style.place(figure, left=left, top=top, width=map_width, height=height)
        draw_photograph(axes, photograph, grey=True)
        draw_map(axes, photograph, values, limits)
        bar = style.place(
            figure, left=left + 0.1, top=top + height + 0.08, width=map_width - 0.2, height=0.08
        )
        style.colour_bar(
            bar,
            style.WEIGHT_MAP,
            limits,
            name=CHANGE,
            opacity=style.MAP_OPACITY,
            ticks=MaxNLocator(3),
            orientation="horizontal",
        )
        left += map_width + 0.35
    if labels:
        place = {"left": left + 1.75, "top": top, "width": 1.7, "height": bars_height}
        _draw_classes(style.place(figure, **place), result, image)
    off = f"without {'; '.join(result.off)}" if result.off else "nothing switched off"
    replaced = "its mean" if result.replacement == "mean" else "zeros"
    style.write_head(
        figure,
        f"{result.model}, {off}",
        f"Replaced by {replaced}. Cosine of the outputs {result.cosine[image]:.4f}, relative "
        f"change {result.relative_change[image]:.2%}.",
    )
    return figure


def _draw_classes(axes: Axes, result: Ablation, image: int) -> None:
    """Pairs of bars, the most probable class first."""
    places = np.arange(len(result.labels[image]))
    values = result.before[image], result.after[image]
    for side, (name, colour) in enumerate((("before", style.QUIET), ("after", style.ACCENT))):
        bars = axes.barh(places + 0.38 * (side - 0.5), values[side], 0.36, color=colour, label=name)
        axes.bar_label(
            bars, [f"{value:.1%}" for value in values[side]], padding=2, fontsize=style.TEXT_PT - 1
        )
    axes.set(
        yticks=places,
        yticklabels=[style.short(label) for label in result.labels[image]],
        ylim=(len(places) - 0.5, -0.5),
        xlim=(0, _end(max(map(np.max, values)))),
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    style.label(axes, x="Probability")
    axes.legend(
        fontsize=style.TEXT_PT, frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 0.98)
    )


def _end(largest: float) -> float:
    """Where the axis of probabilities ends."""
    return next(end for end in ENDS if largest <= end)


def plot(result: Ablation, *, image: int = 0) -> go.Figure:
    """The probability of each class before and after, as pairs of bars; the most probable first."""
    labels = result.labels[image]
    largest = max(result.before[image].max(), result.after[image].max())
    figure = style.screen("Before and after", "", height=94 + 46 * len(labels), above=24)
    for values, name, colour in (
        (result.before[image], "before", style.QUIET),
        (result.after[image], "after", style.ACCENT),
    ):
        figure.add_bar(
            x=values,
            y=np.arange(len(labels)),
            orientation="h",
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            text=[f"{value:.1%}" for value in values],
            textposition="outside",
            cliponaxis=False,
            customdata=[escape(label) for label in labels],
            hovertemplate=f"%{{customdata}}<br>{name} %{{x:.3%}}<extra></extra>",
        )
    return figure.update_layout(
        margin={"l": 170, "r": 60, "b": 40},
        showlegend=True,
        legend={"orientation": "h", "y": 1, "yanchor": "bottom"},
        bargap=0.3,
        bargroupgap=0.08,
        xaxis=style.screen_axis("Probability", range=[0, _end(largest)], tickformat="~%"),
        yaxis=style.screen_axis(
            autorange="reversed",
            showline=False,
            ticks="",
            tickvals=list(range(len(labels))),
            ticktext=[escape(style.short(label)) for label in labels],
        ),
    )


def plot_change(result: Ablation, *, image: int = 0, width: int = 720) -> go.Figure:
    """Where on the picture the last block's tokens turned away, 1 - cosine of each patch."""
    photograph, values = result.photographs[image], result.patch_change[image]
    words = f"On average {values.mean():.3g}, at most {values.max():.3g}."
    figure = plot_sheet("What changed at each patch", words, photograph, width=width)
    limits = 0.0, float(values.max()) or 1.0
    return plot_map(figure, photograph, values, limits, unit=CHANGE, percent=False)


def plot_board(
    photograph: Photograph,
    grid: tuple[int, int],
    off: Sequence[tuple[int, int]],
    *,
    width: int = 720,
) -> go.Figure:
    """The photograph cut into its patches, those that are off covered; customdata (row, column)."""
    figure = plot_input(photograph, grid, width=width)
    for patch in off:
        left, top, right, bottom = patch_box(photograph, grid, patch)
        figure.add_shape(
            type="rect",
            x0=left,
            y0=top,
            x1=right,
            y1=bottom,
            fillcolor=style.ACCENT,
            opacity=0.75,
            line={"color": style.PAPER, "width": 1},
        )
    return plot_patches(figure, photograph, grid)
