"""Which patches reach the output through all layers? (ViT paper, Fig. 6; Abnar and Zuidema)"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter

from vit_inspect.figures import looks, print_sheet
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.figures.overlay import (
    aspect,
    clip_words,
    crop,
    draw_map,
    draw_photograph,
    draw_scale_beside,
    highest_in,
    is_beyond,
    plot_map,
    plot_sheet,
    scale_words,
)
from vit_inspect.records.paper import AttentionRollout

UNIT = "Rollout weight"
"""Those of all tokens sum to 1; what becomes of a token on its way, rollout does not know."""
PAIR = ("Input", "Attention")
MOST_IN, LEAST_IN = 2.2, 0.95
"""Height of the pictures: at most, where no width is given; and at least, side by side, as the name
of the scale is as long."""
GAP_IN, TITLE_IN, SCALE_IN = 0.1, 0.22, 0.9
"""Between pictures, and the room for the titles above them and for the scale beside the map."""
STRONGEST = 0.01
"""The share of patches whose joint relevance is stated."""
CONCENTRATED = 0.5
"""Above this share the map depends on a few patches, and a reader is warned."""


def draw(
    result: AttentionRollout,
    *,
    image: int = 0,
    limits: looks.Limits | None = None,
    width_in: float | None = None,
) -> Figure:
    """Input and Attention as in the paper, then the map in its own units on the photograph.

    The map stands below them where all three would be too low.

    limits: ends of the colour scale, to give two figures the same scale.
    width_in: of the sheet, in inches.
    """
    photograph, edge = result.photographs[image], print_sheet.EDGE_IN
    left, top, right, bottom = result.layout.mapped
    shape, whole = (right - left) / (bottom - top), aspect(photograph)
    free, highest = (width_in or print_sheet.PAGE_IN) - 2 * edge, highest_in(MOST_IN, width_in)
    height = map_height = min(highest, (free - 2 * GAP_IN - SCALE_IN) / (2 * shape + whole))
    if stacked := height < LEAST_IN:
        height = min(highest, (free - GAP_IN) / (2 * shape))
        map_height = min(highest, (free - SCALE_IN) / whole)
    width, map_width = shape * height, whole * map_height
    rows = [2 * width + GAP_IN, map_width + SCALE_IN]
    if not stacked:
        rows = [rows[0] + GAP_IN + rows[1]]
    sheet = width_in or rows[0] + 2 * edge
    figure = print_sheet.page(sheet, 10)
    first, last = (sheet - rows[0]) / 2, (sheet + rows[-1]) / 2 - SCALE_IN - map_width
    low = TITLE_IN + (height + GAP_IN + TITLE_IN if stacked else 0)
    before, after = (
        print_sheet.place(figure, left=left, top=TITLE_IN, width=width, height=height)
        for left in (first, first + width + GAP_IN)
    )
    draw_pair(before, after, result, image)
    panel = print_sheet.place(figure, left=last, top=low, width=map_width, height=map_height)
    ends = limits or limits_of(result, image)
    draw_photograph(panel, photograph)
    draw_map(panel, photograph, result.relevance[image], ends)
    for axes, title in zip((before, after, panel), (*PAIR, "Rollout"), strict=True):
        print_sheet.label(axes, title=title)
    draw_scale_beside(
        figure,
        ends,
        name=UNIT,
        left=last + map_width + 0.08,
        top=low,
        height=map_height,
        above=is_beyond(result.relevance[image], ends),
        percent=True,
    )
    foot = low + max(map_height, LEAST_IN) + 0.11
    print_sheet.write_foot(figure, _words(result, image, limits), top=foot)
    return figure


def draw_pair(before: Axes, after: Axes, result: AttentionRollout, image: int) -> None:
    """What the model saw, and the same lit by the map, as in the paper."""
    left, top, right, bottom = result.layout.mapped
    picture = crop(result.photographs[image], (int(bottom - top), int(right - left)))
    attention = _paper_look(picture, result.relevance[image], result.layout.cell_px)
    for axes, pixels in ((before, picture), (after, attention)):
        axes.imshow(pixels, aspect="equal")
        axes.set(xticks=[], yticks=[])
        print_sheet.bare(axes)


def plot(
    result: AttentionRollout,
    *,
    image: int = 0,
    limits: looks.Limits | None = None,
    width: int = 720,
) -> go.Figure:
    """The map over the whole photograph; each patch shows its place and its relevance.

    limits: ends of the colour scale, to give two figures the same scale.
    width: px for the photograph.
    """
    photograph = result.photographs[image]
    title, words = _words(result, image, limits).split("\n", 1)
    figure = plot_sheet(title, words, photograph, width=width)
    ends = limits or limits_of(result, image)
    return plot_map(figure, photograph, result.relevance[image], ends, unit=UNIT)


def strongest_share(relevance: Float[np.ndarray, "row column"]) -> tuple[int, float]:
    """How many patches are the strongest 1%, and their share of the relevance on patches."""
    count = max(1, round(STRONGEST * relevance.size))
    strongest = np.sort(relevance, axis=None)[-count:].sum()
    return count, float(strongest / (relevance.sum() or 1.0))


def limits_of(result: AttentionRollout, image: int = 0) -> looks.Limits:
    """The ends of the colour scale."""
    return looks.ends_of(result.relevance[image], from_zero=False)


def _paper_look(
    picture: UInt8[np.ndarray, "row_px column_px 3"],
    relevance: Float[np.ndarray, "row column"],
    cell_px: tuple[int, int],
) -> UInt8[np.ndarray, "row_px column_px 3"]:
    """The picture lit by the map: resized (Lanczos), blurred by one patch, min-max, multiplied."""
    rows, columns, _ = picture.shape
    mask = relevance / (relevance.max() or 1.0)
    smooth = Image.fromarray(mask.astype(np.float32)).resize(
        (columns, rows), Image.Resampling.LANCZOS
    )
    light = _blurred(np.asarray(smooth), cell_px)
    span = light.max() - light.min()
    # An even map has no contrast to stretch, only rounding errors.
    if span > 1e-5:
        light = (light - light.min()) / span
    return np.round(picture * np.clip(light, 0, 1)[..., None]).astype(np.uint8)


def _blurred(
    values: Float[np.ndarray, "row column"], deviation_px: tuple[int, int]
) -> Float[np.ndarray, "row column"]:
    """A Gaussian blur; at the border its weights are those inside alone, so that 1 stays 1."""
    inside = np.stack([values, np.ones_like(values)]).astype(np.float64)
    sums, weights = gaussian_filter(inside, (0, *deviation_px), mode="constant")
    blurred: Float[np.ndarray, "row column"] = sums / weights
    return blurred


def _words(result: AttentionRollout, image: int, limits: looks.Limits | None = None) -> str:
    """What the map does not show, in four lines; `limits` are those of a given scale."""
    relevance, ends = result.relevance[image], limits or limits_of(result, image)
    masses = zip(result.layout.key_prefix, result.prefix_mass[image], strict=True)
    prefix = "".join(f", {mass:.1%} on {name}" for name, mass in masses)
    count, strongest = strongest_share(relevance)
    warning = "Caution: " if strongest > CONCENTRATED else ""
    patches = "The strongest patch holds" if count == 1 else f"The {count} strongest patches hold"
    clipped = clip_words(relevance, ends, percent=True, scale=scale_words(limits))
    return (
        f"{result.model}: attention rollout (read at {result.layout.readout})\n"
        f"{relevance.sum():.1%} on patches{prefix}\n"
        f"{warning}{patches} {strongest:.1%} of the relevance on patches.\n"
        f"Heads combined by {result.fusion}, lowest {result.discard:.0%} discarded, start layer "
        f"{result.start_layer}.{clipped}"
    )


FIGURE = FigureSpec(
    record=AttentionRollout,
    slug="attention_rollout",
    title="Attention rollout",
    question="Which patches reach the output through all layers?",
    reading="Attention is multiplied through the layers; in each layer, half of a token stays as "
    "it is (the residual connection). The content of patches high on the scale, pale yellow, can "
    "reach the output most. The weights of all tokens sum to 1.",
    caveat="Rollout ignores values, MLPs and the class. It favours tokens that all others attend "
    "to: if a few patches hold most of the relevance, they are often artefacts of the "
    "model, not objects.",
    formula="R = Â[L−1] ⋯ Â[1] Â[0],  Â[l] = (mean over heads of A[l] + I) / 2",
    source=f"Abnar and Zuidema, arXiv 2005.00928; {VIT_PAPER}, Figures 6 and 14",
    draw=draw,
    plot=plot,
    limits=limits_of,
    compared="relevance",
)
