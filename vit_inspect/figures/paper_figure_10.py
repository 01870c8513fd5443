"""How do the position embeddings of several models compare? (ViT paper 2010.11929, Fig. 10)"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from vit_inspect.figures import paper_sheet, print_sheet
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.figures.paper_sheet import BESIDE_IN, EDGE_IN, GAP_IN
from vit_inspect.records.paper import PositionBias
from vit_inspect.records.paper_figures import PaperFigure10

LARGEST_IN, LEAST_IN = 2.6, 0.9
"""Width of a panel, at most, and at least where all stand side by side."""
STACKED_IN = 6.6
"""Height of all panels that stand one below the other, so that they fit on a page."""


def draw(result: PaperFigure10, *, width_in: float = paper_sheet.TEXT_WIDTH_IN) -> Figure:
    """A panel for each model, side by side; on narrow sheets one below the other.

    width_in: of the sheet, in inches.
    """
    figure = paper_sheet.begin(width_in)
    count = len(result.positions)
    stacked = width_in < print_sheet.STACKED_BELOW_IN or _beside(result, width_in) < LEAST_IN
    bars = [stacked or _has_bar(result, place) for place in range(count)]
    rights = _rights(result, bars)
    if stacked:
        free = width_in - 2 * EDGE_IN - BESIDE_IN - max(rights)
        side = min(LARGEST_IN, free, STACKED_IN / count)
    else:
        free = count * _beside(result, width_in)
        side = min(LARGEST_IN, free / count)
        free -= (count - 1) * side
    left = EDGE_IN + (free - side) / 2 + BESIDE_IN
    groups = []
    for positions, bar, right in zip(result.positions, bars, rights, strict=True):
        title = "" if isinstance(positions, str) else positions.model
        groups.append(
            paper_sheet.draw_tiled(
                figure, positions, left=left, width=side, height=side, bar=bar, title=title
            )
        )
        left += 0.0 if stacked else side + right + GAP_IN + BESIDE_IN
    bottom = paper_sheet.stand(figure, groups, stacked=stacked)
    return paper_sheet.end(figure, bottom, _caption(result))


def _beside(result: PaperFigure10, width_in: float) -> float:
    """The width of each panel, where all stand side by side and fill the sheet."""
    count = len(result.positions)
    rights = _rights(result, [_has_bar(result, place) for place in range(count)])
    around = 2 * EDGE_IN + (count - 1) * GAP_IN + count * BESIDE_IN + sum(rights)
    return (width_in - around) / count


def _rights(result: PaperFigure10, bars: Sequence[bool]) -> list[float]:
    """The room for the bar of each panel that has one."""
    return [
        paper_sheet.beside_in(each) if bar else 0.0
        for each, bar in zip(result.positions, bars, strict=True)
    ]


def _has_bar(result: PaperFigure10, place: int) -> bool:
    """A bias has a scale of its own; all others have one, whose bar stands at the last of them."""
    positions = result.positions[place]
    if isinstance(positions, str | PositionBias):
        return not isinstance(positions, str)
    return all(isinstance(each, str | PositionBias) for each in result.positions[place + 1 :])


def _caption(result: PaperFigure10) -> str:
    models: dict[str, list[str]] = {}
    for positions in result.positions:
        if not isinstance(positions, str):
            models.setdefault(paper_sheet.positions_words(positions), []).append(positions.model)
    return " ".join(f"{' and '.join(names)}: {words}" for words, names in models.items())


FIGURE = FigureSpec(
    record=PaperFigure10,
    slug="paper_figure_10",
    title="Figure 10 of the ViT paper",
    question="How do the position embeddings of these models compare?",
    reading="One panel for each model. Of a table of positions, each tile compares the position "
    "embedding of one patch with those of all patches: a bright spot at the tile's own place means "
    "that near patches are similar. Cosine similarities have one scale, from −1 to 1.",
    caveat="A model without a table of positions has its rotary positions or its relative bias "
    "here, which are not the same quantity; a bias has a scale of its own. Tables are compared as "
    "they are, not how later layers use them.",
    formula="S[i, j] = pᵢ·pⱼ / (|pᵢ| |pⱼ|), patches only, no mean subtracted",
    source=f"{VIT_PAPER}, Figure 10",
    draw=draw,
    plot=paper_sheet.on_a_screen,
    shown=paper_sheet.shown,
)
