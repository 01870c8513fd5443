"""Which patches have similar features? Three principal components as colours (DINOv2)."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from vit_inspect.figures import lit, looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.lit import Edges
from vit_inspect.figures.overlay import (
    PATCH,
    aspect,
    draw_photograph,
    height_px,
    highest_in,
    pair,
    place_box,
    plot_photograph,
)
from vit_inspect.figures.tiles import LONG_SIDE_PX, data_uri
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import FeaturePca

COLOURS = ("red", "green", "blue")
MOST_IN, LEAST_SHEET_IN = 2.6, 3.6
"""Height of a picture, at most, and width of the sheet, at least, where no width is given."""
GAP = 0.02
"""The space between the two pictures, as a share of the width."""


def draw(
    result: FeaturePca, *, image: int = 0, edges: Edges = "blocks", width_in: float | None = None
) -> Figure:
    """The photograph, and beside it the colours of its patches over the same.

    edges: "smooth" between the centres of patches, or "blocks", one for each patch.
    width_in: of the sheet, in inches.
    """
    photograph = result.photographs[image]
    free = (width_in or print_sheet.PAGE_IN) - 2 * print_sheet.EDGE_IN
    highest = highest_in(MOST_IN, width_in)
    boxes = pair((aspect(photograph),) * 2, width=free, highest=highest)
    wide, high = boxes[1].right, boxes[1].bottom
    width = width_in or max(LEAST_SHEET_IN, wide + 2 * print_sheet.EDGE_IN)
    figure = print_sheet.page(width, high + 1)
    start = (width - wide) / 2
    left, right = (place_box(figure, box, left=start, top=print_sheet.EDGE_IN) for box in boxes)
    draw_photograph(left, photograph)
    draw_photograph(right, photograph)
    seen = photograph.seen
    right.imshow(
        _enlarged(result, image, edges),
        alpha=looks.TINT_OPACITY,
        extent=(seen.left, seen.right, seen.bottom, seen.top),
        interpolation="none",
        zorder=1.5,
    )
    print_sheet.write_foot(figure, _words(result, image), top=high + 0.15)
    return figure


def plot(
    result: FeaturePca, *, image: int = 0, edges: Edges = "blocks", width: int = 1040
) -> go.Figure:
    """The same; each patch shows its scores, customdata is its (row, column).

    width: px for both.
    """
    photograph, seen = result.photographs[image], result.photographs[image].seen
    title, words = _words(result, image).split("\n", 1)
    height = height_px(photograph, round(width * (1 - GAP) / 2))
    figure = screen_sheet.screen(title, words, height=height + 118)
    figure.update_layout(margin={"l": 0, "r": 0, "b": 8})
    plot_photograph(figure, photograph)
    behind = plot_photograph(go.Figure(), photograph).layout
    for picture in behind.images:
        figure.add_layout_image(picture.update(xref="x2", yref="y2"))
    for veil in behind.shapes:
        figure.add_shape(veil.update(xref="x2", yref="y2"))
    # At the other corner: plotly takes two pictures of one place and size for one.
    figure.add_layout_image(
        source=data_uri(_enlarged(result, image, edges)),
        opacity=looks.TINT_OPACITY,
        x=seen.right,
        y=seen.bottom,
        xanchor="right",
        yanchor="bottom",
        sizex=seen.right - seen.left,
        sizey=seen.bottom - seen.top,
        xref="x2",
        yref="y2",
        sizing="stretch",
        layer="below",
    )
    _add_scores(figure, result, image, photograph)
    rows, columns = photograph.size_px
    hidden = screen_sheet.screen_axis(visible=False, constrain="domain")
    return figure.update_layout(
        xaxis_domain=(0, (1 - GAP) / 2),
        xaxis2=hidden
        | {
            "range": [0, columns],
            "domain": ((1 + GAP) / 2, 1),
            "anchor": "y2",
            "constraintoward": "left",
        },
        yaxis2=hidden
        | {"range": [rows, 0], "scaleanchor": "x2", "anchor": "x2", "constraintoward": "top"},
    )


def colours(result: FeaturePca, image: int) -> UInt8[np.ndarray, "row column 3"]:
    """Red, green and blue of each patch; 0.5 for a component that does not vary."""
    low, high = result.ends[image].T
    span = high - low
    # What rounding makes of tokens that do not vary must not become a colour.
    varies = span > 1e-6 * max(span.max(), 1e-30)
    scaled = (result.components[image] - low) / np.where(varies, span, 1)
    return np.round(255 * np.where(varies, np.clip(scaled, 0, 1), 0.5)).astype(np.uint8)


def _enlarged(result: FeaturePca, image: int, edges: Edges) -> Image.Image:
    """Each patch as a square of many pixels, so that no viewer blurs it in a way of its own."""
    picture = Image.fromarray(colours(result, image))
    times = max(1, LONG_SIDE_PX // max(picture.size))
    return picture.resize((picture.width * times, picture.height * times), lit.resampling(edges))


def _add_scores(figure: go.Figure, result: FeaturePca, image: int, photograph: Photograph) -> None:
    """An invisible map that shows the scores of the patch under the cursor."""
    scores, seen = result.components[image], photograph.seen
    rows, columns = scores.shape[:2]
    down, across = (seen.bottom - seen.top) / rows, (seen.right - seen.left) / columns
    told = "<br>".join(
        f"{name} %{{customdata[{place}]:.3g}}" for place, name in enumerate(COLOURS, start=2)
    )
    figure.add_heatmap(
        z=np.zeros((rows, columns), np.float32),
        x0=seen.left + across / 2,
        dx=across,
        y0=seen.top + down / 2,
        dy=down,
        xaxis="x2",
        yaxis="y2",
        colorscale=[(0, "rgba(0,0,0,0)"), (1, "rgba(0,0,0,0)")],
        showscale=False,
        customdata=[
            [[row, column, *scores[row, column].tolist()] for column in range(columns)]
            for row in range(rows)
        ],
        hovertemplate=f"{PATCH}<br>{told}<extra></extra>",
    )


def _words(result: FeaturePca, image: int) -> str:
    """Which tokens, how much of the variance the colours show, and what they compare with."""
    shares = result.explained_variance_ratio[image]
    each = ", ".join(f"{name} {share:.1%}" for name, share in zip(COLOURS, shares, strict=True))
    if result.basis == "common":
        basis = "Same components for all images: colours can be compared."
    else:
        basis = "Components of this image alone: colours of two images cannot be compared."
    return (
        f"{result.model}: tokens of layer {result.layer}, {result.state}\n"
        f"Variance shown: {each}; together {shares.sum():.1%}\n{basis}"
    )


FIGURE = FigureSpec(
    record=FeaturePca,
    slug="feature_pca",
    title="Patch features",
    question="Which patches have similar features?",
    reading="Red, green and blue are the first three principal components of the patch tokens: "
    "the directions in which they vary most. Patches of similar colour have similar "
    "features, so an object often stands out from its background, and its parts from each "
    "other.",
    caveat="Colours of two images can be compared only if both use the same components; colours "
    "of two layers or models never. Each component has its own scale, even if it explains "
    "little variance, and its sign is arbitrary. A few outlier tokens can take a "
    "component for themselves.",
    formula="(t − mean of t) · [v₁ v₂ v₃], v = eigenvectors of the patch tokens' covariance",
    source="Oquab et al. (DINOv2), arXiv 2304.07193, Figure 1",
    draw=draw,
    plot=plot,
)
