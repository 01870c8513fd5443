"""Which patch tokens are artefacts, from which layer on, and how do they change rollout?

The norms of Darcet et al. (2309.16588), on the photograph and over depth.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.attention_rollout import UNIT as ROLLOUT
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import (
    OWN_SCALE,
    clip_words,
    draw_map,
    draw_patch,
    draw_photograph,
    draw_scale,
    draw_scale_beside,
    is_beyond,
    patch_box,
    plot_map,
    plot_sheet,
    scale_words,
)
from vit_inspect.records.evidence import TokenNorms

NORM, UNIT = "L2 norm", "L2 norm in the residual stream"
DEPTH, DRAWN = "Layer", "Attention\nreceived"
PLAIN, VARIANT = "Rollout", "Variant: rollout without the artefacts"
BANDS = {"all patches": ((0, 100), 0.2), "middle 90%": ((5, 95), 0.4)}
"""Bands of the patches' norms: between which percentiles, and the opacity."""
MOST_TICKS = 13

BESIDE_FROM_IN, LEGEND_BESIDE_FROM_IN = 5.25, 6.5
"""Width of a sheet from which on the curves stand beside the photograph, and their legend beside
them."""
BAR_ROOM_IN, LEGEND_IN, UNIFORM_IN = 0.9, 1.14, 0.6
"""Room for a colour bar with its numbers and name, for a legend beside curves, and for the name of
the line of uniform attention."""
LEGEND_BELOW_IN, LEGEND_LINE_IN = 0.38, 0.15
"""From the curves to a legend below them, and the height of a line of it."""
TITLE_IN = 1.15
"""Room for the title of the photograph."""
TALL_IN = 20.0
"""Height of the sheet before it is known."""


def draw(
    result: TokenNorms,
    *,
    image: int = 0,
    limits: looks.Limits | None = None,
    width_in: float | None = None,
) -> Figure:
    """Norms on the photograph and over depth; below, rollout as it is and without the artefacts.

    If no artefacts were found, the words say why, and rollout is left out. On a narrow sheet the
    panels stand one below the other.

    limits: ends of the scale of the norms, to give two figures the same scale.
    width_in: of the sheet, in inches.
    """
    sheet, found = width_in or print_sheet.PAGE_IN, bool(result.found[image])
    rows, columns = result.photographs[image].size_px
    # A panorama or a tower must not squeeze the other panels.
    shape = float(np.clip(columns / rows, 0.4, 2.5))
    figure, ends = print_sheet.page(sheet, TALL_IN), limits or limits_of(result, image)
    stacked = sheet < BESIDE_FROM_IN
    if stacked:
        width = min(sheet - BAR_ROOM_IN - 0.1, 2.0 * shape)
        height, left = width / shape, (sheet - BAR_ROOM_IN - width) / 2
        _draw_photograph(figure, result, image, ends, left=left, width=width, height=height)
        top = 0.22 + height + 0.3
        bottom = _draw_chart(
            figure,
            result,
            image,
            left=0.65,
            top=top,
            width=sheet - 0.65 - UNIFORM_IN,
            height=1.95,
            columns=3,
        )
        column = (sheet - 0.2) / 2
        width = min(column, 1.6 * shape)
    else:
        scale = sheet / print_sheet.PAGE_IN
        height = scale * min(2.0, 2.6 / shape)
        width = height * shape
        room = max(width, TITLE_IN)
        left = 0.05 + (room - width) / 2
        _draw_photograph(figure, result, image, ends, left=left, width=width, height=height)
        legend = sheet >= LEGEND_BESIDE_FROM_IN
        left, right = room + BAR_ROOM_IN + 0.65, LEGEND_IN if legend else UNIFORM_IN
        bottom = _draw_chart(
            figure,
            result,
            image,
            left=left,
            top=0.22,
            width=sheet - left - right,
            height=1.95 * max(1.0, scale),
            columns=None if legend else 2,
        )
        bottom = max(bottom, 0.22 + height)
        column = max(width, 2.1)
    words = "\n".join(_words(result, image, limits))
    if found:
        place = {"top": bottom, "width": width, "height": width / shape, "column": column}
        bottom = _draw_rollouts(figure, result, image, **place, stacked=stacked)
        words += _rollout_words(result, image, PLAIN)
    print_sheet.write_caption(figure, words, top=bottom + (0.2 if found else 0.08))
    print_sheet.trim(figure)
    return figure


def plot(
    result: TokenNorms,
    *,
    image: int = 0,
    limits: looks.Limits | None = None,
    width: int = 720,
) -> go.Figure:
    """The norms over the whole photograph, artefacts outlined; customdata is (row, column).

    limits: ends of the colour scale, to give two figures the same scale.
    width: px for the photograph.
    """
    photograph, values = result.photographs[image], result.norm[image, result.layer]
    title, *words = _words(result, image, limits)
    figure = plot_sheet(title, "\n".join(words), photograph, width=width)
    ends = limits or limits_of(result, image)
    plot_map(figure, photograph, values, ends, unit=UNIT, percent=False)
    # One shape for all: a shape for each would be slow.
    outline = ""
    for row, column in np.argwhere(result.artefact[image]).tolist():
        left, top, right, bottom = patch_box(photograph, result.layout.grid, (row, column))
        outline += f"M{left},{top}L{right},{top}L{right},{bottom}L{left},{bottom}Z"
    if outline:
        for colour, thickness in ((looks.PAPER, 3.0), (looks.ACCENT, 1.5)):
            figure.add_shape(type="path", path=outline, line={"color": colour, "width": thickness})
    return figure


def plot_depth(result: TokenNorms, *, image: int = 0) -> go.Figure:
    """Norms of all tokens after every layer; below, the attention that artefacts receive."""
    found = bool(result.found[image])
    words = "L2 norms in units of the residual stream, before the final norm."
    if found:
        words += "\nDashed line below: what artefacts would receive if attention were uniform."
    figure = screen_sheet.screen("Norms over depth", words, height=560)
    layers = np.arange(result.norm.shape[1])
    for name, (percentiles, opacity) in BANDS.items():
        low, high = _percentiles(result, image, percentiles)
        figure.add_scatter(
            x=np.concatenate([layers, layers[::-1]]),
            y=np.concatenate([high, low[::-1]]),
            fill="toself",
            fillcolor=looks.QUIET,
            opacity=opacity,
            line={"width": 0},
            mode="lines",
            name=name,
            hoverinfo="skip",
        )
    lines = {"median patch": (_percentiles(result, image, (50,))[0], looks.QUIET, "solid")} | {
        name: (
            result.prefix_norm[image, :, token],
            looks.head_colour(token),
            looks.line_dash(token),
        )
        for token, name in enumerate(result.layout.prefix)
    }
    for name, (values, colour, dash) in lines.items():
        figure.add_scatter(
            x=layers,
            y=values,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": dash},
            marker={"size": 5},
            name=name,
            hovertemplate=f"{name}, layer %{{x}}<br>%{{y:.3g}}<extra></extra>",
        )
    ticks = _ticks(result, image)
    figure.update_layout(
        showlegend=True,
        legend=screen_sheet.screen_legend(figure),
        xaxis=screen_sheet.screen_axis(DEPTH, range=[-0.4, len(layers) - 0.6]),
        yaxis=screen_sheet.screen_axis(
            UNIT,
            type="log",
            range=[math.log10(ticks[0]), math.log10(ticks[-1])],
            tickvals=ticks,
            ticktext=[f"{tick:g}" for tick in ticks],
            domain=(0.3, 1) if found else (0, 1),
        ),
    )
    figure.update_xaxes(tickmode="auto" if len(layers) > 1 else "array", tickvals=layers)
    if found:
        _plot_marked(figure, result, image)
    return figure


def plot_rollout(
    result: TokenNorms, *, image: int = 0, variant: bool = False, width: int = 720
) -> go.Figure:
    """Rollout, or its variant without the artefacts, on the scale that both share."""
    photograph = result.photographs[image]
    relevance = (result.rollout_without if variant else result.rollout)[image]
    words = [f"{relevance.sum():.1%} on patches"]
    if variant:
        words += ["Artefacts are removed as keys and from what the model reads;"]
        words += ["each row is divided by its remaining sum."]
    else:
        words[0] += f", {relevance[result.artefact[image]].sum():.1%} on the artefacts"
        words += [f"Both maps share one scale.{_rollout_words(result, image)}", " "]
    title = VARIANT if variant else PLAIN
    figure = plot_sheet(title, "\n".join(words), photograph, width=width)
    return plot_map(figure, photograph, relevance, rollout_limits(result, image), unit=ROLLOUT)


def plots(result: TokenNorms, *, image: int = 0) -> list[go.Figure]:
    """Norms over depth; if there are artefacts, also rollout with and without them."""
    rollouts = (False, True) if result.found[image] else ()
    return [
        plot_depth(result, image=image),
        *(plot_rollout(result, image=image, variant=variant) for variant in rollouts),
    ]


def verdict(result: TokenNorms, image: int = 0) -> str:
    """Whether there are artefacts, and how far above the other norms; or why there are none."""
    if not result.found[image]:
        return f"No artefacts found: {result.reason[image]}."
    found = result.artefact[image]
    count = int(found.sum())
    verb = "is an artefact" if count == 1 else "are artefacts"
    return (
        f"{count} of {found.size:,} patches {verb}: norm above {result.threshold[image]:.3g}, "
        f"on average {result.ratio[image]:.1f} times the norm of the others."
    )


def limits_of(result: TokenNorms, image: int = 0) -> looks.Limits:
    """The ends of the norms' colour scale."""
    return looks.ends_of(result.norm[image, result.layer], from_zero=False)


def rollout_limits(result: TokenNorms, image: int = 0) -> looks.Limits:
    """The ends of the colour scale that both rollouts share.

    It ends where the variant's own scale does: with the artefacts, everything else would be black.
    """
    both = result.rollout[image], result.rollout_without[image]
    _, high = looks.ends_of(both[1], from_zero=False)
    return min(float(each.min()) for each in both), high


def _rollout_words(result: TokenNorms, image: int, of: str = "") -> str:
    """Where the colours of both rollouts end, as a sentence behind others."""
    both = np.stack([result.rollout[image], result.rollout_without[image]])
    limits, scale = rollout_limits(result, image), f"{OWN_SCALE} of the variant"
    return clip_words(both, limits, of=of, percent=True, scale=scale)


def _draw_photograph(
    figure: Figure,
    result: TokenNorms,
    image: int,
    limits: looks.Limits,
    *,
    left: float,
    width: float,
    height: float,
) -> None:
    """The norms over the photograph, artefacts outlined."""
    photograph, top = result.photographs[image], 0.22
    axes = print_sheet.place(figure, left=left, top=top, width=width, height=height)
    draw_photograph(axes, photograph)
    norms = result.norm[image, result.layer]
    draw_map(axes, photograph, norms, limits)
    for row, column in np.argwhere(result.artefact[image]).tolist():
        draw_patch(axes, photograph, grid=result.layout.grid, patch=(row, column))
    print_sheet.label(axes, title=f"Norms after layer {result.layer}")
    bar: dict[str, Any] = {"left": left + width + 0.08, "top": top, "height": height}
    draw_scale_beside(figure, limits, name=NORM, above=is_beyond(norms, limits), **bar)


def _draw_chart(
    figure: Figure,
    result: TokenNorms,
    image: int,
    *,
    left: float,
    top: float,
    width: float,
    height: float,
    columns: int | None,
) -> float:
    """Norms over depth, and below them what artefacts receive; returns where they end.

    columns: of the legend below; None for one at the right.
    """
    slim = 0.4 if result.found[image] else 0.0
    place = {"left": left, "width": width}
    depth = print_sheet.place(figure, top=top, height=height - 1.25 * slim, **place)
    _draw_depth(depth, result, image)
    lowest = depth
    if slim:
        depth.tick_params(labelbottom=False)
        lowest = print_sheet.place(figure, top=top + height - slim, height=slim, **place)
        _draw_drawn(lowest, result, image)
    lowest.set_xlabel(DEPTH, fontsize=print_sheet.TEXT_PT, color=looks.INK, labelpad=2.5)
    handles, names = depth.get_legend_handles_labels()
    look: dict[str, Any] = {
        "fontsize": print_sheet.TEXT_PT,
        "frameon": False,
        "labelspacing": 0.25,
        "handlelength": 2.2,
        "handletextpad": 0.5,
        "labelcolor": looks.INK,
    }
    if columns is None:
        depth.legend(handles, names, loc="upper left", bbox_to_anchor=(1.0, 1.02), **look)
        return top + height + 0.35
    _, high = print_sheet.size_in(lowest)
    anchor = (0.5, -LEGEND_BELOW_IN / high)
    look |= {"ncols": columns, "columnspacing": 1.0, "borderpad": 0, "borderaxespad": 0}
    lowest.legend(handles, names, loc="upper center", bbox_to_anchor=anchor, **look)
    lines = math.ceil(len(names) / columns)
    return top + height + LEGEND_BELOW_IN + lines * LEGEND_LINE_IN


def _draw_depth(axes: Axes, result: TokenNorms, image: int) -> None:
    layers = np.arange(result.norm.shape[1])
    for name, (percentiles, opacity) in BANDS.items():
        low, high = _percentiles(result, image, percentiles)
        axes.fill_between(
            layers, low, high, color=looks.QUIET, alpha=opacity, linewidth=0, label=name
        )
    line: dict[str, Any] = {"linewidth": 1.0, "marker": ".", "markersize": 3.0}
    (median,) = _percentiles(result, image, (50,))
    axes.plot(layers, median, color=looks.QUIET, label="median patch", **line)
    for token, name in enumerate(result.layout.prefix):
        norms, colour = result.prefix_norm[image, :, token], looks.head_colour(token)
        dash = looks.DASHES[looks.line_dash(token)]
        axes.plot(layers, norms, color=colour, linestyle=dash, label=name, **line)
    marked = result.norm[image][:, result.artefact[image]]
    if marked.size:
        where = np.repeat(layers, marked.shape[1])
        dots: dict[str, Any] = {"s": 4, "color": looks.ACCENT, "linewidths": 0, "zorder": 3}
        axes.scatter(where, marked.ravel(), label="artefacts", **dots)
    ticks = _ticks(result, image)
    # The limits first: zeros alone have no logarithm to find them by.
    axes.set(ylim=(ticks[0], ticks[-1]), yscale="log", xlim=(-0.4, len(layers) - 0.6))
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
    print_sheet.label(axes, y=UNIT.replace(" in ", "\nin "), title="Norms over depth")


def _draw_drawn(axes: Axes, result: TokenNorms, image: int) -> None:
    drawn, share = result.drawn[image], _share(result, image)
    layers = np.arange(len(drawn))
    axes.plot(layers, drawn, color=looks.ACCENT, linewidth=1.0, marker=".", markersize=3.0)
    axes.axhline(share, color=looks.QUIET, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        "if uniform",
        (1, share),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=print_sheet.TEXT_PT,
        color=looks.QUIET,
    )
    axes.set(xlim=(-0.4, len(layers) - 0.6), ylim=(0, _top(result, image)))
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(2))
    axes.yaxis.set_major_formatter(print_sheet.percent_ticks())
    print_sheet.label(axes, y=DRAWN)


def _draw_rollouts(
    figure: Figure,
    result: TokenNorms,
    image: int,
    *,
    top: float,
    width: float,
    height: float,
    column: float,
    stacked: bool,
) -> float:
    """Both rollouts side by side in columns, below their titles; returns where they end.

    stacked: whether the colour bar is below them, and not beside.
    """
    photograph, limits = result.photographs[image], rollout_limits(result, image)
    maps = {PLAIN: result.rollout[image], VARIANT: result.rollout_without[image]}
    titles = [print_sheet.folded_at(each, column + 0.05, print_sheet.TITLE_PT) for each in maps]
    top += 0.08 + LEGEND_LINE_IN * (1 + max(each.count("\n") for each in titles))
    for place, (title, relevance) in enumerate(zip(titles, maps.values(), strict=True)):
        left = 0.05 + place * (column + 0.1) + (column - width) / 2
        axes = print_sheet.place(figure, left=left, top=top, width=width, height=height)
        draw_photograph(axes, photograph)
        draw_map(axes, photograph, relevance, limits)
        print_sheet.label(axes, title=title)
    look: dict[str, Any] = {
        "name": ROLLOUT,
        "above": is_beyond(np.maximum(*maps.values()), limits),
        "percent": True,
    }
    if not stacked:
        right = left + width + 0.08
        draw_scale_beside(figure, limits, left=right, top=top, height=height, **look)
        return top + height
    draw_scale(figure, limits, left=0.05, top=top + height + 0.1, width=2 * column + 0.1, **look)
    return top + height + 0.38


def _plot_marked(figure: go.Figure, result: TokenNorms, image: int) -> None:
    """The artefacts' own norms, and below them the attention they receive."""
    marked, drawn = result.norm[image][:, result.artefact[image]], result.drawn[image]
    layers, share = np.arange(len(marked)), _share(result, image)
    figure.add_scatter(
        x=np.repeat(layers, marked.shape[1]),
        y=marked.ravel(),
        mode="markers",
        marker={"color": looks.ACCENT, "size": 4},
        name="artefacts",
        hovertemplate="artefact, layer %{x}<br>%{y:.3g}<extra></extra>",
    )
    below = {"xaxis": "x", "yaxis": "y2", "showlegend": False}
    figure.add_scatter(
        x=layers,
        y=drawn,
        mode="lines+markers",
        line={"color": looks.ACCENT, "width": 2},
        marker={"size": 5},
        hovertemplate="layer %{x}<br>%{y:.1%} of the patches' attention<extra></extra>",
        **below,
    )
    figure.add_scatter(
        x=[-0.4, len(layers) - 0.6],
        y=[share, share],
        mode="lines",
        line={"color": looks.QUIET, "width": 1, "dash": "dash"},
        hoverinfo="skip",
        **below,
    )
    title = DRAWN.replace("\n", "<br>")
    top = _top(result, image)
    figure.update_layout(
        xaxis_anchor="y2",
        yaxis2=screen_sheet.screen_axis(
            title, range=[0, top], domain=(0, 0.2), tickformat=".0%", nticks=3
        ),
    )


def _percentiles(
    result: TokenNorms, image: int, percentiles: tuple[int, ...]
) -> Float[np.ndarray, "percentile layer"]:
    norms = result.norm[image]
    return np.percentile(norms.reshape(len(norms), -1), percentiles, axis=1)


def _ticks(result: TokenNorms, image: int) -> list[float]:
    """1, 2, 5, 10 and so on, from below the smallest norm to above the largest."""
    norms = np.concatenate([result.norm[image].ravel(), result.prefix_norm[image].ravel()])
    norms = norms[norms > 0]
    if not norms.size:
        return [0.1, 1.0]
    low, high = float(norms.min()), float(norms.max())
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        known = [factor * 10.0**decade for decade in decades for factor in factors]
        first = max(index for index, tick in enumerate(known) if tick <= low)
        last = next(index for index, tick in enumerate(known) if tick > high or tick == known[-1])
        ticks = known[first : last + 1]
        if len(ticks) <= MOST_TICKS:
            break
    return ticks


def _share(result: TokenNorms, image: int) -> float:
    """The artefacts' share of all tokens."""
    return float(result.artefact[image].sum()) / result.layout.token_count


def _top(result: TokenNorms, image: int) -> float:
    return 1.15 * max(float(result.drawn[image].max()), _share(result, image))


def _words(result: TokenNorms, image: int, limits: looks.Limits | None) -> list[str]:
    """The norms and what was found; `limits` are those of a given scale."""
    norms, prefix = result.norm[image, result.layer], result.prefix_norm[image, result.layer]
    ends, others = limits or limits_of(result, image), ""
    if len(prefix) == 1:
        others = f"; {result.layout.prefix[0]} {prefix[0]:.3g}"
    elif len(prefix):
        others = f"; special tokens {prefix.min():.3g} to {prefix.max():.3g}"
    lines = [
        f"{result.model}: token norms after layer {result.layer}",
        f"Patches: median {np.median(norms):.3g}, maximum {norms.max():.3g}{others}."
        f"{clip_words(norms, ends, scale=scale_words(limits))}",
    ]
    if not result.found[image]:
        return [*lines, verdict(result, image)]
    drawn = result.drawn[image]
    most = int(drawn.argmax())
    return [
        *lines,
        verdict(result, image),
        f"{_share(result, image):.1%} of the tokens receive up to {drawn[most]:.1%} of the "
        f"patches' attention (layer {most}).",
    ]


FIGURE = FigureSpec(
    record=TokenNorms,
    slug="token_norms",
    title="Token norms",
    question="Which patch tokens are artefacts, and how much attention do they receive?",
    reading="Patches high on the scale, pale yellow, have long tokens. Some models use a few "
    "patches of the background to store information about the whole image. From a middle layer on, "
    "the norms of these tokens are far above all others, and much attention goes to them. Where "
    "there are such artefacts, they are outlined, and rollout is shown with and without them.",
    caveat="A large norm does not prove that a token holds nothing about its patch, and a patch "
    "that receives much attention may have an ordinary norm. The threshold is fitted to "
    "each image at one layer; if no small group is far above all others, no patch is "
    "outlined. Small models and models with registers have few artefacts or none. Norms "
    "of two models have no common unit.",
    formula="log |token| ~ (1 − w) N(μ₁, σ²) + w N(μ₂, σ²); artefacts above the crossing, if "
    "e^(μ₂ − μ₁) ≥ 2, μ₂ − μ₁ ≥ 5σ, at most 10% of the patches, behind a gap",
    source="Darcet et al., arXiv 2309.16588; Ashman, Bird and Zepf, arXiv astro-ph/9408030; "
    "Abnar and Zuidema, arXiv 2005.00928",
    draw=draw,
    plot=plot,
    limits=limits_of,
    plots=plots,
)
