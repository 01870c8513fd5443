"""How far do the heads of two models attend, by depth? (ViT paper 2010.11929, Fig. 11)"""

from __future__ import annotations

from matplotlib.figure import Figure

from vit_inspect.figures import attention_distance, paper_sheet, print_sheet
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.figures.paper_sheet import AREA_LEFT_IN, EDGE_IN, GAP_IN
from vit_inspect.records.paper_figures import PaperFigure11

LARGEST_IN = 3.2
PROPORTION = 0.75
"""Height of a panel by its width."""


def draw(result: PaperFigure11, *, width_in: float = paper_sheet.TEXT_WIDTH_IN) -> Figure:
    """A panel for each model, side by side with the same axes; on narrow sheets stacked.

    width_in: of the sheet, in inches.
    """
    figure = paper_sheet.begin(width_in)
    stacked = width_in < print_sheet.STACKED_BELOW_IN
    count = 1 if stacked else len(result.distance)
    pitch = (width_in - EDGE_IN) / count
    width = min(LARGEST_IN, pitch - AREA_LEFT_IN - GAP_IN)
    left = (pitch - width - AREA_LEFT_IN - GAP_IN) / 2 + AREA_LEFT_IN
    limits = 0.0, max(attention_distance.limits_of(each)[1] for each in result.distance)
    depth = max(each.distance_px.shape[1] for each in result.distance)
    groups = [
        paper_sheet.draw_area(
            figure,
            distance,
            left=left + (0 if stacked else place * pitch),
            width=width,
            height=PROPORTION * width,
            limits=limits,
            title=distance.model,
        )
        for place, distance in enumerate(result.distance)
    ]
    for (axes,) in groups:
        axes.set_xlim(-0.6, depth - 0.4)
    bottom = paper_sheet.stand(figure, groups, stacked=stacked)
    return paper_sheet.end(figure, bottom, _caption(result))


def _caption(result: PaperFigure11) -> str:
    words = paper_sheet.area_words(result.distance)
    return f"Size of attended area by head and network depth. {words}"


FIGURE = FigureSpec(
    record=PaperFigure11,
    slug="paper_figure_11",
    title="Figure 11 of the ViT paper",
    question="How far do the heads of these models attend, by depth?",
    reading="Each dot is one head of one layer: the mean distance, in pixels, between a patch and "
    "the patches it attends to. Low dots are local heads, like small convolutions. Dots near the "
    "dashed line attend to near and far patches in balance. All panels have the same axes.",
    caveat="Distances are pixels of each model's own input: compare models of one input size. "
    "Attention to special tokens counts as distance 0, so a head that attends mostly to them looks "
    "local. One image says little; the paper averages 128.",
    formula="d = mean over q of Σₖ A[q, k] · |centre of q − centre of k|, q and k patches",
    source=f"{VIT_PAPER}, Figure 11",
    draw=draw,
    plot=paper_sheet.on_a_screen,
)
