"""Where does a map lie on the photograph? Exactly on the part that the model saw.

Coordinates are pixels of the original, (0, 0) at its top left corner.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL import Image, ImageColor, ImageDraw

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.tiles import data_uri
from vit_inspect.layout import Box
from vit_inspect.records.base import Photograph

PATCH = "Patch (%{customdata[0]}, %{customdata[1]})"
"""The first line of a patch under the cursor; its customdata is its (row, column)."""

INPUT_PX, BORDER_OPACITY = 1280, 0.55
"""The long side of a picture that is cut into patches, and how much of it the borders hide."""

MAX_SCREEN_PX = 620
"""Height of a photograph on a screen, at most: it should not need scrolling."""

SMALLEST_IN = 0.8
"""Height of two pictures side by side, at least; lower ones stand one below the other."""

PAIR_GAP_IN = 0.1
"""From one picture to the next."""

SCALE_IN, SCALE_INSET_IN, TICK_IN = 0.08, 0.26, 0.58
"""Thickness of the colour bar of a map, the room at its ends for the numbers, and from one number
to the next, at least."""

REACH_IN = 0.02
"""How far the veil over what was not seen reaches beyond a photograph."""

OWN_SCALE = f"percentile {looks.CLIP:g}"
"""Where the scale of a map ends, in words."""


def unseen(photograph: Photograph) -> tuple[Box, ...]:
    """The parts of the photograph that the model never saw, as boxes that do not overlap."""
    (height, width), seen = photograph.size_px, photograph.seen
    around = (
        Box(0, 0, width, seen.top),
        Box(0, seen.bottom, width, height),
        Box(0, seen.top, seen.left, seen.bottom),
        Box(seen.right, seen.top, width, seen.bottom),
    )
    return tuple(box for box in around if box.right > box.left and box.bottom > box.top)


def patch_box(photograph: Photograph, grid: tuple[int, int], patch: tuple[int, int]) -> Box:
    """The box of a patch (row, column) of the grid (rows, columns)."""
    (rows, columns), (row, column), seen = grid, patch, photograph.seen
    height, width = (seen.bottom - seen.top) / rows, (seen.right - seen.left) / columns
    left, top = seen.left + column * width, seen.top + row * height
    return Box(left, top, left + width, top + height)


def crop(photograph: Photograph, size_px: tuple[int, int]) -> UInt8[np.ndarray, "row column 3"]:
    """The part that the model saw, resized to (rows px, columns px)."""
    rows, columns = photograph.pixels.shape[:2]
    down, right = rows / photograph.size_px[0], columns / photograph.size_px[1]
    seen = photograph.seen
    # Rounding may put the edge a hair outside, which Pillow refuses.
    box = (
        max(0.0, seen.left * right),
        max(0.0, seen.top * down),
        min(float(columns), seen.right * right),
        min(float(rows), seen.bottom * down),
    )
    picture = Image.fromarray(photograph.pixels)
    return np.asarray(picture.resize(size_px[::-1], Image.Resampling.LANCZOS, box))


def aspect(photograph: Photograph) -> float:
    """Width by height of the place of a photograph: a panorama or a tower fills only a part."""
    return float(np.clip(photograph.size_px[1] / photograph.size_px[0], 0.3, 3))


def highest_in(own: float, width_in: float | None) -> float:
    """The height of pictures, at most: their own, or more on a sheet that is wide."""
    return max(own, 0.55 * (width_in or 0))


def pair(aspects: tuple[float, float], *, width: float, highest: float) -> tuple[Box, Box]:
    """The places of two pictures in a given width: side by side, or one below the other.

    All in inches from the top left corner of both together. aspects: width by height of each.
    """
    height = min(highest, (width - PAIR_GAP_IN) / sum(aspects))
    first, second = (height * each for each in aspects)
    if height >= SMALLEST_IN:
        start = first + PAIR_GAP_IN
        return Box(0, 0, first, height), Box(start, 0, start + second, height)
    first, second = (min(width, highest * each) for each in aspects)
    middle = first / aspects[0] + PAIR_GAP_IN
    ends = first / aspects[0], middle + second / aspects[1]
    return Box(0, 0, first, ends[0]), Box(0, middle, second, ends[1])


def place_box(figure: Figure, box: Box, *, left: float, top: float) -> Axes:
    """Axes in a box that begins at (left, top); in inches from the top left corner of the sheet."""
    width, height = box.right - box.left, box.bottom - box.top
    place = {"left": left + box.left, "top": top + box.top, "width": width, "height": height}
    return print_sheet.place(figure, **place)


def draw_photograph(axes: Axes, photograph: Photograph, *, grey: bool = False) -> None:
    """The whole photograph; what the model never saw is faded. `grey` leaves colour to a map."""
    height, width = photograph.size_px
    pixels = np.asarray(_grey(photograph)) if grey else photograph.pixels
    axes.imshow(pixels, extent=(0, width, height, 0), aspect="equal")
    reach = REACH_IN * width / print_sheet.size_in(axes)[0]
    for box in unseen(photograph):
        veil = {"facecolor": looks.UNSEEN, "alpha": looks.UNSEEN_OPACITY, "linewidth": 0}
        # Over the border, onto the paper, which has its colour: an edge on the border is rounded
        # in another way than the picture's, and can leave a line of its pixels uncovered.
        wider = Box(
            box.left if box.left > 0 else -reach,
            box.top if box.top > 0 else -reach,
            box.right if box.right < width else width + reach,
            box.bottom if box.bottom < height else height + reach,
        )
        axes.add_patch(rectangle(wider, **veil, antialiased=False, clip_on=False, zorder=2))
    axes.add_patch(
        rectangle(photograph.seen, fill=False, edgecolor=looks.QUIET, linewidth=print_sheet.RULE_PT)
    )
    axes.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    print_sheet.bare(axes)


def draw_patch(
    axes: Axes, photograph: Photograph, *, grid: tuple[int, int], patch: tuple[int, int]
) -> None:
    """Outlines one patch."""
    box = patch_box(photograph, grid, patch)
    axes.add_patch(rectangle(box, fill=False, edgecolor=looks.PAPER, linewidth=1.8, zorder=4))
    axes.add_patch(rectangle(box, fill=False, edgecolor=looks.ACCENT, linewidth=1.0, zorder=5))


def is_beyond(values: Float[np.ndarray, "*shape"], limits: looks.Limits) -> bool:
    """Whether values lie beyond the upper end of a scale."""
    return bool(values.max() > limits[1])


def draw_map(
    axes: Axes,
    photograph: Photograph,
    values: Float[np.ndarray, "row column"],
    limits: looks.Limits,
    *,
    colour_map: str | None = None,
) -> AxesImage:
    """A map of the patches over the part of the photograph that the model saw.

    colour_map: of values that have two signs, which lie over a grey photograph; else heat, whose
        opacity follows the value, over one in colour.
    """
    left, top, right, bottom = photograph.seen
    return axes.imshow(
        values,
        cmap=colour_map or looks.heat_map(),
        vmin=limits[0],
        vmax=limits[1],
        alpha=looks.MAP_OPACITY if colour_map else None,
        extent=(left, right, bottom, top),
        interpolation="none",
        aspect="equal",
        zorder=1.5,
    )


def draw_scale(
    figure: Figure,
    limits: looks.Limits,
    *,
    name: str,
    left: float,
    top: float,
    width: float,
    **options: Any,
) -> None:
    """A horizontal colour bar for the map above it, which lies from `left` on and is `width` wide.

    All in inches from the top left corner of the sheet. options: `above` and `percent` of
    `bar_ticks`, and `colour_map`.
    """
    left, width = left + SCALE_INSET_IN, width - 2 * SCALE_INSET_IN
    bar = print_sheet.place(figure, left=left, top=top, width=width, height=SCALE_IN)
    few = width < 2 * TICK_IN
    _fill_scale(bar, limits, name, few=few, orientation="horizontal", **options)


def draw_scale_beside(
    figure: Figure,
    limits: looks.Limits,
    *,
    name: str,
    left: float,
    top: float,
    height: float,
    **options: Any,
) -> None:
    """The same, upright, for a map to the left of it that is as high."""
    bar = print_sheet.place(figure, left=left, top=top, width=SCALE_IN, height=height)
    _fill_scale(bar, limits, name, orientation="vertical", **options)


def _fill_scale(
    axes: Axes,
    limits: looks.Limits,
    name: str,
    *,
    orientation: str,
    above: bool,
    few: bool = False,
    percent: bool = False,
    colour_map: str | None = None,
) -> None:
    """few: whether there is room for the numbers of the ends alone."""
    ticks, told = bar_ticks(limits, above=above, percent=percent)
    step = 2 if few else 1
    bar = print_sheet.colour_bar(
        axes,
        colour_map or looks.lit_map("heat"),
        limits,
        name=name,
        opacity=_opacity(colour_map),
        orientation=orientation,
        ticks=ticks[::step],
    )
    bar.set_ticklabels(told[::step])


def _opacity(colour_map: str | None) -> float:
    """Of a colour bar: what lies over a photograph shows on the paper, or on a middle grey."""
    return looks.MAP_OPACITY if colour_map else 1.0


def plot_photograph(figure: go.Figure, photograph: Photograph, *, grey: bool = False) -> go.Figure:
    """The whole photograph as a layout image, what the model never saw faded.

    grey: leaves colour to a map.
    """
    height, width = photograph.size_px
    figure.add_layout_image(
        source=_on_screen(photograph, grey),
        x=0,
        y=0,
        sizex=width,
        sizey=height,
        xref="x",
        yref="y",
        sizing="stretch",
        layer="below",
    )
    veil = {"fillcolor": looks.UNSEEN, "opacity": looks.UNSEEN_OPACITY, "line": {"width": 0}}
    for left, top, right, bottom in unseen(photograph):
        figure.add_shape(type="rect", x0=left, y0=top, x1=right, y1=bottom, **veil)
    axis = screen_sheet.screen_axis(visible=False, constrain="domain")
    figure.update_layout(
        xaxis=axis | {"range": [0, width], "constraintoward": "left"},
        yaxis=axis | {"range": [height, 0], "scaleanchor": "x", "constraintoward": "top"},
    )
    return figure


def plot_sheet(
    title: str, subtitle: str, photograph: Photograph, *, width: int, grey: bool = False
) -> go.Figure:
    """A photograph, `width` px wide at most, below words and a colour bar."""
    lines = 1 + subtitle.count("\n")
    height = height_px(photograph, width) + 138 + screen_sheet.LINE_PX * lines
    figure = screen_sheet.screen(title, subtitle, height=height, above=60, width=width)
    figure.update_layout(margin_b=12)
    return plot_photograph(figure, photograph, grey=grey)


def height_px(photograph: Photograph, width: int) -> int:
    """The height in px of a photograph on a screen with `width` px for it."""
    rows, columns = photograph.size_px
    return round(min(MAX_SCREEN_PX, width * rows / columns))


def plot_input(photograph: Photograph, grid: tuple[int, int], *, width: int = 720) -> go.Figure:
    """The photograph in colour, with lines between its patches; `grid` is (rows, columns)."""
    figure = screen_sheet.screen("", "", height=height_px(photograph, width))
    figure.update_layout(margin={"l": 0, "r": 0, "t": 0, "b": 0}, annotations=[])
    plot_photograph(figure, photograph)
    (rows, columns), (left, top, right, bottom) = grid, photograph.seen
    across, down = np.linspace(left, right, columns + 1), np.linspace(top, bottom, rows + 1)
    # One line with gaps: a shape for each would be slow on large grids.
    gaps = np.full(columns + 1 + rows + 1, np.nan)
    starts = np.concatenate([across, np.full(rows + 1, left)])
    ends = np.concatenate([across, np.full(rows + 1, right)])
    tops = np.concatenate([np.full(columns + 1, top), down])
    bottoms = np.concatenate([np.full(columns + 1, bottom), down])
    return figure.add_scatter(
        x=np.stack([starts, ends, gaps], axis=1).ravel(),
        y=np.stack([tops, bottoms, gaps], axis=1).ravel(),
        mode="lines",
        line={"color": "rgba(255,255,255,0.55)", "width": 0.7},
        hoverinfo="skip",
    )


def input_picture(photograph: Photograph, grid: tuple[int, int]) -> Image.Image:
    """The photograph in colour, cut into patches, what the model never saw faded.

    A picture alone: it has the place that it needs on any screen. grid: (rows, columns).
    """
    rows, columns = photograph.size_px
    scale = INPUT_PX / max(rows, columns)
    size = max(round(columns * scale), 1), max(round(rows * scale), 1)
    picture = Image.fromarray(photograph.pixels).resize(size, Image.Resampling.LANCZOS)
    above = ImageDraw.Draw(picture, "RGBA")
    veil = (*ImageColor.getrgb(looks.UNSEEN), round(255 * looks.UNSEEN_OPACITY))
    for box in unseen(photograph):
        corners = [round(scale * each) for each in box]
        above.rectangle((*corners[:2], corners[2] - 1, corners[3] - 1), fill=veil)
    left, top, right, bottom = (scale * each for each in photograph.seen)
    line = (*ImageColor.getrgb(looks.PAPER), round(255 * BORDER_OPACITY))
    for x in np.linspace(left, right, grid[1] + 1):
        above.line((x, top, x, bottom), fill=line, width=2)
    for y in np.linspace(top, bottom, grid[0] + 1):
        above.line((left, y, right, y), fill=line, width=2)
    return picture


def plot_patches(
    figure: go.Figure,
    photograph: Photograph,
    grid: tuple[int, int],
    *,
    told: Sequence[str] | None = None,
) -> go.Figure:
    """Makes each patch answer to the cursor; its customdata is its (row, column).

    told: further words of each patch, in raster order.
    """
    places = list(np.ndindex(grid))
    boxes = [patch_box(photograph, grid, place) for place in places]
    words = PATCH + ("<br>%{text}" if told else "")
    return screen_sheet.add_squares(
        figure,
        size=14,
        x=[(box.left + box.right) / 2 for box in boxes],
        y=[(box.top + box.bottom) / 2 for box in boxes],
        customdata=[list(place) for place in places],
        text=told,
        hovertemplate=f"{words}<extra></extra>",
    )


def plot_map(
    figure: go.Figure,
    photograph: Photograph,
    values: Float[np.ndarray, "row column"],
    limits: looks.Limits,
    *,
    unit: str,
    percent: bool = True,
    colour_map: str | None = None,
) -> go.Figure:
    """A map over the part that the model saw; customdata of a patch is its (row, column).

    percent: whether values are shown in percent. colour_map: as for `draw_map`.
    """
    (rows, columns), (left, top, right, bottom) = values.shape, photograph.seen
    down, across = (bottom - top) / rows, (right - left) / columns
    low, high = limits
    scale = looks.colour_scale(colour_map or looks.lit_map("heat"), _opacity(colour_map))
    figure.add_heatmap(
        z=values.astype(np.float32),
        x0=left + across / 2,
        dx=across,
        y0=top + down / 2,
        dy=down,
        zmin=low,
        # All values of an even map are the start of its scale; without a span plotly has no start.
        zmax=high if high > low else low + 1,
        zsmooth=False,
        colorscale=scale if colour_map else looks.heat_scale(),
        showscale=False,
        customdata=[[[row, column] for column in range(columns)] for row in range(rows)],
        hovertemplate=f"{PATCH}<br>%{{z:{'.3%' if percent else '.3g'}}}<extra></extra>",
    )
    above = is_beyond(values, limits)
    return plot_bar(figure, scale, limits, unit, above=above, percent=percent)


def plot_bar(
    figure: go.Figure,
    scale: list[tuple[float, str]],
    ends: looks.Limits,
    unit: str,
    *,
    above: bool,
    percent: bool = False,
    labels: tuple[str, str] | None = None,
    **options: Any,
) -> go.Figure:
    """The colour bar of maps that have none of their own: heat fades into the paper.

    scale: colours for plotly. above: whether values lie beyond the upper end. labels: of both ends,
    in place of numbers. options: of the colour bar.
    """
    ticks, told = bar_ticks(ends, above=above, percent=percent, labels=labels)
    low, high = ends
    return figure.add_scatter(
        x=[None],
        y=[None],
        marker={
            "color": [low],
            # Of an even map the one number stands in the middle, as in print.
            "cmin": low if high > low else low - 0.5,
            "cmax": high if high > low else low + 0.5,
            "colorscale": scale,
            "colorbar": screen_sheet.screen_colour_bar(
                unit, tickvals=ticks, ticktext=told, **options
            ),
            "showscale": True,
        },
        mode="markers",
        hoverinfo="skip",
    )


def bar_ticks(
    ends: looks.Limits,
    *,
    above: bool,
    below: bool = False,
    percent: bool = False,
    labels: tuple[str, str] | None = None,
) -> tuple[list[float], list[str]]:
    """Where the numbers of a colour bar stand, and how they are told: in print as on a screen.

    below: whether values lie beyond the lower end. Other options are those of `plot_bar`. Of an
    even map there is one number.
    """
    ticks = sorted(set(ends) if labels else {ends[0], sum(ends) / 2, ends[1]})
    told = list(labels or (value_words(each, percent=percent) for each in ticks))
    if below:
        told[0] = f"≤ {told[0]}"
    if above:
        told[-1] = f"≥ {told[-1]}"
    return ticks, told


def clip_words(
    values: Float[np.ndarray, "*shape"],
    limits: looks.Limits,
    *,
    of: str = "",
    percent: bool = False,
    scale: str = OWN_SCALE,
) -> str:
    """Where colours end, as a sentence behind others; empty where no value lies beyond.

    of: which map, where there are several. scale: what the end is.
    """
    if not is_beyond(values, limits):
        return ""
    largest = float(values.max())
    end, most = (value_words(each, percent=percent) for each in (limits[1], largest))
    start, far = f"{of}: colours" if of else "Colours", beyond_words(largest, limits[1])
    return f" {start} end at {end}, {scale} (largest {most}{far})."


def beyond_words(largest: float, end: float) -> str:
    """How far the largest value lies beyond the end of a scale; empty below twice the end."""
    if largest < 2 * end or end <= 0:
        return ""
    times = float(f"{largest / end:.2g}")
    return f", {times:,.10g} × the end of the scale"


def scale_words(limits: looks.Limits | None) -> str:
    """What the end of a scale is: of a given one, or of the map's own."""
    return "on a given scale" if limits else OWN_SCALE


def value_words(value: float, *, percent: bool) -> str:
    """A value of a map in words."""
    return f"{looks.number(100 * value, '.3g')}%" if percent else looks.number(value, ".3g")


@lru_cache(maxsize=16)
def _on_screen(photograph: Photograph, grey: bool) -> str:
    """The photograph as text for a page; all figures of one photograph show the same picture."""
    picture = _grey(photograph) if grey else Image.fromarray(photograph.pixels)
    return data_uri(picture, "WEBP")


def _grey(photograph: Photograph) -> Image.Image:
    return Image.fromarray(photograph.pixels).convert("L").convert("RGB")


def rectangle(box: Box, **properties: object) -> Rectangle:
    """A box as a matplotlib patch."""
    width, height = box.right - box.left, box.bottom - box.top
    return Rectangle((box.left, box.top), width, height, **properties)  # type: ignore[arg-type]
