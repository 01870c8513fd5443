"""How does a map look on the photograph in colour, as on the canvas of the dashboard?

"heat" lays a colour scale over the photograph whose opacity follows the value. "spotlight" darkens
what has a small value, as Figure 6 of the ViT paper does. Both show the part of the photograph that
the model saw, and nothing else.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image

from vit_inspect.errors import BadParameter
from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.overlay import PATCH, SCALE_IN, crop, patch_box, rectangle
from vit_inspect.figures.tiles import data_uri
from vit_inspect.layout import Box
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import PatchMap

Look = Literal["heat", "spotlight"]
Edges = Literal["smooth", "blocks"]

LONG_SIDE_PX = 1024
"""Of the picture in a file."""
LEAST_SHARE = 1e-3
"""Of a map's range that a clip must leave."""
MIDDLE_GREY = 0.565
"""What the colour scale lies over in its bar, in place of a photograph."""


def ends_of(
    values: Float[np.ndarray, "row column"], clip: float, *, from_zero: bool = True
) -> looks.Limits:
    """The ends of a map's own scale: 0 or its least value, and its percentile `clip`.

    A map with a few bright patches and nothing else ends at its largest value: it would be all of
    one colour.
    """
    low = 0.0 if from_zero else float(values.min())
    high = float(np.percentile(values, clip))
    largest = float(values.max())
    return (low, high) if high - low > LEAST_SHARE * (largest - low) else (low, max(largest, low))


def covered(
    photograph: Photograph,
    values: Float[np.ndarray, "row column"],
    limits: looks.Limits,
    look: Look,
    edges: Edges,
) -> UInt8[np.ndarray, "row_px column_px 3"]:
    """The part of the photograph that the model saw, with the map over it."""
    for name, value, known in (
        ("look", look, get_args(Look)),
        ("edges", edges, get_args(Edges)),
    ):
        if value not in known:
            words = " or ".join(map(repr, known))
            raise BadParameter(f"the {name} {value!r}", words, "choose one of these")
    seen = photograph.seen
    aspect = (seen.right - seen.left) / (seen.bottom - seen.top)
    size = (LONG_SIDE_PX, round(LONG_SIDE_PX * min(aspect, 1 / aspect)))
    rows, columns = sorted(size, reverse=aspect < 1)
    behind = crop(photograph, (max(rows, 1), max(columns, 1))).astype(np.float32)
    colours = looks.lit(scaled(values, limits), look).astype(np.float32)
    # Weighted by their opacity, so that colours without any do not bleed into others.
    weighted = np.concatenate([colours[..., :3] * colours[..., 3:], colours[..., 3:]], axis=-1)
    way = Image.Resampling.BILINEAR if edges == "smooth" else Image.Resampling.NEAREST
    large = np.stack(
        [
            np.asarray(Image.fromarray(weighted[..., channel]).resize(behind.shape[1::-1], way))
            for channel in range(4)
        ],
        axis=-1,
    )
    mixed = 255 * large[..., :3] + behind * (1 - large[..., 3:])
    return np.round(mixed).clip(0, 255).astype(np.uint8)


def scaled(
    values: Float[np.ndarray, "*shape"], limits: looks.Limits
) -> Float[np.ndarray, "*shape"]:
    """Values as shares of a scale; beyond its ends they are 0 or 1."""
    low, high = limits
    shares: Float[np.ndarray, "*shape"] = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    return shares


def draw(
    result: PatchMap,
    *,
    image: int,
    look: Look,
    edges: Edges,
    limits: looks.Limits,
    unit: str,
    patch: tuple[int, int] | None,
    words: tuple[str, str],
) -> Figure:
    """The map in print, as wide as a column; `patch` is outlined."""
    photograph, values = result.photographs[image], result.values[image]
    picture = covered(photograph, values, limits, look, edges)
    rows, columns = picture.shape[:2]
    width = print_sheet.COLUMN_IN - 0.1
    height = min(width * rows / columns, 4.5)
    width = height * columns / rows
    figure = print_sheet.page(print_sheet.COLUMN_IN, height + 1.0)
    axes = print_sheet.place(figure, left=0.05, top=0.5, width=width, height=height)
    axes.imshow(picture, extent=(0, columns, rows, 0), aspect="auto", interpolation="none")
    axes.set(xticks=[], yticks=[], xlim=(0, columns), ylim=(rows, 0))
    print_sheet.bare(axes)
    if patch is not None:
        box = _in_picture(photograph, result.layout.grid, patch, (rows, columns))
        for colour, line in ((looks.PAPER, 1.8), (looks.ACCENT, 1.0)):
            edge = {"edgecolor": colour, "linewidth": line}
            axes.add_patch(rectangle(box, fill=False, **edge))
    bar = print_sheet.place(
        figure, left=0.25, top=height + 0.58, width=max(width - 0.4, 0.8), height=SCALE_IN
    )
    largest = float(values.max())
    above = f", clipped (largest {largest:.3g})" if largest > limits[1] else ""
    print_sheet.colour_bar(
        bar,
        looks.lit_map(look, MIDDLE_GREY),
        limits,
        name=f"{unit}{above}",
        orientation="horizontal",
        ticks=print_sheet.round_ticks(4),
    )
    print_sheet.write_head(figure, *words)
    return figure


def plot(
    result: PatchMap,
    *,
    image: int,
    look: Look,
    edges: Edges,
    limits: looks.Limits,
    unit: str,
    patch: tuple[int, int] | None,
    words: tuple[str, str],
    width: int,
) -> go.Figure:
    """The same on a screen; each patch says its value, customdata is its (row, column)."""
    photograph, values = result.photographs[image], result.values[image]
    picture = covered(photograph, values, limits, look, edges)
    (high, wide), (rows, columns) = picture.shape[:2], values.shape
    height = round(min(620, width * high / wide))
    figure = screen_sheet.screen(*words, height=height + 198, above=60, width=width)
    figure.add_layout_image(
        source=data_uri(Image.fromarray(picture)),
        x=0,
        y=0,
        sizex=columns,
        sizey=rows,
        xref="x",
        yref="y",
        sizing="stretch",
        layer="below",
    )
    colours = looks.lit_map(look, MIDDLE_GREY)
    figure.add_heatmap(
        z=values.astype(np.float32),
        x0=0.5,
        y0=0.5,
        zmin=limits[0],
        zmax=limits[1],
        # The picture below has the colours; this one has the words and the bar.
        opacity=0,
        colorscale=_scale(colours),
        showscale=False,
        customdata=[[[row, column] for column in range(columns)] for row in range(rows)],
        hovertemplate=f"{PATCH}<br>%{{z:.3g}}<extra></extra>",
    )
    figure.add_scatter(
        x=[None],
        y=[None],
        marker={
            "color": [limits[0]],
            "cmin": limits[0],
            "cmax": limits[1],
            "colorscale": _scale(colours),
            "colorbar": screen_sheet.screen_colour_bar(unit, tickformat="~g", nticks=5),
            "showscale": True,
        },
        mode="markers",
        hoverinfo="skip",
    )
    if patch is not None:
        row, column = patch
        line = {"color": looks.ACCENT, "width": 2}
        figure.add_shape(type="rect", x0=column, y0=row, x1=column + 1, y1=row + 1, line=line)
    axis = screen_sheet.screen_axis(visible=False, constrain="domain")
    ratio = high / wide * columns / rows
    return figure.update_layout(
        margin_b=12,
        xaxis=axis | {"range": [0, columns], "constraintoward": "left"},
        yaxis=axis
        | {
            "range": [rows, 0],
            "scaleanchor": "x",
            "scaleratio": ratio,
            "constraintoward": "top",
        },
    )


def _in_picture(
    photograph: Photograph, grid: tuple[int, int], patch: tuple[int, int], size: tuple[int, int]
) -> Box:
    """The box of a patch in a picture of (rows, columns) that shows what the model saw."""
    box, seen = patch_box(photograph, grid, patch), photograph.seen
    down = size[0] / (seen.bottom - seen.top)
    right = size[1] / (seen.right - seen.left)
    return Box(
        (box.left - seen.left) * right,
        (box.top - seen.top) * down,
        (box.right - seen.left) * right,
        (box.bottom - seen.top) * down,
    )


def _scale(colours: ListedColormap) -> list[tuple[float, str]]:
    """A colour map for plotly."""
    stops = np.linspace(0, 1, 33)
    each = colours(stops, bytes=True)
    return [
        (float(stop), f"rgb({red},{green},{blue})")
        for stop, (red, green, blue, _) in zip(stops, each.tolist(), strict=True)
    ]
