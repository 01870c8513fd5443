"""Which patches support an output, and do simpler methods agree? (Chefer et al. 2103.15679)"""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.figure import Figure

from vit_inspect.errors import BadParameter
from vit_inspect.figures import looks, print_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import (
    aspect,
    clip_words,
    draw_map,
    draw_photograph,
    draw_scale,
    highest_in,
    is_beyond,
    plot_map,
    plot_sheet,
    scale_words,
)
from vit_inspect.records.evidence import AttentionRelevance

WAYS = {
    "relevance": "Attention relevance",
    "grad_cam": "Grad-CAM, last block",
    "input_gradient": "Input × gradient",
}
"""The record's maps: relevance, and two simpler methods to compare it with."""
UNITS = {
    "relevance": "Relevance",
    "grad_cam": "Grad-CAM",
    "input_gradient": "Input × gradient",
}
"""The names of their colour bars; gradient times input has the unit of the target."""

MOST_IN, LEAST_IN, LEAST_SHEET_IN = 2.4, 1.2, 4.6
"""Height of a map, at most; its width, at least, for its title; and width of the sheet, at least.
The first and the last are for a sheet of no given width."""
GAP_IN, TITLE_IN, SCALE_BELOW_IN = 0.1, 0.22, 0.54
"""Between maps, and the room for what is above and below them."""


def draw(
    result: AttentionRelevance,
    *,
    image: int = 0,
    limits: looks.Limits | None = None,
    width_in: float | None = None,
) -> Figure:
    """The three maps side by side, each on its own scale, over the photograph.

    Where that leaves no room for their titles, they are in two rows, with the photograph first.

    limits: ends of the scale of relevance, to give two figures the same scale.
    width_in: of the sheet, in inches.
    """
    photograph, edge = result.photographs[image], print_sheet.EDGE_IN
    free = (width_in or print_sheet.PAGE_IN) - 2 * edge + GAP_IN
    columns = 3 if free / 3 - GAP_IN >= LEAST_IN else 2
    ways = list(WAYS) if columns == 3 else [None, *WAYS]
    shape = aspect(photograph)
    height = min(highest_in(MOST_IN, width_in), (free / columns - GAP_IN) / shape)
    width = max(height * shape, LEAST_IN)
    sheet = width_in or max(LEAST_SHEET_IN, 3 * (width + GAP_IN) - GAP_IN + 2 * edge)
    pitch = (sheet - 2 * edge + GAP_IN) / columns
    figure = print_sheet.page(sheet, 10)
    ends = ""
    for place, way in enumerate(ways):
        row, column = divmod(place, columns)
        left = edge + (column + 0.5) * pitch - (width + GAP_IN) / 2
        top = TITLE_IN + row * (TITLE_IN + height + SCALE_BELOW_IN)
        axes = print_sheet.place(figure, left=left, top=top, width=width, height=height)
        draw_photograph(axes, photograph)
        print_sheet.label(axes, title=WAYS[way] if way else "Photograph")
        if way:
            given = limits if way == "relevance" else None
            scale = given or limits_of(result, image, way=way)
            values = shown(result, way, image)
            draw_map(axes, photograph, values, scale)
            bar: dict[str, Any] = {"left": left, "top": top + height + 0.08, "width": width}
            draw_scale(figure, scale, name=UNITS[way], above=is_beyond(values, scale), **bar)
            ends += clip_words(values, scale, of=UNITS[way], scale=scale_words(given))
    words = "\n".join((_title(result, image), *_words(result, image))) + ends
    print_sheet.write_foot(figure, words, top=top + height + SCALE_BELOW_IN)
    return figure


def plot(
    result: AttentionRelevance,
    *,
    image: int = 0,
    way: str = "relevance",
    limits: looks.Limits | None = None,
    width: int = 720,
) -> go.Figure:
    """One of the maps over the whole photograph; customdata of a patch is its (row, column).

    way: a name of `WAYS`.
    limits: ends of the colour scale, to give two figures the same scale.
    width: px that are free for the photograph.
    """
    photograph, values = result.photographs[image], shown(result, way, image)
    if way == "relevance":
        title, words = _title(result, image), "\n".join(_words(result, image)[:2])
    else:
        title, words = WAYS[way], f"For {result.target[image]}; negative contributions set to 0."
    ends = limits or limits_of(result, image, way=way)
    words += clip_words(values, ends, scale=scale_words(limits))
    figure = plot_sheet(title, words, photograph, width=width)
    return plot_map(figure, photograph, values, ends, unit=UNITS[way], percent=False)


def plots(result: AttentionRelevance, *, image: int = 0) -> list[go.Figure]:
    """The maps of the two simpler methods."""
    return [plot(result, image=image, way=way) for way in WAYS if way != "relevance"]


def shown(result: AttentionRelevance, way: str, image: int) -> Float[np.ndarray, "row column"]:
    """The map as it is drawn: negative contributions are set to 0."""
    if way not in WAYS:
        raise BadParameter(f"the way {way!r}", f"one of {', '.join(WAYS)}", "choose one of these")
    values: Float[np.ndarray, "row column"] = getattr(result, way)[image]
    return np.maximum(values, 0)


def limits_of(
    result: AttentionRelevance, image: int = 0, *, way: str = "relevance"
) -> looks.Limits:
    """The ends of a map's colour scale.

    It starts at the map's minimum: a model that reads the mean of its patches reads a part of each
    patch, whatever attention does.
    """
    return looks.ends_of(shown(result, way, image), from_zero=False)


def _title(result: AttentionRelevance, image: int) -> str:
    return f"Patches that support {result.target[image]}"


def _words(result: AttentionRelevance, image: int) -> tuple[str, str, str]:
    relevance = np.sort(result.relevance[image].ravel())
    above = relevance - relevance[0]
    total, half = above.sum(), 0
    if total > 0:
        half = 1 + int(np.searchsorted(above[::-1].cumsum(), total / 2))
    count = f"{half:,} of {relevance.size:,} patches hold half of it" if half else "none"
    return (
        f"{result.model}, read at its {result.layout.readout}",
        f"Relevance above the minimum, {looks.number(relevance[0], '.3g')}: {count}.",
        "Grad-CAM and input × gradient: negative contributions are set to 0.",
    )


FIGURE = FigureSpec(
    record=AttentionRelevance,
    slug="attention_relevance",
    title="Relevance",
    question="Which patches support the output?",
    reading="Attention is multiplied through the layers, as in rollout, but weighted by how much "
    "it raises the target. The target is a class, or the similarity of the image to "
    "another image or to one of its patches. Patches high on the scale, pale yellow, raise "
    "it most. Another class gives another map. Two simpler methods stand beside it: where all "
    "agree, trust the map more.",
    caveat="A gradient says what a small change would do, not what happens without a patch: see "
    "Faithfulness for that. Negative contributions are set to 0 in every layer, and MLPs "
    "are ignored. The size of a value means nothing by itself: compare patches of one map "
    "only.",
    formula="R ← R + E_h[(∂y/∂A ⊙ A)⁺] R, first layer first; the read-out's row",
    source="Chefer et al., arXiv 2103.15679; Selvaraju et al. (Grad-CAM), arXiv 1610.02391; "
    "Shrikumar et al. (input × gradient), arXiv 1605.01713",
    draw=draw,
    plot=plot,
    limits=limits_of,
    compared="relevance",
    plots=plots,
)
