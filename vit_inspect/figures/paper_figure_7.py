"""Filters, positions and attended area: what has a model learned? (ViT paper 2010.11929, Fig. 7)"""

from __future__ import annotations

from matplotlib.figure import Figure

from vit_inspect.figures import attention_distance, embedding_filters, paper_sheet
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.figures.paper_sheet import AREA_LEFT_IN, BESIDE_IN, EDGE_IN, GAP_IN
from vit_inspect.records.paper_figures import PaperFigure7

TILES_IN = 2.2
"""Height of the tiles of positions, at most."""
AFTER_IN = 0.12
"""Room at the right of the attended area, below which its name may reach."""
AREA = "Attended area"


def draw(result: PaperFigure7, *, width_in: float = paper_sheet.TEXT_WIDTH_IN) -> Figure:
    """Three panels side by side, on narrow sheets one below the other.

    width_in: of the sheet, in inches.
    """
    figure = paper_sheet.begin(width_in)
    # On less, tiles would be lower than their colour bar, and the legend higher than its panel.
    stacked = width_in < paper_sheet.TEXT_WIDTH_IN
    rooms = (EDGE_IN + paper_sheet.before_in(result.filters), EDGE_IN + BESIDE_IN, AREA_LEFT_IN)
    beside = paper_sheet.beside_in(result.positions)
    if stacked:
        lefts = rooms
        filters, positions, area = (
            width_in - room - after
            for room, after in zip(rooms, (EDGE_IN, beside + EDGE_IN, AFTER_IN), strict=True)
        )
    else:
        free = width_in - sum(rooms) - beside - 2 * GAP_IN - AFTER_IN
        filters, positions, area = 0.41 * free, 0.32 * free, 0.27 * free
        second = rooms[0] + filters + GAP_IN + BESIDE_IN
        lefts = (rooms[0], second, second + positions + beside + GAP_IN + AREA_LEFT_IN)
    groups = [
        paper_sheet.draw_tiled(
            figure, result.filters, left=lefts[0], width=filters, height=filters, bar=False
        ),
        paper_sheet.draw_tiled(
            figure,
            result.positions,
            left=lefts[1],
            width=positions,
            height=min(positions, TILES_IN),
            bar=True,
        ),
        paper_sheet.draw_area(
            figure,
            result.distance,
            left=lefts[2],
            width=area,
            height=0.6 * area if stacked else positions,
            limits=attention_distance.limits_of(result.distance),
            title=AREA,
            # Wide, below the positions too: a high legend would leave the sheet half empty.
            before=0.0 if stacked else BESIDE_IN + positions + beside + GAP_IN,
        ),
    ]
    bottom = paper_sheet.stand(figure, groups, stacked=stacked)
    return paper_sheet.end(figure, bottom, _caption(result, stacked))


def _caption(result: PaperFigure7, stacked: bool) -> str:
    first, second, third = ("Top", "Middle", "Bottom") if stacked else ("Left", "Center", "Right")
    parts = [f"{result.model}."]
    if not isinstance(result.filters, str):
        count, source = embedding_filters.shown_count(result.filters), result.filters.source
        parts.append(
            f"{first}: the first {count} principal components of the filters, each on its own "
            f"scale ({source})."
        )
    if words := paper_sheet.positions_words(result.positions):
        parts.append(f"{second}: {words}")
    parts.append(
        f"{third}: size of attended area by head and network depth. "
        f"{paper_sheet.area_words([result.distance])}"
    )
    return " ".join(parts)


FIGURE = FigureSpec(
    record=PaperFigure7,
    slug="paper_figure_7",
    title="Figure 7 of the ViT paper",
    question="What do filters, positions and heads of the model look like?",
    reading="Three panels. Principal components of the embedding filters: smooth waves of a few "
    "directions and colours are a compact code for patches. Positions: a bright spot at a tile's "
    "own place means that near patches are similar. Attended area: low dots are local heads, high "
    "ones attend to all of the picture.",
    caveat="The three panels have scales of their own. Attention to special tokens counts as "
    "distance 0, so a head that attends mostly to them looks local. A model without a table of "
    "positions has its rotary positions or its relative bias in the middle panel, which are not "
    "the same quantity.",
    formula="centred PCA of the filters; cosine of position embeddings; "
    "mean over q of Σₖ A[q, k] · |centre of q − centre of k|",
    source=f"{VIT_PAPER}, Figure 7",
    draw=draw,
    plot=paper_sheet.on_a_screen,
    shown=paper_sheet.shown,
)
