"""Do near patches have similar position embeddings? (ViT paper 2010.11929, Fig. 7 centre)"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_inspect.figures import looks, print_sheet, screen_sheet
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.figures.tiles import Tiles, compose, draw_tiles, name_tiles, plot_tiles
from vit_inspect.records.paper import PositionSimilarity

TITLE = "Position embedding similarity"
ROW, COLUMN, UNIT = "Input patch row", "Input patch column", "Cosine similarity"
EVERY_PATCH_UP_TO = 14
"""Patches per side; of larger grids about ten per side are shown."""


def draw(result: PositionSimilarity, *, width_in: float | None = None) -> Figure:
    """Tile (i, j) shows how similar patch (i, j) is to every patch; the scale is -1 to 1.

    width_in: of the sheet, in inches.
    """
    tiles = tiles_of(result)
    rows, columns, _ = tiles.picture.shape
    figure, axes, bar = print_sheet.map_sheet(width_in or print_sheet.COLUMN_IN, columns / rows)
    draw_panel(axes, result, tiles)
    draw_bar(bar, result)
    print_sheet.end_map_sheet(figure, TITLE, _caption(result))
    return figure


def draw_panel(axes: Axes, result: PositionSimilarity, tiles: Tiles) -> None:
    """The tiles with names along rows and columns; axes are of their proportions."""
    rows, columns = shown(result)
    draw_tiles(axes, tiles)
    print_sheet.name_places(axes, rows=(ROW, rows), columns=(COLUMN, columns))


def draw_bar(axes: Axes, result: PositionSimilarity) -> None:
    """Fills the axes with the colour bar."""
    print_sheet.similarity_bar(axes, UNIT)


def plot(result: PositionSimilarity) -> go.Figure:
    """The same; each tile shows its patch, customdata is its (row, column)."""
    tiles, (rows, columns) = tiles_of(result), shown(result)
    figure = screen_sheet.screen(TITLE, _caption(result), height=740, above=60)
    picked = [(row, column) for row in rows for column in columns]
    hover = [looks.patch_name(*patch).capitalize() for patch in picked]
    plot_tiles(figure, tiles, hover=hover, picked=picked)
    name_tiles(
        figure,
        tiles,
        rows=(ROW, rows),
        columns=(COLUMN, columns),
        side="bottom",
    )
    least, greatest = looks.SIMILARITY_LIMITS
    figure.data[0].marker.update(
        cmin=least,
        cmax=greatest,
        colorscale=looks.colour_scale(looks.SIMILARITY_MAP),
        showscale=True,
        colorbar=screen_sheet.screen_colour_bar(UNIT, tickvals=[least, greatest]),
    )
    return figure


def plot_tile(result: PositionSimilarity, patch: tuple[int, int]) -> go.Figure:
    """The similarity of one patch (row, column) to all patches; each patch shows its value."""
    title = looks.patch_name(*patch).capitalize()
    figure = screen_sheet.screen(title, f"{result.model}\n ", height=600, above=60)
    rows, columns = result.similarity.shape[:2]
    least, greatest = looks.SIMILARITY_LIMITS
    figure.add_heatmap(
        z=result.similarity[patch].astype(np.float32),
        x=list(range(columns)),
        y=list(range(rows)),
        zmin=least,
        zmax=greatest,
        colorscale=looks.colour_scale(looks.SIMILARITY_MAP),
        colorbar=screen_sheet.screen_colour_bar(UNIT, tickvals=[least, greatest]),
        hovertemplate="Patch (%{y}, %{x})<br>%{z:.3f}<extra></extra>",
    )
    fitted = {"constrain": "domain", "showline": False}
    screen_sheet.name_below(figure, COLUMN)
    return figure.update_layout(
        xaxis=screen_sheet.screen_axis(
            "", range=[-0.5, columns - 0.5], constraintoward="left", **fitted
        ),
        yaxis=screen_sheet.screen_axis(
            ROW, range=[rows - 0.5, -0.5], scaleanchor="x", constraintoward="top", **fitted
        ),
    )


def shown(result: PositionSimilarity) -> tuple[list[int], list[int]]:
    """Rows and columns of the patches that are shown, centred on the grid."""
    step = _step(result)
    rows, columns = (
        list(range((side - 1) % step // 2, side, step)) for side in result.similarity.shape[:2]
    )
    return rows, columns


def _step(result: PositionSimilarity) -> int:
    side = max(result.similarity.shape[:2])
    return 1 if side <= EVERY_PATCH_UP_TO else -(-side // 10)


def tiles_of(result: PositionSimilarity) -> Tiles:
    """The shown tiles as one picture."""
    chosen = result.similarity[np.ix_(*shown(result))]
    return compose(looks.colour(chosen, looks.SIMILARITY_MAP, looks.SIMILARITY_LIMITS))


def _caption(result: PositionSimilarity) -> str:
    return f"{result.model}\n{grid_words(result)}."


def grid_words(result: PositionSimilarity) -> str:
    """How many patches there are, and which of them are shown."""
    side = " × ".join(str(count) for count in result.similarity.shape[:2])
    step = _step(result)
    chosen = "" if step == 1 else f"; one row and column in {step} is shown"
    return f"{side} patches{chosen}"


FIGURE = FigureSpec(
    record=PositionSimilarity,
    slug="position_similarity",
    title="Position embeddings",
    question="Do near patches have similar position embeddings?",
    reading="Each tile compares the position embedding of one patch with those of all patches. A "
    "bright spot at the tile's own place: near patches have similar embeddings. Bright "
    "rows and columns: patches of the same row or column have similar embeddings.",
    caveat="This is the model's own table, on its own grid; for other input sizes it is "
    "resampled. It shows what is added at the input, not whether later layers use it.",
    formula="S[i, j] = pᵢ·pⱼ / (|pᵢ| |pⱼ|), patches only, no mean subtracted",
    source=f"{VIT_PAPER}, Figures 7 centre and 10",
    draw=draw,
    plot=plot,
    compared="similarity",
    shown=lambda record: dict(zip(("row", "column"), shown(record), strict=True)),
)
