"""What does each head do? One panel of layers and heads for each statistic (2305.00729)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.figure import Figure

from vit_inspect.errors import BadParameter
from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.figures.tiles import Tiles, compose, draw_tiles, fit
from vit_inspect.records.evidence import HeadStatistics
from vit_inspect.records.names import special_names

TITLE = "Head statistics"
COLOUR_MAP = looks.WEIGHT_MAP
ACROSS, STEP_IN, WIDE_IN = 4, 1.05, 9.5
"""Panels in a row of the print at most, the room that each needs, and from which width on all
panels stand in one row."""
HEAD_IN, BAR_IN, BELOW_IN, NAME_IN = 0.85, 0.36, 0.38, 0.14
"""Height of the title, of the colour bar above a panel, of the numbers below it, and of a line of
the panel's name."""
LEFT_IN, RIGHT_IN = 0.38, 0.12
"""Room for the numbers and the name of layers beside a panel, and between panels."""
PANEL_IN, LEAST_IN, ROWS_IN = 2.2, 1.25, 7.9
"""Height of a panel on a page and in a column, and of all rows of panels together, at most."""
LARGE, SMALL = (0.0, 0.44), ((0.545, 0.73), (0.815, 1.0))
"""Where the panels are on a screen, as shares of the figure's width."""
LARGE_TICKS, SMALL_TICKS, TICK_GAP_PX = 24, 6, 4
BAR_PX, BELOW_PX, FOOT_PX, LETTERS = 80, 48, 52, 16
"""Space above and below each panel on a screen, and below all of them; letters of a line above a
small one."""


class Statistic(NamedTuple):
    """A statistic of a head, which is never below 0: each scale begins there.

    name: by itself; title: of its panel, with its unit; words: its value in a sentence; meaning:
        what is measured.
    """

    name: str
    title: str
    words: str
    meaning: str


STATISTICS = {
    "entropy": Statistic(
        "Attention entropy",
        "Entropy (nats)",
        "entropy {:.2f} nats",
        "Of an attention row, in nats; 0 is attention to a single token.",
    ),
    "effective_tokens": Statistic(
        "Effective tokens",
        "Effective tokens",
        "{:.1f} effective tokens",
        "exp of the entropy of a row, mean over the queries.",
    ),
    "nmi": Statistic(
        "Query-key NMI",
        "Query-key NMI",
        "NMI {:.3f}",
        "Mutual information of query and key: 0 if all queries attend alike, 1 if each attends to "
        "tokens of its own.",
    ),
    "distance_px": Statistic(
        "Attention distance",
        "Distance (px)",
        "distance {:.1f} px",
        "Mean attention distance; attention to special tokens counts as 0.",
    ),
    "prefix_mass": Statistic(
        "Attention on special tokens",
        "Share on special tokens",
        "{:.1%} on special tokens",
        "Attention to special tokens: class token, registers and others before the patches.",
    ),
    "self_mass": Statistic(
        "Attention of a patch to itself",
        "Share on itself",
        "{:.1%} on itself",
        "Attention of a patch to itself.",
    ),
    "local_mass": Statistic(
        "Attention on 3 × 3 patches",
        "Share on 3 × 3 patches",
        "{:.1%} on the 3 × 3 patches around",
        "Attention to the patch and the up to 8 patches around it.",
    ),
}


def means(result: HeadStatistics) -> dict[str, Float[np.ndarray, "layer head"]]:
    """Each statistic of the heads, as the mean over the images."""
    return {name: result.arrays()[name].mean(axis=0) for name in STATISTICS}


def draw(
    result: HeadStatistics,
    *,
    limits: looks.Limits | None = None,
    width_in: float | None = None,
    large: str = "entropy",
) -> Figure:
    """Layers down, heads across: a panel for each statistic, all of the same size.

    limits: ends of the first panel's scale, to give two figures the same scale; the other panels,
        whose scales would differ, are then left out.
    width_in: of the sheet, in inches; None for that of a page, or of a column for one panel.
    large: the statistic that comes first, as on a screen.
    """
    values = means(result)
    panels = {name: values[name] for name in _ordered(large)[: 1 if limits else None]}
    scales = {name: limits or _limits(each) for name, each in panels.items()}
    layers, heads = panels[large].shape
    tiles = {name: _tiles(each, scales[name]) for name, each in panels.items()}
    page_in = width_in or (print_sheet.COLUMN_IN if limits else print_sheet.PAGE_IN)
    most = min(ACROSS, len(panels)) if page_in < WIDE_IN else len(panels)
    across = min(most, int(page_in / STEP_IN))
    step_in, rows = page_in / across, -(-len(panels) // across)
    names = {
        name: print_sheet.folded_at(
            STATISTICS[name].title, step_in - LEFT_IN + RIGHT_IN, print_sheet.TEXT_PT
        )
        for name in panels
    }
    bar_top = NAME_IN * (1 + max(each.count("\n") for each in names.values()))
    panel_top = bar_top + BAR_IN
    around_in = panel_top + BELOW_IN
    wanted = max(LEAST_IN, PANEL_IN * page_in / print_sheet.PAGE_IN)
    if limits:  # One panel is as high as the sheet is wide.
        wanted = page_in
    room = min(wanted, ROWS_IN / rows - around_in)
    most_in = step_in - LEFT_IN - RIGHT_IN
    width, height = fit(tiles[large], width=most_in, height=room)
    bar_in = max(min(1.0, most_in), width)
    # A single panel stands in the middle of a given width.
    spare = (most_in - bar_in) / 2 if limits and width_in else 0.0
    figure = print_sheet.page(page_in, HEAD_IN + rows * (height + around_in))
    for index, (name, scale) in enumerate(scales.items()):
        row, column = divmod(index, across)
        left, top = LEFT_IN + spare + column * step_in, HEAD_IN + row * (height + around_in)
        bar = print_sheet.place(figure, left=left, top=top + bar_top, width=bar_in, height=0.07)
        print_sheet.colour_bar(
            bar,
            COLOUR_MAP,
            scale,
            name=names[name],
            orientation="horizontal",
            ticks=print_sheet.round_ticks(3 if bar_in >= 1 else 2),
        )
        bar.xaxis.set_label_position("top")
        axes = print_sheet.place(figure, left=left, top=top + panel_top, width=width, height=height)
        draw_tiles(axes, tiles[name])
        print_sheet.name_places(axes, rows=("Layer", range(layers)), columns=("Head", range(heads)))
    print_sheet.write_head(figure, TITLE, _caption(result, several=limits is None))
    return figure


def plot(
    result: HeadStatistics, *, limits: looks.Limits | None = None, large: str = "entropy"
) -> go.Figure:
    """One large panel and small ones; each cell shows all statistics, customdata is (layer, head).

    limits: ends of the large panel's scale, to give two figures the same scale; the other panels,
    whose scales would differ, are then left out.
    """
    first, *others = _ordered(large)
    area_px = int(np.clip(30 * result.entropy.shape[1], 660, 960))
    caption = _caption(result, several=limits is None)
    figure = screen_sheet.screen(TITLE, caption, height=area_px, above=BAR_PX)
    whole_px = figure.layout.margin.t + area_px + FOOT_PX
    figure.update_layout(height=whole_px, margin_b=FOOT_PX, margin_r=30)
    if limits is not None:
        _add_panel(figure, result, first, x=(0.0, 1.0), limits=limits)
        return figure
    _add_panel(figure, result, first, x=LARGE)
    rows = -(-len(others) // len(SMALL))
    gap = (BAR_PX + BELOW_PX) / area_px
    height = (1 - (rows - 1) * gap) / rows
    for index, name in enumerate(others):
        row, column = divmod(index, len(SMALL))
        top = 1 - row * (height + gap)
        place = {"x": SMALL[column], "y": (max(0.0, top - height), top)}
        _add_panel(figure, result, name, **place, number=index + 2)
    return figure


def limits_of(result: HeadStatistics) -> looks.Limits:
    """The ends of the scale of entropy, in nats."""
    return _limits(means(result)["entropy"])


def _ordered(large: str) -> list[str]:
    """All statistics, the large one first."""
    if large not in STATISTICS:
        raise BadParameter(
            f"the statistic {large!r}", f"one of {', '.join(STATISTICS)}", "choose one of these"
        )
    return [large, *(name for name in STATISTICS if name != large)]


def _add_panel(
    figure: go.Figure,
    result: HeadStatistics,
    name: str,
    *,
    x: tuple[float, float],
    y: tuple[float, float] = (0.0, 1.0),
    limits: looks.Limits | None = None,
    number: int = 1,
) -> None:
    """Coloured cells, and on each an invisible marker for the cursor.

    x, y: the place on the sheet. number: of the panel's axes; panel 1 is the large one.
    """
    panels = means(result)
    layers, heads = panels[name].shape
    low, high = limits or _limits(panels[name])
    axis, large = ("", True) if number == 1 else (str(number), False)
    places = {"xaxis": f"x{axis}", "yaxis": f"y{axis}"}
    area_px = figure.layout.height - figure.layout.margin.t - FOOT_PX
    words = f"{high:.0f}" if high >= 10 else f"{high:.2g}"
    ends = {} if large else {"tickvals": [low, high], "ticktext": ["0", words]}
    figure.add_heatmap(
        z=panels[name].astype(np.float32),
        x=list(range(heads)),
        y=list(range(layers)),
        zmin=low,
        zmax=high,
        colorscale=looks.colour_scale(COLOUR_MAP),
        xgap=1,
        ygap=1,
        hoverinfo="skip",
        colorbar=screen_sheet.screen_colour_bar(
            STATISTICS[name].title if large else _folded(STATISTICS[name].title),
            x=x[0],
            # Hung from above: plotly misplaces the axes' titles under one that stands on them.
            y=y[1] + BAR_PX / area_px,
            yanchor="top",
            lenmode="fraction",
            len=x[1] - x[0],
            thickness=8,
            ypad=6,
            **ends,
        ),
        **places,
    )
    cells = list(np.ndindex(layers, heads))
    screen_sheet.add_squares(
        figure,
        size=12,
        x=[head for _, head in cells],
        y=[layer for layer, _ in cells],
        customdata=[list(cell) for cell in cells],
        text=[_hover(panels, *cell) for cell in cells],
        hovertemplate="%{text}<extra></extra>",
        **places,
    )
    most = LARGE_TICKS if large else SMALL_TICKS
    across = screen_sheet.screen_axis(
        "Head",
        showline=False,
        ticks="",
        ticklabelstandoff=TICK_GAP_PX,
        domain=x,
        anchor=f"y{axis}",
        range=[-0.5, heads - 0.5],
        tickvals=list(range(0, heads, -(-heads // most))),
    )
    down = screen_sheet.screen_axis(
        "Layer",
        showline=False,
        ticks="",
        ticklabelstandoff=TICK_GAP_PX,
        domain=y,
        anchor=f"x{axis}",
        range=[layers - 0.5, -0.5],
        tickvals=list(range(0, layers, -(-layers // most))),
    )
    figure.update_layout(**{f"xaxis{axis}": across, f"yaxis{axis}": down})


def _folded(title: str) -> str:
    """A title for a small panel on a screen, broken where it is long."""
    return looks.fold(title, lambda line: len(line) <= LETTERS).replace("\n", "<br>")


def _tiles(values: Float[np.ndarray, "layer head"], limits: looks.Limits) -> Tiles:
    return compose(looks.colour(values[..., None, None], COLOUR_MAP, limits))


def _limits(values: Float[np.ndarray, "layer head"]) -> looks.Limits:
    return 0.0, float(values.max()) or 1.0


def _hover(panels: dict[str, Float[np.ndarray, "layer head"]], layer: int, head: int) -> str:
    lines = [f"<b>{looks.place_name(layer, head)}</b>"]
    lines += [STATISTICS[name].words.format(values[layer, head]) for name, values in panels.items()]
    return "<br>".join(lines)


def _caption(result: HeadStatistics, *, several: bool = True) -> str:
    images = len(result.entropy)
    over = "one image" if images == 1 else f"mean over {images} images"
    scales = "\nEach panel has its own scale, from 0." if several else ""
    layout = result.layout
    tokens = len(layout.key_prefix) + layout.patch_count
    return (
        f"{result.model}, {over}.\n"
        f"Uniform attention on {tokens:,} tokens: {np.log(tokens):.2f} nats. "
        f"Special tokens: {special_names(layout)}.{scales}"
    )


FIGURE = FigureSpec(
    record=HeadStatistics,
    slug="head_statistics",
    title="Head statistics",
    question="What does each head do?",
    reading="Each cell is one head. Low entropy and few effective tokens: it attends to few "
    "tokens at a time. NMI near 0: all its queries attend to the same keys; high NMI: "
    "each query to its own. Much attention on the patch itself or on 3 × 3 patches: the "
    "head is local, like a small convolution. Much on special tokens: it hardly attends "
    "to the image.",
    caveat="A mean hides heads that treat some queries in one way and some in another. Entropy "
    "and effective tokens grow with the number of tokens: compare them at one input size. "
    "A head that attends to a register, or to one patch as a sink, has a low entropy too, "
    "and may have found nothing in the image.",
    formula="H = mean over q of −Σₖ A[q, k] ln A[q, k],  NMI = (H(K) − H) / √(H(K) ln N);  "
    "q one of N patches, k any token, H(K) of the mean row",
    source="Park et al., What Do Self-Supervised Vision Transformers Learn?, arXiv 2305.00729; "
    f"{VIT_PAPER}, Figure 7 right",
    draw=draw,
    plot=plot,
    limits=limits_of,
    compared="entropy",
)
