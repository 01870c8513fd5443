"""Where do two records of one figure differ? Right - left, with 0 in the middle of the scale."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from vit_inspect.errors import BadParameter
from vit_inspect.figures import looks, screen_sheet
from vit_inspect.figures.tiles import compose, name_tiles, plot_tiles
from vit_inspect.records.base import Result


def plot(
    first: Result, second: Result, quantity: str, *, shown: dict[str, list[int]] | None = None
) -> go.Figure:
    """The second record minus the first, for one quantity of the first image of each.

    Quantities of two axes become one map, of four axes a grid of maps. shown: the positions along
    an axis to pick, by axis. Raises `BadParameter` where the shapes differ.
    """
    arrays = first.arrays()[quantity], second.arrays()[quantity]
    axes = list(first.axes()[quantity])
    if axes[0] == "image":
        arrays, axes = tuple(array[0] for array in arrays), axes[1:]
    if arrays[0].shape != arrays[1].shape:
        sizes = [" × ".join(map(str, array.shape)) for array in arrays]
        raise BadParameter(
            f"{' × '.join(axes)} of {sizes[0]} and of {sizes[1]}",
            "the same shape for both",
            "choose models and input sizes with the same grid, layers and heads",
        )
    values = arrays[1] - arrays[0]
    sizes_by_axis = dict(zip(axes, values.shape, strict=True))
    picked = [(shown or {}).get(axis, list(range(size))) for axis, size in sizes_by_axis.items()]
    values = values[np.ix_(*picked)]
    largest = float(np.abs(values).max())
    # As in the figures themselves, a few sink tokens must not turn everything else white.
    limit = float(np.percentile(np.abs(values), looks.SHARED_SCALE_PERCENTILE)) or largest or 1.0
    title = f"{quantity.removesuffix('_px').replace('_', ' ').capitalize()}: right - left"
    words = f"{_words(second)} - {_words(first)}\nMaximum {largest:.3g}."
    height = 560 if values.ndim == 2 else max(560, min(1100, 64 * len(values)) + 200)
    figure = screen_sheet.screen(title, words, height=height, above=60)
    bar = screen_sheet.screen_colour_bar("Right - left", nticks=5)
    scale = looks.colour_scale(looks.DIFFERENCE_MAP)
    if values.ndim == 2:
        figure.add_heatmap(
            z=values.astype(np.float32),
            x=picked[1],
            y=picked[0],
            zmin=-limit,
            zmax=limit,
            colorscale=scale,
            colorbar=bar,
            hovertemplate=f"{axes[0]} %{{y}}, {axes[1]} %{{x}}<br>%{{z:.3g}}<extra></extra>",
        )
        axis = screen_sheet.screen_axis(constrain="domain")
        return figure.update_layout(
            xaxis=axis | {"title": {"text": axes[1]}, "constraintoward": "left"},
            yaxis=axis | {"title": {"text": axes[0]}, "autorange": "reversed", "scaleanchor": "x"},
        )
    tiles = compose(looks.colour(values, looks.DIFFERENCE_MAP, (-limit, limit)))
    places = [(row, column) for row in picked[0] for column in picked[1]]
    names = tuple(
        (axis.capitalize(), indices) for axis, indices in zip(axes, picked[:2], strict=False)
    )
    largest_of = np.abs(values).max(axis=(2, 3)).ravel()
    hover = [
        f"<b>{_place(axes, place)}</b><br>maximum {each:.3g}"
        for place, each in zip(places, largest_of, strict=True)
    ]
    plot_tiles(figure, tiles, hover=hover, picked=places)
    name_tiles(figure, tiles, rows=names[0], columns=names[1], side="bottom")
    figure.data[0].marker.update(
        cmin=-limit, cmax=limit, colorscale=scale, showscale=True, colorbar=bar
    )
    return figure


def _place(axes: list[str], place: tuple[int, int]) -> str:
    """What a tile is of: a head of a layer, or a patch."""
    if axes[:2] == ["layer", "head"]:
        return looks.place_name(*place)
    return looks.patch_name(*place).capitalize()


def _words(result: Result) -> str:
    photographs = getattr(result, "photographs", ())
    return ", ".join([result.model, *(each.name for each in photographs[:1])])
