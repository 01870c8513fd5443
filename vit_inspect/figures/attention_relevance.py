"""Which patches speak for a class, and do cheaper ways say the same? (Chefer et al. 2103.15679)"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.overlay import draw_map, draw_photograph, draw_scale, plot_map, plot_sheet
from vit_inspect.records.evidence import AttentionRelevance

WAYS = {
    "relevance": "Attention relevance",
    "grad_cam": "Grad-CAM, last block",
    "input_gradient": "Input × gradient",
}
"""The record's maps: what the figure is about, and the references beside it."""
UNITS = {
    "relevance": "Relevance",
    "grad_cam": "Grad-CAM",
    "input_gradient": "In units of the target",
}
"""The names of their colour bars: a gradient times an input has the unit of what it explains."""


def draw(result: AttentionRelevance, *, image: int = 0) -> Figure:
    """The three maps side by side, each on its own scale, over the photograph."""
    photograph = result.photographs[image]
    shape = float(np.clip(photograph.size_px[1] / photograph.size_px[0], 0.4, 2.5))
    width = (print_sheet.PAGE_IN - 0.3) / 3
    height = min(2.4, width / shape)
    width = max(height * shape, 1.2)
    figure = print_sheet.page(max(4.6, 3 * width + 0.3), height + 1.34)
    for place, (way, title) in enumerate(WAYS.items()):
        values, limits = shown(result, way, image), limits_of(result, image, way=way)
        left = 0.05 + place * (width + 0.1)
        axes = print_sheet.place(figure, left=left, top=0.22, width=width, height=height)
        draw_photograph(axes, photograph, grey=True)
        draw_map(axes, photograph, values, limits)
        print_sheet.label(axes, title=title)
        draw_scale(figure, limits, name=UNITS[way], left=left, top=height + 0.3, width=width)
    words = "\n".join((_title(result, image), *_words(result, image)))
    print_sheet.write(figure, words, left=0.05, top=height + 0.72, linespacing=1.4)
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
    limits: ends of the colour scale, such as those of two figures that are compared.
    width: px that are free for the photograph.
    """
    photograph, values = result.photographs[image], shown(result, way, image)
    if way == "relevance":
        title, words = _title(result, image), "\n".join(_words(result, image)[:2])
    else:
        title, words = WAYS[way], f"For {result.target[image]}; what lowers it is left out"
    figure = plot_sheet(title, words, photograph, width=width)
    figure.layout.height -= 20 * (3 - len(words.split("\n")))
    limits = limits or limits_of(result, image, way=way)
    return plot_map(figure, photograph, values, limits, unit=UNITS[way], percent=False)


def plots(result: AttentionRelevance, *, image: int = 0) -> list[go.Figure]:
    """The references."""
    return [plot(result, image=image, way=way) for way in WAYS if way != "relevance"]


def shown(result: AttentionRelevance, way: str, image: int) -> Float[np.ndarray, "row column"]:
    """What is drawn of a map: what raises the target, not what lowers it."""
    values: Float[np.ndarray, "row column"] = getattr(result, way)[image]
    return np.maximum(values, 0)


def limits_of(
    result: AttentionRelevance, image: int = 0, *, way: str = "relevance"
) -> looks.Limits:
    """The ends of a map's colour scale.

    A model that reads the mean of its patches reads some of each, whatever attention does: the
    scale of its relevance starts there.
    """
    values = shown(result, way, image)
    low = float(values.min()) if way == "relevance" else 0.0
    high = float(values.max())
    return low, high if high > low else low + 1.0


def _title(result: AttentionRelevance, image: int) -> str:
    return f"What speaks for {result.target[image]}"


def _words(result: AttentionRelevance, image: int) -> tuple[str, str, str]:
    relevance = np.sort(result.relevance[image].ravel() - result.relevance[image].min())
    total, half = relevance.sum(), 0
    if total > 0:
        half = 1 + int(np.searchsorted(relevance[::-1].cumsum(), total / 2))
    count = f"{half} of {relevance.size} patches hold half of it" if half else "no patch has any"
    return (
        f"{result.model}, read at its {result.layout.readout}",
        f"Relevance above the least: {count}.",
        "Grad-CAM and input × gradient: what lowers the target is left out.",
    )


FIGURE = FigureSpec(
    record=AttentionRelevance,
    slug="attention_relevance",
    title="Relevance",
    question="Which patches speak for a class?",
    reading="Attention multiplied through the layers, as in rollout, but weighted by how much it "
    "raises the target: a class, or how similar the picture is to another one or to one of "
    "its patches. Bright patches are those whose content raises it most. Another class "
    "gives another map. Two cheaper ways are shown too: where all agree, trust it more.",
    caveat="A gradient tells what a small change would do, not what is left when a patch is gone: "
    "see faithfulness for that. What lowers the target is cut off in every layer, and what "
    "the MLPs do is left out. The size of a value says nothing by itself, and maps of "
    "different targets have no common unit.",
    formula="R ← R + E_h[(∂y/∂A ⊙ A)⁺] R, first layer first; the read-out's row",
    source="Chefer et al., arXiv 2103.15679; Selvaraju et al. (Grad-CAM), arXiv 1610.02391; "
    "Shrikumar et al. (input × gradient), arXiv 1605.01713",
    draw=draw,
    plot=plot,
    limits=limits_of,
    compared="relevance",
    plots=plots,
)
