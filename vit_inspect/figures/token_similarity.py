"""Which patches are similar to this one? Cosine similarity of their tokens."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import (
    aspect,
    draw_map,
    draw_patch,
    draw_photograph,
    draw_scale,
    draw_scale_beside,
    highest_in,
    pair,
    patch_box,
    place_box,
    plot_map,
    plot_patches,
    plot_sheet,
)
from vit_inspect.records.evidence import TokenSimilarity

UNIT = "Cosine similarity"
MOST_IN, LEAST_SHEET_IN = 2.4, 3.6
"""Height of a picture, at most, and width of the sheet, at least, where no width is given."""
BESIDE_IN, BELOW_IN, LEAST_BAR_IN = 0.65, 0.42, 0.95
"""Room for the colour bar right of the map and below it, and its height right of the map, at
least: its name is as long."""


def draw(result: TokenSimilarity, *, image: int = 0, width_in: float | None = None) -> Figure:
    """The patch in its photograph, and how similar all patches are to it; the scale is -1 to 1.

    width_in: of the sheet, in inches.
    """
    photograph, origin = result.photographs[image], result.origins[image]
    aspects, edge = (aspect(origin), aspect(photograph)), print_sheet.EDGE_IN
    free = (width_in or print_sheet.PAGE_IN) - 2 * edge
    highest = highest_in(MOST_IN, width_in)
    boxes = pair(aspects, width=free - BESIDE_IN, highest=highest)
    beside = boxes[0].bottom >= LEAST_BAR_IN and boxes[1].top == 0
    if not beside:
        boxes = pair(aspects, width=free, highest=highest)
    first, second = boxes
    wide, high = max(first.right, second.right) + beside * BESIDE_IN, second.bottom
    width = width_in or max(LEAST_SHEET_IN, wide + 2 * edge)
    figure = print_sheet.page(width, high + 1)
    start = (width - wide) / 2
    left, right = (place_box(figure, box, left=start, top=edge) for box in boxes)
    draw_photograph(left, origin)
    draw_patch(left, origin, grid=result.layout.grid, patch=result.patch)
    draw_photograph(right, photograph, grey=True)
    limits = looks.SIMILARITY_LIMITS
    signed = looks.SIMILARITY_MAP
    draw_map(right, photograph, result.similarity[image], limits, colour_map=signed)
    if origin is photograph:
        draw_patch(right, photograph, grid=result.layout.grid, patch=result.patch)
    scale: dict[str, Any] = {"name": UNIT, "above": False, "colour_map": signed}
    if beside:
        end = start + second.right + 0.08
        draw_scale_beside(figure, limits, left=end, top=edge, height=high, **scale)
    else:
        below, long = edge + high + 0.08, second.right - second.left
        draw_scale(figure, limits, left=start + second.left, top=below, width=long, **scale)
    words = high + 0.15 + (0 if beside else BELOW_IN)
    print_sheet.write_foot(figure, _words(result, image), top=words)
    return figure


def plot(result: TokenSimilarity, *, image: int = 0, width: int = 720) -> go.Figure:
    """The map over the whole photograph; customdata of a patch is its (row, column).

    width: px for the photograph.
    """
    photograph, values = result.photographs[image], result.similarity[image]
    title, words = _words(result, image).split("\n", 1)
    figure = plot_sheet(title, words, photograph, width=width, grey=True)
    scale: dict[str, Any] = {"unit": UNIT, "percent": False, "colour_map": looks.SIMILARITY_MAP}
    plot_map(figure, photograph, values, looks.SIMILARITY_LIMITS, **scale)
    figure.update_traces(customdata=None, hovertemplate=None, hoverinfo="skip")
    grid = result.layout.grid
    plot_patches(figure, photograph, grid, told=[f"{value:.3f}" for value in values.ravel()])
    if result.origins[image] is photograph:
        box = patch_box(photograph, grid, result.patch)
        for colour, thick in ((looks.PAPER, 4), (looks.ACCENT, 2)):
            figure.add_shape(
                type="rect",
                x0=box.left,
                y0=box.top,
                x1=box.right,
                y1=box.bottom,
                line={"color": colour, "width": thick},
            )
    return figure


def _words(result: TokenSimilarity, image: int) -> str:
    """Which patch of which image, which tokens, and the range of values."""
    origin, photograph = result.origins[image], result.photographs[image]
    of = "" if origin is photograph else f" of {origin.name}"
    values = result.similarity[image]
    least, greatest = (looks.number(end, ".2f") for end in (values.min(), values.max()))
    return (
        f"Similarity to {looks.patch_name(*result.patch)}{of}\n"
        f"{result.model}: tokens of layer {result.layer}, {result.state}\n"
        f"From {least} to {greatest} in {photograph.name}"
    )


FIGURE = FigureSpec(
    record=TokenSimilarity,
    slug="token_similarity",
    title="Similar patches",
    question="Which patches are similar to this one?",
    reading="The outlined patch is compared with all patches. Those in bright colours have nearly "
    "the same features: other parts of the same object, or the same part of another object, "
    "anywhere.",
    caveat="Cosine similarity ignores the norm of a token, so artefacts look like any patch. All "
    "tokens share a common part, so no single value means 'similar': compare values of "
    "one layer.",
    formula="S[k] = tₚ·tₖ / (|tₚ| |tₖ|), patches only, no mean subtracted",
    source="Caron et al. (DINO), arXiv 2104.14294; Amir et al., arXiv 2112.05814",
    draw=draw,
    plot=plot,
    compared="similarity",
)
