"""How do the tokens of each layer change while a network is trained? Artefacts and similarity."""

from __future__ import annotations

from typing import NamedTuple

import plotly.graph_objects as go
from matplotlib.figure import Figure

from vit_inspect.figures import looks, screen_sheet, steps
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.steps import Curve, Curves
from vit_inspect.records.survey import LayerSteps


class Quantity(NamedTuple):
    """What is said of a number of a layer.

    curve: what a curve is called, by its layer and the next one; told: what a point of it tells.
    """

    name: str
    axis: str
    layers: str
    curve: str
    told: str
    words: str
    share: bool


QUANTITIES = {
    "artefacts": Quantity(
        "Artefact rate",
        "Pictures with artefacts",
        steps.LAYER,
        "Layer {0}",
        "%{y:.1%} of the pictures have artefacts",
        "Each curve is one layer: the share of pictures with artefacts in it, over {}.",
        share=True,
    ),
    "cka": Quantity(
        "Similarity of neighbouring layers",
        "CKA with the next layer",
        "Lower layer",
        "Layers {0} and {1}",
        "CKA %{y:.3f}",
        "Each curve compares one layer with the next one, over {}.",
        share=False,
    ),
}
"""The quantities of `LayerSteps`."""


def draw(
    result: LayerSteps, *, limits: looks.Limits | None = None, width_in: float | None = None
) -> Figure:
    """A curve of each layer.

    limits: ends of the axis, to give two figures the same scale.
    width_in: of the sheet, in inches.
    """
    return steps.draw_curves(_curves(result), limits, width_in)


def plot(
    result: LayerSteps,
    *,
    limits: looks.Limits | None = None,
    width: int = screen_sheet.SCREEN_PX,
) -> go.Figure:
    """The same; a point tells its step and value, customdata is (step, layer).

    limits: ends of the axis, to give two figures the same scale.
    width: px of the place that the figure is shown in.
    """
    return steps.plot_curves(_curves(result), limits, width)


def limits_of(result: LayerSteps) -> looks.Limits:
    """The ends of the axis."""
    return _curves(result).limits()


def _curves(result: LayerSteps) -> Curves:
    quantity, layers = QUANTITIES[result.quantity], result.value.shape[1]
    lines = []
    for layer in range(layers):
        name = quantity.curve.format(layer, layer + 1)
        picked = [[step, layer] for step in result.step.tolist()]
        colour, hover = steps.depth_colour(layer, layers), steps.hover(name, quantity.told)
        lines.append(Curve(name, result.value[:, layer], colour, "solid", picked, hover))
    return Curves(
        f"{quantity.name} in training: {result.model}",
        f"{quantity.words.format(steps.over(result.count))} {steps.counted(result.step)}.",
        quantity.axis,
        quantity.layers,
        result.step,
        lines,
        share=quantity.share,
    )


FIGURE = FigureSpec(
    record=LayerSteps,
    slug="layer_steps",
    title="Layers over training",
    question="How do the tokens of each layer change while the network is trained?",
    reading="Each curve is one layer over the steps of the training. Artefact rate: the share of "
    "pictures with a patch whose token is far longer than all others; a curve that rises is a "
    "layer in which artefacts appear. CKA: how similar the features of a layer are to those of the "
    "next one; a curve that falls is a block that begins to change the features more.",
    caveat="Nothing is known between two points. The axis need not begin at 0. A layer is compared "
    "with the next one at the same step, not with itself at another step: features of both can "
    "change together, and the curve stays flat. Blocks add to their input, so that values near 1 "
    "are usual.",
    formula="share of pictures with one artefact or more; CKA of layers l and l + 1, as in layer "
    "similarity",
    source="Darcet et al., arXiv 2309.16588; Nguyen et al., arXiv 2010.15327",
    draw=draw,
    plot=plot,
    limits=limits_of,
)
