"""What does the model return without some of its parts? The pictures of an ablation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_inspect.figures import looks, outputs, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import (
    clip_words,
    draw_map,
    draw_patch,
    draw_photograph,
    draw_scale,
    is_beyond,
    patch_box,
    plot_input,
    plot_map,
    plot_patches,
    plot_sheet,
)
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import Ablation

CHANGE = "1 − cosine of the last block's tokens"
NAMED, LISTED, LEGEND_PX = 3, 12, 30
"""How many parts the title of a print names at most, and how many the words below it.
Height of the legend on a screen."""
MAP_IN, SCALE_NAME_IN = (2.6, 2.2), 1.9
"""Width and height of a photograph beside bars at most, and the room for its scale's name."""
BARS_IN, ROW_IN, VALUE_IN = 1.7, 0.3, 0.45
"""Width of bars, height of a pair of them, and the room for a number beyond the longest one."""
SCORE_IN = 0.28
"""Room for a raw score at the end of a bar, within the axes."""
NAMES_IN, SHORT_NAMES_IN, NAMES_GAP_IN = 2.1, 1.25, 0.1
"""Room for the names of classes at most, usually and on a narrow sheet, and what is free of it."""
BESIDE_IN, HIGHEST_IN = 5.0, 4.5
"""From which width on bars stand beside the map; height of a map that stands above them."""


def draw(result: Ablation, *, image: int = 0, width_in: float | None = None) -> Figure:
    """Where the tokens changed, and the classes before and after, as far as these are known.

    width_in: of the sheet, in inches; None for one that follows from the photograph.
    """
    photograph, labels = result.photographs[image], result.labels[image]
    mapped = bool(result.patch_change.size)
    beside = mapped and bool(labels) and (width_in is None or width_in >= BESIDE_IN)
    room = MAP_IN
    if width_in is not None:
        grow = width_in / print_sheet.PAGE_IN
        alone = width_in - 2 * print_sheet.EDGE_IN, min(HIGHEST_IN, width_in)
        room = (grow * MAP_IN[0], max(1.0, grow) * MAP_IN[1]) if beside else alone
    shape = photograph.size_px[1] / photograph.size_px[0]
    height = min(room[1], room[0] / shape)
    map_width = max(height * shape, SCALE_NAME_IN) if mapped else 0.0
    usual = max(4.2, 0.1 + map_width + (NAMES_IN + BARS_IN + 0.4 if labels else 0.0))
    page_in = width_in or usual
    # A hair less, for what rounding makes of an equal width.
    narrow = page_in < usual - 1e-6
    names_in, names = _fitting_names(labels, SHORT_NAMES_IN if narrow else NAMES_IN)
    # Bars need more than a photograph that is wide.
    bars_height = max(height if beside else 0.0, ROW_IN * len(labels))
    title, words = _words(result, image)
    top = 0.7 + 0.14 * words.count("\n")
    map_height = height + 0.5 if mapped else 0.0
    bars_top = top if beside or not mapped else top + map_height + 0.3
    # A model without classes or patches has words alone.
    bottom = max(top + map_height, bars_top + bars_height + 0.5 if labels else top)
    figure = print_sheet.page(page_in, bottom)
    left = print_sheet.EDGE_IN
    if mapped:
        shift = 0.0 if beside or width_in is None else (page_in - map_width) / 2 - left
        axes = print_sheet.place(figure, left=left + shift, top=top, width=map_width, height=height)
        _draw_change(axes, result, image)
        limits = _limits(result, image)
        words += clip_words(result.patch_change[image], limits)
        draw_scale(
            figure,
            limits,
            name=CHANGE,
            left=left + shift,
            top=top + height + 0.08,
            width=map_width,
            above=is_beyond(result.patch_change[image], limits),
        )
    if labels:
        left += (map_width if beside else 0.0) + names_in
        place = {"left": left, "width": page_in - left - VALUE_IN}
        axes = print_sheet.place(figure, **place, top=bars_top, height=bars_height)
        _draw_classes(axes, result, image, names)
    print_sheet.write_head(figure, title, words)
    return figure


def _draw_change(axes: Axes, result: Ablation, image: int) -> None:
    """How far each token changed, with outlines of the patches that were ablated."""
    photograph, values = result.photographs[image], result.patch_change[image]
    draw_photograph(axes, photograph)
    draw_map(axes, photograph, values, _limits(result, image))
    grid = (values.shape[0], values.shape[1])
    for row, column in np.argwhere(result.patch_off[image]).tolist():
        draw_patch(axes, photograph, grid=grid, patch=(row, column))


def _limits(result: Ablation, image: int) -> looks.Limits:
    """The ends of the scale of changes."""
    return looks.ends_of(result.patch_change[image])


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


def _fitting_names(names: Sequence[str], most_in: float) -> tuple[float, list[str]]:
    """The room that names of classes take, with what is free beside them, and these names."""
    size = print_sheet.TEXT_PT
    short = [print_sheet.fitted_at(name, most_in - NAMES_GAP_IN, size) for name in names]
    longest = max((print_sheet.text_width(name, size) / 72 for name in short), default=0.0)
    return longest + NAMES_GAP_IN, short


def _draw_classes(axes: Axes, result: Ablation, image: int, names: Sequence[str]) -> None:
    """Pairs of bars, the class of the largest output first."""
    places = np.arange(len(result.labels[image]))
    values = result.before[image], result.after[image]
    width, _ = print_sheet.size_in(axes)
    margin = max(outputs.MARGIN, SCORE_IN / (width - 2 * SCORE_IN))
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
        yticklabels=names,
        ylim=(len(places) - 0.5, -0.5),
        xlim=outputs.ends(np.stack(values), result.outputs, margin=margin),
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
    figure = screen_sheet.screen("Before and after", "", height=94 + 46 * len(labels))
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
            customdata=[screen_sheet.literal(label) for label in labels],
            hovertemplate=f"%{{customdata}}<br>{name} %{{x:{outputs.hover(result.outputs)}}}"
            "<extra></extra>",
        )
    # The margin first: the legend stands below it.
    figure.update_layout(margin={"l": 170, "r": 60, "b": 40})
    legend = screen_sheet.screen_legend(figure)
    # Room for it: plotly would take it from the bars, and the legend would move up to their axis.
    figure.update_layout(height=figure.layout.height + LEGEND_PX, margin_b=40 + LEGEND_PX)
    return figure.update_layout(
        showlegend=True,
        legend=legend,
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
            ticktext=[screen_sheet.literal(looks.short(label)) for label in labels],
        ),
    )


def plots(result: Ablation, *, image: int = 0) -> list[go.Figure]:
    """The map of what changed, where it is known."""
    return [plot_change(result, image=image)] if result.patch_change.size else []


def plot_change(result: Ablation, *, image: int = 0, width: int = 720) -> go.Figure:
    """How far the last block's token of each patch changed, 1 − cosine."""
    photograph, values = result.photographs[image], result.patch_change[image]
    limits = _limits(result, image)
    words = f"Mean {values.mean():.3g}, maximum {values.max():.3g}.{clip_words(values, limits)}"
    figure = plot_sheet("What changed at each patch", words, photograph, width=width)
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
