"""How alike do layers arrange the patches of a picture? (CKA; Nguyen et al. 2010.15327)"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from vit_inspect.figures import style
from vit_inspect.results import LayerCka

TITLE, UNIT = "Layer similarity", "CKA"
LIMITS = (0.0, 1.0)


def draw(result: LayerCka) -> Figure:
    """A map of the layers of one model against those of the other; limits 0 and 1."""
    rows, columns = result.similarity.shape
    side = 2.2
    width, height = side * min(1, columns / rows), side * min(1, rows / columns)
    figure = style.page(style.COLUMN_IN, height + 1.05)
    axes = style.place(figure, left=0.45, top=0.25, width=width, height=height)
    axes.imshow(
        result.similarity,
        cmap=style.SIMILARITY_MAP,
        vmin=LIMITS[0],
        vmax=LIMITS[1],
        interpolation="none",
        aspect="auto",
    )
    axes.set(
        xticks=range(columns),
        yticks=range(rows),
        xticklabels=style.tick_labels(range(columns), width / columns),
        yticklabels=style.tick_labels(range(rows), height / rows),
    )
    style.bare(axes)
    down, across = _axis_names(result)
    style.label(axes, x=across, y=down, title=TITLE)
    bar = style.place(figure, left=0.55 + width, top=0.25, width=0.09, height=height)
    style.colour_bar(bar, style.SIMILARITY_MAP, LIMITS, name=UNIT, ticks=(0, 0.5, 1))
    style.write(figure, _words(result), left=0.05, top=height + 0.62, linespacing=1.4)
    return figure


def plot(result: LayerCka) -> go.Figure:
    """The same; a pair of layers tells its value."""
    figure = style.screen(TITLE, _words(result), height=680, above=60)
    rows, columns = result.similarity.shape
    figure.add_heatmap(
        z=result.similarity.astype(np.float32),
        x=list(range(columns)),
        y=list(range(rows)),
        zmin=LIMITS[0],
        zmax=LIMITS[1],
        colorscale=style.colour_scale(style.SIMILARITY_MAP),
        colorbar=style.screen_colour_bar(UNIT, tickvals=[0, 0.5, 1]),
        hovertemplate="Layer %{y} and layer %{x}<br>%{z:.3f}<extra></extra>",
    )
    down, across = _axis_names(result)
    fitted = {"constrain": "domain", "showline": False}
    return figure.update_layout(
        xaxis=style.screen_axis(across, constraintoward="left", **fitted),
        yaxis=style.screen_axis(
            down, autorange="reversed", scaleanchor="x", constraintoward="top", **fitted
        ),
    )


def _axis_names(result: LayerCka) -> tuple[str, str]:
    if result.model == result.other_model:
        return "Layer", "Layer"
    down, across = (style.short(name) for name in (result.model, result.other_model))
    return f"Layer of {down}", f"Layer of {across}"


def _words(result: LayerCka) -> str:
    images, samples = len(result.hsic), result.samples
    models = dict.fromkeys((result.model, result.other_model))
    count = "One image" if images == 1 else f"{images} images"
    least, most = int(samples.min()), int(samples.max())
    patches = f"{most}" if least == most else f"{least} to {most}"
    return f"{' and '.join(models)}\n{count}, {patches} patches of each."
