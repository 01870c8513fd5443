"""Which patches are similar to this one? Cosine similarity of their tokens."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import (
    draw_map,
    draw_patch,
    draw_photograph,
    patch_box,
    plot_map,
    plot_patches,
    plot_sheet,
)
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import TokenSimilarity

UNIT = "Cosine similarity"


def draw(result: TokenSimilarity, *, image: int = 0) -> Figure:
    """The patch in its photograph, and how similar all patches are to it; the scale is -1 to 1."""
    photograph, origin = result.photographs[image], result.origins[image]
    height = 2.4
    widths = [height * _aspect(each) for each in (origin, photograph)]
    squeeze = min(1, (print_sheet.PAGE_IN - 0.85) / sum(widths))
    height, widths = height * squeeze, [width * squeeze for width in widths]
    figure = print_sheet.page(max(3.6, sum(widths) + 0.85), height + 0.8)
    place = {"top": 0.05, "height": height}
    left = print_sheet.place(figure, left=0.05, width=widths[0], **place)
    draw_photograph(left, origin)
    draw_patch(left, origin, grid=result.layout.grid, patch=result.patch)
    right = print_sheet.place(figure, left=0.15 + widths[0], width=widths[1], **place)
    draw_photograph(right, photograph, grey=True)
    limits = looks.SIMILARITY_LIMITS
    draw_map(right, photograph, result.similarity[image], limits).set_cmap(looks.SIMILARITY_MAP)
    if origin is photograph:
        draw_patch(right, photograph, grid=result.layout.grid, patch=result.patch)
    bar = print_sheet.place(figure, left=0.23 + sum(widths), width=0.09, **place)
    print_sheet.colour_bar(
        bar,
        looks.SIMILARITY_MAP,
        limits,
        name=UNIT,
        opacity=looks.MAP_OPACITY,
        ticks=(-1, 0, 1),
    )
    bar.set_yticklabels(["−1", "0", "1"])
    print_sheet.write(figure, _words(result, image), left=0.05, top=height + 0.15, linespacing=1.4)
    return figure


def plot(result: TokenSimilarity, *, image: int = 0, width: int = 720) -> go.Figure:
    """The map over the whole photograph; customdata of a patch is its (row, column).

    width: px for the photograph.
    """
    photograph, values = result.photographs[image], result.similarity[image]
    title, words = _words(result, image).split("\n", 1)
    figure = plot_sheet(title, f"{words}\n ", photograph, width=width)
    least, greatest = looks.SIMILARITY_LIMITS
    plot_map(figure, photograph, values, (least, greatest), unit=UNIT)
    figure.update_traces(
        colorscale=looks.colour_scale(looks.SIMILARITY_MAP, looks.MAP_OPACITY),
        colorbar=screen_sheet.screen_colour_bar(UNIT, tickvals=[least, 0, greatest], tickformat=""),
        customdata=None,
        hovertemplate=None,
        hoverinfo="skip",
    )
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


def _aspect(photograph: Photograph) -> float:
    return float(np.clip(photograph.size_px[1] / photograph.size_px[0], 0.3, 3))


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
    reading="The outlined patch is compared with all patches. Bright patches have nearly the same "
    "features: other parts of the same object, or the same part of another object, "
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
