"""How similar are the features of two layers? (CKA; Nguyen et al. 2010.15327)"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.records.evidence import LayerCka

TITLE, UNIT = "Layer similarity", "CKA"
LIMITS = (0.0, 1.0)


def draw(result: LayerCka, *, width_in: float | None = None) -> Figure:
    """The layers of one model against the layers of the other; the scale is 0 to 1.

    width_in: of the sheet, in inches.
    """
    rows, columns = result.similarity.shape
    figure, axes, bar = print_sheet.map_sheet(width_in or print_sheet.COLUMN_IN, columns / rows)
    axes.imshow(
        result.similarity,
        cmap=looks.SIMILARITY_MAP,
        vmin=LIMITS[0],
        vmax=LIMITS[1],
        interpolation="none",
        aspect="auto",
    )
    down, across = _axis_names(result)
    print_sheet.name_places(axes, rows=(down, range(rows)), columns=(across, range(columns)))
    print_sheet.colour_bar(bar, looks.SIMILARITY_MAP, LIMITS, name=UNIT, ticks=(0, 0.5, 1))
    print_sheet.end_map_sheet(figure, TITLE, _words(result))
    return figure


def plot(result: LayerCka) -> go.Figure:
    """The same; each pair of layers shows its value."""
    figure = screen_sheet.screen(TITLE, _words(result), height=680, above=60)
    rows, columns = result.similarity.shape
    figure.add_heatmap(
        z=result.similarity.astype(np.float32),
        x=list(range(columns)),
        y=list(range(rows)),
        zmin=LIMITS[0],
        zmax=LIMITS[1],
        colorscale=looks.colour_scale(looks.SIMILARITY_MAP),
        colorbar=screen_sheet.screen_colour_bar(UNIT, tickvals=[0, 0.5, 1]),
        hovertemplate="Layer %{y} and layer %{x}<br>%{z:.3f}<extra></extra>",
    )
    down, across = map(screen_sheet.literal, _axis_names(result))
    fitted = {"constrain": "domain", "showline": False}
    screen_sheet.name_below(figure, across)
    return figure.update_layout(
        xaxis=screen_sheet.screen_axis(
            "", range=[-0.5, columns - 0.5], constraintoward="left", **fitted
        ),
        yaxis=screen_sheet.screen_axis(
            down, range=[rows - 0.5, -0.5], scaleanchor="x", constraintoward="top", **fitted
        ),
    )


def _axis_names(result: LayerCka) -> tuple[str, str]:
    if result.model == result.other_model:
        return "Layer", "Layer"
    down, across = (looks.short(name) for name in (result.model, result.other_model))
    return f"Layer of {down}", f"Layer of {across}"


def _words(result: LayerCka) -> str:
    images, samples = len(result.hsic), result.samples
    models = dict.fromkeys((result.model, result.other_model))
    count = result.over or ("One image" if images == 1 else f"{images} images")
    least, most = int(samples.min()), int(samples.max())
    patches = f"{most}" if least == most else f"{least} to {most}"
    return f"{' and '.join(models)}\n{count}, {patches} patches in each."


FIGURE = FigureSpec(
    record=LayerCka,
    slug="layer_cka",
    title="Layer similarity",
    question="Which layers have similar features?",
    reading="Each cell compares two layers: are the same patches similar to each other in both? 1 "
    "means the same features up to rotation and scale, about 0 means unrelated features. "
    "A bright block is a group of layers that change little.",
    caveat="The few directions of largest variance, and outlier tokens, decide: layers that "
    "differ in all other directions still look similar. CKA does not say what the "
    "features are, and one image gives a rough estimate only.",
    formula="CKA = mean HSIC₁(K, L) / √(mean HSIC₁(K, K) · mean HSIC₁(L, L)), means over "
    "images, K = tokens·tokensᵀ",
    source="Nguyen et al., arXiv 2010.15327; Song et al., JMLR 13 (2012); Raghu et al., "
    "arXiv 2108.08810",
    draw=draw,
    plot=plot,
)
