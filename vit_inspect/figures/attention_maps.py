"""Which patches does one query token attend to? Raw attention of every layer and head."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_inspect.errors import BadParameter
from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import draw_patch, draw_photograph, plot_map, plot_sheet
from vit_inspect.figures.tiles import Tiles, compose, draw_tiles, fit, name_tiles, plot_tiles
from vit_inspect.layout import PADDING
from vit_inspect.records.paper import AttentionMaps

BODY_IN = 1.65
"""Height of the head of the sheet, with the photograph and the colour bar."""


def draw(result: AttentionMaps, *, image: int = 0, scale: str = "shared") -> Figure:
    """Layers down, heads across; at the side the mass on special tokens, above the photograph.

    scale: "shared" by all maps of the image, or "per map": each from 0 to its largest weight.
    """
    limit, largest = _limit(result, image, scale)
    tiles = _tiles(result, image, scale, limit)
    layers, heads = tiles.count
    table_width = float(np.clip(0.2 * heads, 0.9, 2.4))
    room = print_sheet.PAGE_IN - table_width - 0.75
    width, height = fit(tiles, width=min(room, 0.7 * heads), height=6.6)
    page_width = max(4.8, width + table_width + 0.75)
    figure = print_sheet.page(page_width, BODY_IN + height + 0.05)

    photograph = result.photographs[image]
    rows, columns = photograph.size_px
    photo_width = float(np.clip(1.1 * columns / rows, 0.5, 1.8))
    photo = print_sheet.place(figure, left=0.05, top=0.08, width=photo_width, height=1.1)
    draw_photograph(photo, photograph)
    if result.patch is not None:
        draw_patch(photo, photograph, grid=result.layout.grid, patch=result.patch)
    left = photo_width + 0.25
    bar = print_sheet.place(figure, left=left, top=0.75, width=2.3, height=0.09)
    print_sheet.colour_bar(
        bar,
        looks.WEIGHT_MAP,
        (0.0, limit),
        name=_unit(scale),
        ticks=print_sheet.round_ticks(4),
        orientation="horizontal",
        extend="max" if largest > limit else "neither",
        extendfrac=0.04,
    )

    maps = print_sheet.place(figure, left=0.35, top=BODY_IN, width=width, height=height)
    draw_tiles(maps, tiles)
    maps.set(
        xticklabels=print_sheet.tick_labels(range(heads), width / heads),
        yticklabels=print_sheet.tick_labels(range(layers), height / layers),
    )
    print_sheet.label(maps, x="Head", y="Layer")
    table = print_sheet.place(
        figure, left=width + 0.65, top=BODY_IN, width=table_width, height=height
    )
    digits_pt = min(print_sheet.TEXT_PT, 72 * 0.42 * min(table_width / heads, height / layers))
    _draw_masses(table, result, image, digits_pt=digits_pt)
    table.set(
        ylim=maps.get_ylim(),
        xticklabels=print_sheet.tick_labels(range(heads), table_width / heads),
    )
    for axes in (maps, table):
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        print_sheet.bare(axes)
    words = _caption(result, limit, largest, scale)
    print_sheet.write_head(figure, _title(result), words, left=left)
    return figure


def plot(
    result: AttentionMaps,
    *,
    image: int = 0,
    scale: str = "shared",
    limits: looks.Limits | None = None,
) -> go.Figure:
    """The maps as one picture; customdata of a map is its (layer, head).

    limits: ends of the shared colour scale, to give two figures the same scale.
    """
    limit, largest = _limit(result, image, scale)
    limit = limits[1] if limits else limit
    tiles = _tiles(result, image, scale, limit)
    layers, heads = tiles.count
    height = max(360, min(1100, 64 * layers)) + 210
    figure = screen_sheet.screen(
        _title(result), _caption(result, limit, largest, scale), height=height, above=110
    )
    picked = [(layer, head) for layer in range(layers) for head in range(heads)]
    hover = [_hover(result, image, layer, head) for layer, head in picked]
    plot_tiles(figure, tiles, hover=hover, picked=picked)
    name_tiles(
        figure, tiles, rows=("Layer", range(layers)), columns=("Head", range(heads)), side="top"
    )
    figure.update_layout(margin_b=24)
    figure.data[0].marker.update(
        cmin=0,
        cmax=limit,
        colorscale=looks.colour_scale(looks.WEIGHT_MAP),
        showscale=True,
        colorbar=screen_sheet.screen_colour_bar(_unit(scale), nticks=5, ypad=50),
    )
    return figure


def plot_mean(result: AttentionMaps, *, layer: int, image: int = 0, width: int = 720) -> go.Figure:
    """The mean over the heads of one layer, on the whole photograph, `width` px wide at most."""
    photograph = result.photographs[image]
    weights = result.weights[image, layer].mean(axis=0)
    mass = result.prefix_mass[image, layer].mean(axis=0)
    masses = zip(result.layout.key_prefix, mass, strict=True)
    words = ", ".join(
        f"{share:.1%} on {name}" for name, share in [("patches", weights.sum()), *masses]
    )
    title = f"Attention in layer {layer}, mean over heads"
    figure = plot_sheet(title, f"{result.query}\n{words}\n ", photograph, width=width)
    limits = 0.0, float(weights.max()) or 1.0
    return plot_map(figure, photograph, weights, limits, unit="Attention weight")


def limits_of(result: AttentionMaps, image: int = 0) -> looks.Limits:
    """The ends of the shared colour scale."""
    return 0.0, _limit(result, image, "shared")[0]


def _tiles(result: AttentionMaps, image: int, scale: str, limit: float) -> Tiles:
    weights = result.weights[image]
    if scale == "per map":
        largest = weights.max(axis=(-2, -1), keepdims=True)
        weights = weights / np.where(largest > 0, largest, 1)
    return compose(looks.colour(weights, looks.WEIGHT_MAP, (0.0, limit)))


def _limit(result: AttentionMaps, image: int, scale: str) -> tuple[float, float]:
    """The upper end of the colour scale, and the largest weight, which may be above it."""
    if scale not in ("shared", "per map"):
        raise BadParameter(f"the scale {scale!r}", "'shared' or 'per map'", "choose one of these")
    if scale == "per map":
        return 1.0, 1.0
    largest = float(result.weights[image].max())
    limit = float(np.percentile(result.weights[image], looks.SHARED_SCALE_PERCENTILE))
    limit = limit or largest or 1.0
    return limit, largest


def _draw_masses(axes: Axes, result: AttentionMaps, image: int, *, digits_pt: float) -> None:
    """A table of percentages on colours, its rows at the height of the maps' rows."""
    masses = result.prefix_mass[image].sum(axis=-1)
    axes.imshow(masses, cmap=looks.WEIGHT_MAP, vmin=0, vmax=1, aspect="auto", interpolation="none")
    for (layer, head), mass in np.ndenumerate(masses):
        ink = looks.INK if mass > 0.6 else looks.PAPER
        place: dict[str, Any] = {"ha": "center", "va": "center_baseline"}
        axes.text(head, layer, f"{100 * mass:.0f}", fontsize=digits_pt, color=ink, **place)
    axes.set(xticks=range(masses.shape[1]), yticks=[])
    only_padding = result.layout.key_prefix == (PADDING,)
    print_sheet.label(axes, x=f"% on {PADDING if only_padding else 'special tokens'}")


def _hover(result: AttentionMaps, image: int, layer: int, head: int) -> str:
    masses = zip(result.layout.key_prefix, result.prefix_mass[image, layer, head], strict=True)
    lines = [f"{name} {mass:.1%}" for name, mass in masses]
    largest = f"maximum on a patch {result.weights[image, layer, head].max():.3g}"
    return "<br>".join([f"<b>{looks.place_name(layer, head)}</b>", largest, *lines])


def _title(result: AttentionMaps) -> str:
    return f"Query: {result.query}"


def _unit(scale: str) -> str:
    return "Attention weight" if scale == "shared" else "Attention weight / maximum of the map"


def _caption(result: AttentionMaps, limit: float, largest: float, scale: str) -> str:
    if scale == "per map":
        return f"{result.model}\nEach map has its own scale, from 0 to its maximum."
    clipped = f", clipped at {limit:.3g} (maximum {largest:.3g})"
    return f"{result.model}\nShared scale{clipped if largest > limit else f', 0 to {limit:.3g}'}."


FIGURE = FigureSpec(
    record=AttentionMaps,
    slug="attention_maps",
    title="Attention maps",
    question="Which patches does CLS attend to?",
    reading="Each small map is one head of one layer. Bright patches get most of the attention of "
    "the query token: the class token (CLS), or what this model reads instead. Rows are "
    "layers, the first on top. Maps on a shared scale can be compared; on a scale of its own even "
    "a faint map can be seen.",
    caveat="Attention on special tokens is not on the maps; it is told in numbers. Attention "
    "shows what is mixed into a token, not what the decision depends on.",
    formula="A[layer, head, query, :] = softmax(q·K / √d)",
    source="Vaswani et al., arXiv 1706.03762; Caron et al. (DINO), arXiv 2104.14294",
    draw=draw,
    plot=plot,
    limits=limits_of,
    compared="weights",
)
