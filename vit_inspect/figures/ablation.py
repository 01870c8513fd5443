"""What is switched off, and what does the model say then? The two pictures of a live test."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from vit_inspect.figures import style
from vit_inspect.figures.overlay import patch_box, plot_input, plot_map, plot_patches, plot_sheet
from vit_inspect.results import Ablation, Photograph

CHANGE = "1 - cosine of the last block's tokens"
ENDS = (0.02, 0.1, 0.5, 1.01)
"""Where the axis of probabilities may end: few, so that it seldom jumps while parts are tried."""


def plot(result: Ablation, *, image: int = 0) -> go.Figure:
    """The probability of each class before and after, as pairs of bars; the most probable first."""
    labels = result.labels[image]
    largest = max(result.before[image].max(), result.after[image].max())
    figure = style.screen("", "", height=64 + 46 * len(labels))
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
        annotations=[],
        margin={"l": 170, "r": 60, "t": 24, "b": 40},
        showlegend=True,
        legend={"orientation": "h", "y": 1, "yanchor": "bottom"},
        bargap=0.3,
        bargroupgap=0.08,
        xaxis=style.screen_axis(
            "Probability", range=[0, next(end for end in ENDS if largest <= end)], tickformat="~%"
        ),
        yaxis=style.screen_axis(
            autorange="reversed",
            showline=False,
            ticks="",
            tickvals=list(range(len(labels))),
            ticktext=[escape(style.short(label)) for label in labels],
        ),
    )


def plot_change(
    result: Ablation, photograph: Photograph, *, image: int = 0, width: int = 720
) -> go.Figure:
    """Where on the picture the last block's tokens turned away, 1 - cosine of each patch."""
    values = result.patch_change[image]
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
