"""Which patches does a map rank highest? One map by itself, relative to its maximum."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from matplotlib.figure import Figure

from vit_inspect.figures import lit, looks, print_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.lit import Edges, Look
from vit_inspect.figures.overlay import draw_map, draw_photograph, draw_scale, plot_map, plot_sheet
from vit_inspect.records.evidence import PatchMap

UNIT = "Share of the maximum"
UNIT_OF_VALUES = "value"


def draw(
    result: PatchMap,
    *,
    image: int = 0,
    from_least: bool = False,
    look: Look | None = None,
    edges: Edges = "smooth",
    clip: float = 98.5,
    limits: looks.Limits | None = None,
    unit: str = UNIT_OF_VALUES,
    patch: tuple[int, int] | None = None,
) -> Figure:
    """The map over the whole photograph in grey, or as a look over what the model saw of it.

    from_least: whether the scale starts at the minimum, as it does for relevance.
    look: "heat" or "spotlight", over the photograph in colour; None for the map in grey, which
        takes none of the options below.
    edges: "smooth" between the centres of patches, or "blocks", one for each patch.
    clip: the percentile where the scale ends, if `limits` does not say it.
    limits: the ends of the scale; unit: of the values; patch: outlined, as (row, column).
    """
    if look is not None:
        return lit.draw(
            result,
            image=image,
            look=look,
            edges=edges,
            limits=limits or lit.ends_of(result.values[image], clip, from_zero=not from_least),
            unit=unit,
            patch=patch,
            words=_words(result, image),
        )
    photograph = result.photographs[image]
    shape = photograph.size_px[1] / photograph.size_px[0]
    height = min(2.6, 3.2 / shape)
    width = max(height * shape, 1.2)
    figure = print_sheet.page(max(print_sheet.COLUMN_IN, width + 0.1), height + 1.0)
    axes = print_sheet.place(figure, left=0.05, top=0.5, width=width, height=height)
    ends = limits_of(result, image, from_least=from_least)
    draw_photograph(axes, photograph, grey=True)
    draw_map(axes, photograph, shares(result, image), ends)
    draw_scale(
        figure,
        ends,
        name=UNIT,
        left=0.05,
        top=height + 0.58,
        width=width,
        format=print_sheet.percent_ticks(),
    )
    print_sheet.write_head(figure, *_words(result, image))
    return figure


def plot(
    result: PatchMap,
    *,
    image: int = 0,
    width: int = 720,
    from_least: bool = False,
    look: Look | None = None,
    edges: Edges = "smooth",
    clip: float = 98.5,
    limits: looks.Limits | None = None,
    unit: str = UNIT_OF_VALUES,
    patch: tuple[int, int] | None = None,
) -> go.Figure:
    """The same; customdata of a patch is its (row, column).

    width: px for the photograph.
    """
    if look is not None:
        return lit.plot(
            result,
            image=image,
            look=look,
            edges=edges,
            limits=limits or lit.ends_of(result.values[image], clip, from_zero=not from_least),
            unit=unit,
            patch=patch,
            words=_words(result, image),
            width=width,
        )
    photograph, (title, words) = result.photographs[image], _words(result, image)
    figure = plot_sheet(title, f"{words}\n", photograph, width=width)
    ends = limits_of(result, image, from_least=from_least)
    return plot_map(figure, photograph, shares(result, image), ends, unit=UNIT)


def shares(result: PatchMap, image: int = 0) -> Float[np.ndarray, "row column"]:
    """The map as it is drawn: negative values are set to 0."""
    values = result.values[image].clip(0)
    largest = float(values.max())
    shown: Float[np.ndarray, "row column"] = values / (largest if largest > 0 else 1.0)
    return shown


def limits_of(result: PatchMap, image: int = 0, *, from_least: bool = False) -> looks.Limits:
    """The ends of the colour scale."""
    least = float(shares(result, image).min()) if from_least else 0.0
    return least if least < 1 else 0.0, 1.0


def _words(result: PatchMap, image: int) -> tuple[str, str]:
    largest = float(result.values[image].max())
    words = f"Maximum {largest:.3g}." if largest > 0 else "No value is above 0."
    return f"{result.model}: {result.kind}", words


FIGURE = FigureSpec(
    record=PatchMap,
    slug="patch_map",
    title="Map of the patches",
    question="Which patches does a map rank highest?",
    reading="Bright patches have the largest values. The scale is relative to the maximum of this "
    "map; negative values are shown as 0.",
    caveat="Values of two maps have no common unit. A bright patch is not proved to be a cause: "
    "see Faithfulness.",
    formula="values / maximum, negative values set to 0",
    source="as for the map that is shown",
    draw=draw,
    plot=plot,
)
