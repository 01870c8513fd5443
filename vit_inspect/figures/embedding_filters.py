"""Which patterns does the patch embedding look for? (ViT paper 2010.11929, Fig. 7 left)"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter, StrMethodFormatter

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.figures.tiles import Tiles, compose, draw_tiles, fit, name_tiles, plot_tiles
from vit_inspect.records.paper import EmbeddingFilters

SHOWN, COLUMNS = 28, 7

SHOWN_BY_CHANNEL = 10
"""How many components are shown where each is a row of tiles, one for each channel."""

CURVE_IN = 2.5
"""Room for the curve beside the tiles, at least."""
MOST_IN, STACKED_MOST_IN, TITLE_WIDTH_IN = 4.2, 3.2, 2.1
"""Height of the tiles, at most: beside the curve, unless the sheet is wide, and above it. The width
of their title."""
EXPLAINED = "Explained variance (cumulative)"
AXIS_LEFT_IN, AXIS_BELOW_IN, LEAST_CURVE_IN = 0.74, 0.36, 1.2
"""Room for the numbers and names of the axes of the curve, and its height, at least."""


def draw(result: EmbeddingFilters, *, width_in: float | None = None) -> Figure:
    """The first components, each on its own scale, and the variance they explain.

    The curve is beside them, on narrow sheets below.

    width_in: of the sheet, in inches.
    """
    sheet, edge = width_in or print_sheet.PAGE_IN, print_sheet.EDGE_IN
    tiles, by_channel = tiles_of(result), is_by_channel(result)
    # Names along the tiles need room at the left and at the top.
    before, above = (0.3, 0.32) if by_channel else (0.0, 0.0)
    stacked = sheet < print_sheet.STACKED_BELOW_IN
    room = sheet - 2 * edge if stacked else min(0.61 * sheet, sheet - CURVE_IN)
    highest = STACKED_MOST_IN if stacked else max(MOST_IN, 0.5 * sheet)
    width, height = fit(tiles, width=room - before, height=highest)
    figure = print_sheet.page(sheet, 20)
    top, bottom = 0.36 + above, 0.36 + above + height
    pictures = print_sheet.place(figure, left=edge + before, top=top, width=width, height=height)
    draw_panel(pictures, result, tiles)
    left = edge + AXIS_LEFT_IN + (0 if stacked else max(before + width, TITLE_WIDTH_IN))
    high = LEAST_CURVE_IN if stacked else max(height - AXIS_BELOW_IN, LEAST_CURVE_IN)
    start = bottom + 0.4 if stacked else top
    curve = print_sheet.place(figure, left=left, top=start, width=sheet - left - 0.2, height=high)
    _draw_curve(curve, result)
    foot = max(bottom, start + high + AXIS_BELOW_IN) + 0.12
    print_sheet.write_foot(figure, _caption(result), top=foot)
    return figure


def _draw_curve(axes: Axes, result: EmbeddingFilters) -> None:
    """The variance that the first components explain, with a mark at those shown."""
    cumulative, shown = _cumulative(result), shown_count(result)
    axes.plot(np.arange(len(cumulative)) + 1, cumulative, color=looks.INK, linewidth=1.0)
    axes.plot(shown, cumulative[shown - 1], "o", color=looks.ACCENT, markersize=4)
    axes.set(xscale="log", xlim=(1, max(2, len(cumulative))), ylim=(0, 1.02))
    axes.xaxis.set(major_formatter=StrMethodFormatter("{x:g}"), minor_formatter=NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.spines[["top", "right"]].set_visible(False)
    (_, height), size = print_sheet.size_in(axes), print_sheet.TEXT_PT
    name = print_sheet.folded_at(EXPLAINED, height, size)
    note = _note(result).replace("<br>", "\n")
    print_sheet.label(axes, x="Number of components", y=name, title=note)
    # The colour of the mark; above the axes, as the curve can be everywhere inside.
    axes.title.set(color=looks.ACCENT, fontsize=size)


def draw_panel(axes: Axes, result: EmbeddingFilters, tiles: Tiles) -> None:
    """The components with their title; axes are of the proportions of the tiles."""
    draw_tiles(axes, tiles)
    title = _title(result).replace(" (", "\n(")
    if not is_by_channel(result):
        axes.set(xticks=[], yticks=[])
        print_sheet.label(axes, title=title)
        return
    (rows, columns), (width, height) = tiles.count, print_sheet.size_in(axes)
    axes.set(
        yticklabels=print_sheet.tick_labels(range(rows), height / rows),
        xticklabels=print_sheet.tick_labels(range(columns), width / columns),
    )
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    print_sheet.label(axes, x="Channel", y="Component", title=title)
    # Centred over few channels, it would begin outside of the sheet.
    axes.title.set(horizontalalignment="left", x=0)
    print_sheet.bare(axes)


def plot(result: EmbeddingFilters) -> go.Figure:
    """The same; each tile shows its component's share of the variance."""
    tiles, by_channel = tiles_of(result), is_by_channel(result)
    shown, ratio, cumulative = (
        shown_count(result),
        result.explained_variance_ratio,
        _cumulative(result),
    )
    height, above = (140 + 42 * tiles.count[0], 40) if by_channel else (460, 0)
    figure = screen_sheet.screen(
        _title(result), _caption(result), height=max(height, 360), above=above
    )
    shares = [f"{share:.2%} of the variance" for share in ratio[:shown]]
    if by_channel:
        picked = list(np.ndindex(tiles.count))
        hover = [f"Component {n}, channel {channel}<br>{shares[n]}" for n, channel in picked]
    else:
        picked = [(n,) for n in range(shown)]
        hover = [f"Component {n}<br>{share}" for n, share in enumerate(shares)]
    plot_tiles(figure, tiles, hover=hover, picked=picked, domain=(0.0, 0.64))
    if by_channel:
        # In inches of 96 CSS px: the tiles are about so far apart.
        pitch = min(0.4, 5.2 / tiles.count[1])
        rows, columns = (print_sheet.tick_labels(range(each), pitch) for each in tiles.count)
        name_tiles(
            figure, tiles, rows=("Component", rows), columns=("Channel", columns), side="top"
        )
    else:
        figure.update_layout(margin_l=16)
    numbers = np.arange(len(cumulative)) + 1
    figure.add_scatter(
        x=numbers,
        y=cumulative,
        xaxis="x2",
        yaxis="y2",
        mode="lines",
        line={"color": looks.QUIET, "width": 2},
        hovertemplate="First %{x} components<br>%{y:.1%} of the variance<extra></extra>",
    )
    figure.add_scatter(
        x=numbers[shown - 1 : shown],
        y=cumulative[shown - 1 : shown],
        xaxis="x2",
        yaxis="y2",
        mode="markers",
        marker={"color": looks.ACCENT, "size": 9},
        hoverinfo="skip",
    )
    figure.add_annotation(
        text=_note(result),
        font={"color": looks.ACCENT},
        align="right",
        x=1,
        y=1.02,
        xref="x2 domain",
        yref="y2 domain",
        xanchor="right",
        yanchor="bottom",
        showarrow=False,
    )
    figure.update_layout(
        xaxis2=screen_sheet.screen_axis(
            "Components",
            type="log",
            range=[0, np.log10(max(2, len(cumulative)))],
            domain=(0.79, 1.0),
            anchor="y2",
            dtick=1,
        ),
        yaxis2=screen_sheet.screen_axis(EXPLAINED, range=[0, 1.02], tickformat=".0%", anchor="x2"),
    )
    return figure


def shown_count(result: EmbeddingFilters) -> int:
    """How many of the components are shown."""
    return min(SHOWN_BY_CHANNEL if is_by_channel(result) else SHOWN, len(result.components))


def is_by_channel(result: EmbeddingFilters) -> bool:
    """Whether a component is not one picture, grey or of red, green and blue."""
    return result.components.shape[3] not in (1, 3)


def _cumulative(result: EmbeddingFilters) -> Float[np.ndarray, " rank"]:
    return np.cumsum(result.explained_variance_ratio)


def _note(result: EmbeddingFilters) -> str:
    shown = shown_count(result)
    return f"{shown} components<br>explain {_cumulative(result)[shown - 1]:.1%}"


def _title(result: EmbeddingFilters) -> str:
    layer = result.source.partition(",")[0]
    filters = "embedding filters" if layer == "patch embedding" else f"filters of the {layer}"
    kind = {1: "One-channel", 3: "RGB"}.get(result.components.shape[3])
    named = f"{kind} {filters}" if kind else f"{filters[0].upper()}{filters[1:]} by channel"
    return f"{named} (first {shown_count(result)} principal components)"


def _caption(result: EmbeddingFilters) -> str:
    scale = (
        "Each component has its own scale: red is positive, blue is negative, white is 0."
        if is_by_channel(result)
        else "Each tile has its own scale."
    )
    return f"{result.model}\n{result.source}. {scale}"


def tiles_of(result: EmbeddingFilters) -> Tiles:
    """The shown components as one picture."""
    """Each component scaled from its minimum to its maximum, over pixels and RGB together.

    By channel: each component is a row, scaled by its largest weight.
    """
    components = result.components[: shown_count(result)]
    if is_by_channel(result):
        largest = np.abs(components).max(axis=(1, 2, 3), keepdims=True)
        signed = components / np.where(largest == 0, 1, largest)
        return compose(looks.colour(np.moveaxis(signed, 3, 1), looks.BIAS_MAP, (-1.0, 1.0)))
    least = components.min(axis=(1, 2, 3), keepdims=True)
    span = components.max(axis=(1, 2, 3), keepdims=True) - least
    flat = span == 0
    scaled = np.where(flat, 0.5, (components - least) / np.where(flat, 1, span))
    count, height, width, _ = scaled.shape
    rows = -(-count // COLUMNS)
    columns = min(COLUMNS, count)
    pictures = np.zeros((rows * columns, height, width, 4), np.uint8)
    pictures[:count, ..., :3] = np.round(255 * scaled)
    pictures[:count, ..., 3] = 255
    return compose(pictures.reshape(rows, columns, height, width, 4))


FIGURE = FigureSpec(
    record=EmbeddingFilters,
    slug="embedding_filters",
    title="Embedding filters",
    question="Which patterns does the patch embedding respond to?",
    reading="The first layer of the model is a set of filters. Each tile is one principal "
    "component of these filters, the strongest first; if the input has 2 channels or more than 3, "
    "a row of tiles is one, with a tile for each channel. Smooth waves of a few directions "
    "and colours mean that training found a compact code for patches. The curve shows how "
    "much of the variance of all filters the components explain.",
    caveat="Each component has its own scale, so the strength of two components cannot be "
    "compared. Signs are arbitrary: a component and its negative are the same.",
    formula="centred PCA of the matrix (filters × patch pixels and channels)",
    source=f"{VIT_PAPER}, Figure 7 left",
    draw=draw,
    plot=plot,
)
