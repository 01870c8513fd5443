"""Where do two records of one figure differ? Right - left, with 0 in the middle of the scale."""

from __future__ import annotations

from typing import Any

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
    title = f"{quantity.removesuffix('_px').replace('_', ' ').capitalize()}: right − left"
    least, most = (looks.number(float(end), ".3g") for end in (values.min(), values.max()))
    words = f"{' − '.join(_unlike(second, first))}\nFrom {least} to {most}."
    height = 560 if values.ndim == 2 else max(560, min(1100, 64 * len(values)) + 200)
    figure = screen_sheet.screen(title, words, height=height, above=60)
    clipped = ", clipped" if largest > limit else ""
    bar = screen_sheet.screen_colour_bar(f"Right − left{clipped}", nticks=5)
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
        rows, columns = ((places[0] - 0.5, places[-1] + 0.5) for places in picked)
        axis = screen_sheet.screen_axis(constrain="domain")
        figure.update_layout(
            xaxis=axis | {"range": columns, "constraintoward": "left"},
            yaxis=axis | {"range": rows[::-1], "scaleanchor": "x"},
        )
        # An axis title of plotly's stays where the axis was before its proportion moved it.
        note: dict[str, Any] = {"xref": "x", "yref": "y", "showarrow": False}
        name = axes[1].capitalize()
        figure.add_annotation(text=name, x=sum(columns) / 2, y=rows[1], yshift=-34, **note)
        note |= {"textangle": -90, "xshift": -38}
        return figure.add_annotation(
            text=axes[0].capitalize(), x=columns[0], y=sum(rows) / 2, **note
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


def _unlike(*results: Result) -> list[str]:
    """What each record is of, as far as it differs between them."""
    told = [
        (
            result.model,
            *(each.name for each in getattr(result, "photographs", ())[:1]),
            getattr(result, "kind", ""),
        )
        for result in results
    ]
    unlike = [
        [part for part, *others in zip(own, *told, strict=False) if {part} != set(others)]
        for own in told
    ]
    return [", ".join(parts or filter(None, own)) for parts, own in zip(unlike, told, strict=True)]
