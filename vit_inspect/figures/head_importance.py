"""Which heads does the output depend on? The effect of ablating each head alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.tiles import Tiles, compose, draw_tiles, fit, name_tiles, plot_tiles
from vit_inspect.records.evidence import SCORE, TURNED, HeadImportance

RANKED, ROW_PX = 12, 17
"""Heads in the list, and the least height of one on a screen, where its name has room."""
HEAD_IN, ROW_IN, MOST_ROW_IN = 1.4, 0.17, 0.36
"""Height of the head of the sheet, with the colour bar, and of a row of the list: at least, and at
most where the list is as high as the tiles beside it."""
LEFT_IN, RIGHT_IN = 0.35, 0.15
"""What is free beside the drawing: the layers' numbers, and half a number of an axis."""
NAMES_IN, APART_IN, OWN_IN = 0.6, 1.2, 5.2
"""Between tiles and bars: what names need, and what is usual; the narrowest usual sheet."""
BARS_IN, PITCH_IN = 0.95, 0.17
"""The narrowest bars beside tiles, and the narrowest tiles: with less room the list is below."""
TILES_IN, STACKED_IN = 6.6, 3.9
"""Height of the tiles at most, alone and above a list."""


def draw(result: HeadImportance, *, image: int = 0, width_in: float | None = None) -> Figure:
    """Layers down, heads across; beside or below the heads with the largest effects.

    width_in: of the sheet, in inches; None for one that follows from the number of heads.
    """
    limits, tiles = limits_of(result, image), _tiles(result, image)
    layers, heads = tiles.count
    usual = min(3.3, 0.3 * heads)
    usual_page = min(
        print_sheet.PAGE_IN, max(OWN_IN, fit(tiles, width=usual, height=TILES_IN)[0] + 3.6)
    )
    page_in = width_in or usual_page
    between = NAMES_IN if page_in < usual_page else APART_IN
    room = page_in - LEFT_IN - RIGHT_IN
    beside = room - between - BARS_IN
    stacked = beside < PITCH_IN * heads
    # On a wide sheet the bars grow more than the tiles, which are higher than wide.
    wanted = usual * max(1.0, page_in / usual_page) ** 0.5
    width, height = fit(
        tiles,
        width=room if stacked else min(wanted, beside),
        height=STACKED_IN if stacked else TILES_IN,
    )
    ranked = ranking(result, image)
    left, top = (
        (NAMES_IN, HEAD_IN + height + 0.3) if stacked else (LEFT_IN + width + between, HEAD_IN)
    )
    row = ROW_IN if stacked else float(np.clip(height / len(ranked), ROW_IN, MOST_ROW_IN))
    list_width, list_height = page_in - left - RIGHT_IN, row * len(ranked)
    name = print_sheet.folded_at(result.measure, list_width + 0.2, print_sheet.TEXT_PT)
    below = 0.4 + name.count("\n") * print_sheet.LINE_EM * print_sheet.TEXT_PT / 72
    figure = print_sheet.page(page_in, max(HEAD_IN + height, top + list_height + below) + 0.15)
    bar = print_sheet.place(figure, left=0.15, top=0.66, width=2.3, height=0.09)
    print_sheet.colour_bar(
        bar,
        _colour_map(limits),
        limits,
        name=result.measure,
        ticks=print_sheet.round_ticks(4),
        orientation="horizontal",
    )
    axes = print_sheet.place(figure, left=LEFT_IN, top=HEAD_IN, width=width, height=height)
    draw_tiles(axes, tiles)
    print_sheet.name_places(axes, rows=("Layer", range(layers)), columns=("Head", range(heads)))
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    print_sheet.bare(axes)
    bars = print_sheet.place(figure, left=left, top=top, width=list_width, height=list_height)
    _draw_bars(bars, result, image)
    print_sheet.label(bars, x=name)
    print_sheet.write_head(figure, *_words(result, image).split("\n", 1))
    return figure


def _draw_bars(bars: Axes, result: HeadImportance, image: int) -> None:
    """The heads with the largest effects, the largest first."""
    limits, ranked = limits_of(result, image), ranking(result, image)
    effects = np.array([result.effect[image][place] for place in ranked])
    colours = looks.colour(effects, _colour_map(limits), limits) / 255
    bars.barh(
        range(len(ranked)),
        effects,
        height=0.75,
        color=colours,
        edgecolor=looks.QUIET,
        linewidth=print_sheet.RULE_PT,
    )
    bars.axvline(0, color=looks.QUIET, linewidth=print_sheet.RULE_PT)
    bars.set(yticks=range(len(ranked)), ylim=(len(ranked) - 0.4, -0.6))
    bars.set_yticklabels([looks.place_name(*place) for place in ranked])
    bars.xaxis.set(
        major_locator=print_sheet.round_ticks(3), major_formatter=print_sheet.number_ticks()
    )
    bars.tick_params(axis="y", length=0)
    bars.spines[["top", "right", "left"]].set_visible(False)


def plot(
    result: HeadImportance, *, image: int = 0, marked: Sequence[tuple[int, int]] = ()
) -> go.Figure:
    """The same; customdata of tiles and bars is the (layer, head).

    marked: heads to outline.
    """
    limits, tiles = limits_of(result, image), _tiles(result, image)
    layers, heads = tiles.count
    height = int(np.clip(30 * layers, ROW_PX * RANKED, 900))
    title, words = _words(result, image).split("\n", 1)
    figure = screen_sheet.screen(title, words, height=height + 270, above=110)
    picked = list(np.ndindex(tiles.count))
    effect = result.effect[image]
    # As wide as its tiles are on a page of usual width, so that the list stands beside them.
    share = float(np.clip(height / layers * heads / 1000, 0.12, 0.55))
    plot_tiles(
        figure,
        tiles,
        hover=[_hover(result, image, place) for place in picked],
        picked=picked,
        domain=(0.0, share),
    )
    names = ("Layer", range(layers)), ("Head", range(heads))
    name_tiles(figure, tiles, rows=names[0], columns=names[1], side="top")
    figure.data[0].marker.update(
        cmin=limits[0],
        cmax=limits[1],
        colorscale=looks.colour_scale(_colour_map(limits)),
        showscale=True,
        colorbar=screen_sheet.screen_colour_bar(
            result.measure, nticks=5, ypad=50, exponentformat="power"
        ),
    )
    for layer, head in marked:
        edge = {"line": {"color": looks.ACCENT, "width": 3}, "fillcolor": "rgba(0,0,0,0)"}
        # Within the tile: the outer half of a line on the rim would be cut off.
        box = {"x0": head - 0.4, "x1": head + 0.4, "y0": layer - 0.4, "y1": layer + 0.4}
        figure.add_shape(type="rect", **box, **edge)
    ranked = ranking(result, image)
    effects = np.array([effect[place] for place in ranked])
    figure.add_bar(
        x=effects,
        y=[looks.place_name(*place) for place in ranked],
        orientation="h",
        marker={
            "color": effects,
            "cmin": limits[0],
            "cmax": limits[1],
            "colorscale": looks.colour_scale(_colour_map(limits)),
            "line": {"color": looks.QUIET, "width": 1},
        },
        customdata=[list(place) for place in ranked],
        text=[_hover(result, image, place) for place in ranked],
        textposition="none",
        hovertemplate="%{text}<extra></extra>",
        xaxis="x2",
        yaxis="y2",
    )
    bars = share + 0.26, 1.0
    screen_sheet.name_below(figure, result.measure, bars)
    return figure.update_layout(
        margin_b=64,
        bargap=0.25,
        # Without an end to it, plotly takes every bar for the one under the cursor.
        hoverdistance=40,
        xaxis2=screen_sheet.screen_axis(
            domain=bars,
            anchor="y2",
            nticks=6,
            exponentformat="power",
            zeroline=True,
            zerolinecolor=looks.QUIET,
        ),
        yaxis2=screen_sheet.screen_axis(
            # Plotly leaves names out where it thinks that they are too near to each other.
            autorange="reversed",
            anchor="x2",
            showline=False,
            ticks="",
            domain=(0, 1),
            dtick=1,
        ),
    )


def ranking(result: HeadImportance, image: int = 0) -> list[tuple[int, int]]:
    """The heads with the largest absolute effects, as (layer, head), the largest first."""
    sizes = np.abs(result.effect[image])
    order = np.argsort(-sizes, axis=None, kind="stable")[:RANKED]
    layers, heads = np.unravel_index(order, sizes.shape)
    return list(zip(layers.tolist(), heads.tolist(), strict=True))


def limits_of(result: HeadImportance, image: int = 0) -> looks.Limits:
    """The ends of the colour scale: from 0, or symmetric around 0 if there are negative effects."""
    effect = result.effect[image]
    limit = float(np.abs(effect).max()) or 1.0
    return (-limit if effect.min() < 0 else 0.0), limit


def _colour_map(limits: looks.Limits) -> str:
    return looks.DIFFERENCE_MAP if limits[0] < 0 else looks.WEIGHT_MAP


def _tiles(result: HeadImportance, image: int) -> Tiles:
    limits = limits_of(result, image)
    colours = looks.colour(result.effect[image], _colour_map(limits), limits)
    return compose(colours[:, :, None, None])


def _said(result: HeadImportance, effect: Float[np.floating, ""]) -> str:
    """An effect in words; for a log-probability also the factor of the probability."""
    if result.measure == TURNED:
        return looks.number(effect, ".3g")
    if result.measure == SCORE:
        return looks.number(effect, "+.3g")
    return f"{looks.number(effect, '+.3g')}, probability × {np.exp(-effect):.3g}"


def _hover(result: HeadImportance, image: int, place: tuple[int, int]) -> str:
    return f"<b>{looks.place_name(*place)}</b><br>{_said(result, result.effect[image][place])}"


def _words(result: HeadImportance, image: int) -> str:
    """What is shown, in three lines."""
    target = f" for '{result.targets[image]}'" if result.targets else ""
    replaced = "its mean over the tokens" if result.replacement == "mean" else "zeros"
    most = ranking(result, image)[0]
    largest = f"{looks.place_name(*most)}, {_said(result, result.effect[image][most])}"
    return (
        f"{result.model}: the effect of each head{target}\n"
        f"Each head is ablated alone: its output is replaced by {replaced}.\n"
        f"Largest effect: {largest}."
    )


FIGURE = FigureSpec(
    record=HeadImportance,
    slug="head_importance",
    title="Causal tests",
    question="Which heads does the output depend on?",
    reading="Each tile is one head of one layer. Its colour says what changes without this head "
    "alone: by how much the logarithm of the class's probability falls (0.69 means half the "
    "probability), by how much a raw score falls, or, for a model without classes, how much the "
    "direction of its output changes. If both signs occur, red heads support the class and blue "
    "heads oppose it. Bars list the heads with the largest effects.",
    caveat="Heads can replace each other: an ablation without effect does not show that a head "
    "does nothing, and the effects of several heads do not add up. The mean over the "
    "tokens of one image is not the mean over a data set, and it keeps what a head adds "
    "to every token. All of this holds for one image.",
    formula="ln p(class) − ln p(class | head ← mean over tokens), or y − y without for a raw "
    "score, or 1 − cos(y, y without) without classes",
    source="Michel et al., Are Sixteen Heads Really Better than One?, arXiv 1905.10650; "
    "mean ablation: Wang et al., arXiv 2211.00593",
    draw=draw,
    plot=plot,
)
