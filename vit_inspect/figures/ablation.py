"""What does the model return without some of its parts? The pictures of an ablation."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_inspect.figures import looks, outputs, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import (
    draw_map,
    draw_patch,
    draw_photograph,
    draw_scale,
    patch_box,
    plot_input,
    plot_map,
    plot_patches,
    plot_sheet,
)
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import Ablation

CHANGE = "1 − cosine of the last block's tokens"
NAMED, LISTED = 3, 12
"""How many parts the title of a print names at most, and how many the words below it."""


def draw(result: Ablation, *, image: int = 0) -> Figure:
    """Where the tokens changed, and the classes before and after, as far as these are known."""
    photograph, labels = result.photographs[image], result.labels[image]
    shape = photograph.size_px[1] / photograph.size_px[0]
    height = min(2.2, 2.6 / shape)
    # Not less than the name of its colour bar needs.
    map_width = max(height * shape, 1.9) if result.patch_change.size else 0.0
    # Bars need more than a photograph that is wide.
    bars_height = max(height, 0.3 * len(labels))
    width = max(4.2, 0.1 + map_width + (4.2 if labels else 0.0))
    title, words = _words(result, image)
    left, top = 0.05, 0.7 + 0.14 * words.count("\n")
    # A model without classes or patches has words alone.
    body = bars_height + 0.5 if labels or result.patch_change.size else 0.0
    figure = print_sheet.page(width, top + body)
    if result.patch_change.size:
        values = result.patch_change[image]
        limits = 0.0, float(values.max()) or 1.0
        axes = print_sheet.place(figure, left=left, top=top, width=map_width, height=height)
        draw_photograph(axes, photograph, grey=True)
        draw_map(axes, photograph, values, limits)
        grid = (values.shape[0], values.shape[1])
        for row, column in np.argwhere(result.patch_off[image]).tolist():
            draw_patch(axes, photograph, grid=grid, patch=(row, column))
        draw_scale(figure, limits, name=CHANGE, left=left, top=top + height + 0.08, width=map_width)
        left += map_width + 0.35
    if labels:
        place = {"left": left + 1.75, "top": top, "width": 1.7, "height": bars_height}
        _draw_classes(print_sheet.place(figure, **place), result, image)
    print_sheet.write_head(figure, title, words)
    return figure


def _words(result: Ablation, image: int) -> tuple[str, str]:
    """What was ablated, and how far the output changed."""
    # A name stays on one line.
    names = [name.replace(" ", "\N{NO-BREAK SPACE}") for name in result.off]
    off = f"without {'; '.join(names)}" if names else "nothing ablated"
    replaced = "Replaced by its mean. " if result.replacement == "mean" else "Replaced by zeros. "
    told = (
        f"{replaced if names else ''}Cosine similarity of the outputs {result.cosine[image]:.4f}, "
        f"relative change {result.relative_change[image]:.2%}."
    )
    if len(names) > NAMED:
        off = f"without {len(names)} parts"
        rest = len(names) - LISTED
        more = f"; and {rest} more" if rest > 0 else ""
        told += f"\nAblated: {'; '.join(names[:LISTED])}{more}."
    return f"{result.model}, {off}", told


def _draw_classes(axes: Axes, result: Ablation, image: int) -> None:
    """Pairs of bars, the class of the largest output first."""
    places = np.arange(len(result.labels[image]))
    values = result.before[image], result.after[image]
    for side, (name, colour) in enumerate((("before", looks.QUIET), ("after", looks.ACCENT))):
        bars = axes.barh(places + 0.38 * (side - 0.5), values[side], 0.36, color=colour, label=name)
        axes.bar_label(
            bars,
            [outputs.told(value, result.outputs) for value in values[side]],
            padding=2,
            fontsize=print_sheet.TEXT_PT - 1,
        )
    axes.set(
        yticks=places,
        yticklabels=[looks.short(label) for label in result.labels[image]],
        ylim=(len(places) - 0.5, -0.5),
        xlim=outputs.ends(np.stack(values), result.outputs),
    )
    axes.xaxis.set_major_formatter(outputs.print_format(result.outputs))
    axes.xaxis.set_major_locator(print_sheet.round_ticks(3))
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    print_sheet.label(axes, x=outputs.name(result.outputs))
    axes.legend(
        fontsize=print_sheet.TEXT_PT,
        frameon=False,
        ncols=2,
        loc="lower left",
        bbox_to_anchor=(0, 0.98),
    )


def plot(result: Ablation, *, image: int = 0) -> go.Figure:
    """The value of each class before and after as two bars; the class of the largest one first.

    Of a model without classes, the words alone.
    """
    labels = result.labels[image]
    if not labels:
        title, words = _words(result, image)
        return screen_sheet.screen(title, words, height=120)
    ends = outputs.ends(np.stack([result.before[image], result.after[image]]), result.outputs)
    figure = screen_sheet.screen("Before and after", "", height=94 + 46 * len(labels), above=24)
    for values, name, colour in (
        (result.before[image], "before", looks.QUIET),
        (result.after[image], "after", looks.ACCENT),
    ):
        figure.add_bar(
            x=values,
            y=np.arange(len(labels)),
            orientation="h",
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            text=[outputs.told(value, result.outputs) for value in values],
            textposition="outside",
            cliponaxis=False,
            customdata=[escape(label) for label in labels],
            hovertemplate=f"%{{customdata}}<br>{name} %{{x:{outputs.hover(result.outputs)}}}"
            "<extra></extra>",
        )
    return figure.update_layout(
        margin={"l": 170, "r": 60, "b": 40},
        showlegend=True,
        legend={"orientation": "h", "y": 1, "yanchor": "bottom"},
        bargap=0.3,
        bargroupgap=0.08,
        xaxis=screen_sheet.screen_axis(
            outputs.name(result.outputs), range=ends, **outputs.screen_axis(result.outputs)
        ),
        yaxis=screen_sheet.screen_axis(
            autorange="reversed",
            showline=False,
            ticks="",
            tickvals=list(range(len(labels))),
            ticktext=[escape(looks.short(label)) for label in labels],
        ),
    )


def plots(result: Ablation, *, image: int = 0) -> list[go.Figure]:
    """The map of what changed, where it is known."""
    return [plot_change(result, image=image)] if result.patch_change.size else []


def plot_change(result: Ablation, *, image: int = 0, width: int = 720) -> go.Figure:
    """How far the last block's token of each patch changed, 1 − cosine."""
    photograph, values = result.photographs[image], result.patch_change[image]
    words = f"Mean {values.mean():.3g}, maximum {values.max():.3g}."
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
    """The photograph with its patches, ablated ones covered; customdata is the (row, column)."""
    figure = plot_input(photograph, grid, width=width)
    for patch in off:
        left, top, right, bottom = patch_box(photograph, grid, patch)
        figure.add_shape(
            type="rect",
            x0=left,
            y0=top,
            x1=right,
            y1=bottom,
            fillcolor=looks.ACCENT,
            opacity=0.75,
            line={"color": looks.PAPER, "width": 1},
        )
    return plot_patches(figure, photograph, grid)


FIGURE = FigureSpec(
    record=Ablation,
    slug="ablation",
    title="Ablation",
    question="What does the model return when some of its parts are ablated?",
    reading="Bars compare the probabilities of the most probable classes before and after, or the "
    "raw scores of a model whose outputs are no probabilities. The "
    "map shows how far the token of each patch changed in the last block. Outlined "
    "patches were ablated.",
    caveat="Heads can replace each other: an ablation without effect does not show that the part "
    "does nothing. The mean over the tokens of one image is not the mean over a data set.",
    formula="y(x | parts ← mean over tokens, or 0), beside y(x)",
    source="Michel et al., arXiv 1905.10650; mean ablation: Wang et al., arXiv 2211.00593",
    draw=draw,
    plot=plot,
    plots=plots,
)
