"""What does attention light up in photographs? (ViT paper 2010.11929, Fig. 6)"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from vit_inspect.errors import BadParameter
from vit_inspect.figures import attention_rollout, looks, paper_sheet, print_sheet
from vit_inspect.figures.figure import VIT_PAPER, FigureSpec
from vit_inspect.figures.paper_sheet import EDGE_IN
from vit_inspect.layout import READOUT
from vit_inspect.records.names import query_name
from vit_inspect.records.paper import AttentionRollout
from vit_inspect.records.paper_figures import PaperFigure6

LARGEST_IN, LEAST_IN = 1.8, 0.55
"""Width of a picture, at most, and at least: its title must fit above it."""
ACROSS, STACKED_ACROSS = 3, 2
"""Pairs side by side, unless the sheet would become too high."""
SHEET_IN = 8.5
"""Height of the pictures together, at most: they shall fit on a page."""
WITHIN_IN, BETWEEN_IN = 0.08, 0.16
"""From a picture to its pair, and from pair to pair."""
HEAD_IN, NAME_IN = 0.2, 0.15
"""Room for "Input" and "Attention", and for the name of a model where there are several."""

Pair = tuple[AttentionRollout, int]
"""A record, and one of its images."""


def draw(result: PaperFigure6, *, width_in: float = paper_sheet.TEXT_WIDTH_IN) -> Figure:
    """Pairs of pictures, row by row: the input, and the same as attention lights it up.

    width_in: of the sheet, in inches.
    """
    figure = paper_sheet.begin(width_in)
    blocks = _blocks(result)
    columns, width = _columns(blocks, width_in)
    pitch = 2 * width + WITHIN_IN + BETWEEN_IN
    margin = (width_in - columns * pitch + BETWEEN_IN) / 2
    top = EDGE_IN
    for block in blocks:
        if len(blocks) > 1:
            print_sheet.write(figure, block[0][0].model, left=margin, top=top, color=looks.INK)
            top += NAME_IN
        top += HEAD_IN
        for start in range(0, len(block), columns):
            row = block[start : start + columns]
            for column, (rollout, image) in enumerate(row):
                left, height = margin + column * pitch, _height(rollout, width)
                both = [
                    print_sheet.place(figure, left=each, top=top, width=width, height=height)
                    for each in (left, left + width + WITHIN_IN)
                ]
                attention_rollout.draw_pair(both[0], both[1], rollout, image)
                if start == 0:
                    for axes, title in zip(both, attention_rollout.PAIR, strict=True):
                        print_sheet.label(axes, title=title)
            top += max(_height(rollout, width) for rollout, _ in row) + WITHIN_IN
    return paper_sheet.end(figure, top - WITHIN_IN, _caption(result))


def _blocks(result: PaperFigure6) -> list[list[Pair]]:
    """The pairs of each model, in the order of the models."""
    found: dict[str, list[Pair]] = {}
    for rollout in result.rollout:
        pairs = [(rollout, image) for image in range(len(rollout.photographs))]
        found.setdefault(rollout.model, []).extend(pairs)
    return list(found.values())


def _columns(blocks: Sequence[Sequence[Pair]], width_in: float) -> tuple[int, float]:
    """How many pairs stand side by side, and the width of a picture.

    As few as keep the sheet short. Raises `BadParameter` if the pictures would become too small.
    """
    across = STACKED_ACROSS if width_in < print_sheet.STACKED_BELOW_IN else ACROSS
    longest = max(map(len, blocks))
    for most in range(across, longest + across):
        # The same number of rows, with pairs in all columns.
        columns = math.ceil(longest / math.ceil(longest / most))
        free = width_in - 2 * EDGE_IN - columns * WITHIN_IN - (columns - 1) * BETWEEN_IN
        width = min(LARGEST_IN, free / (2 * columns))
        rows = sum(math.ceil(len(block) / columns) for block in blocks)
        highest = max(_height(rollout, width) for block in blocks for rollout, _ in block)
        if width >= LEAST_IN and rows * (highest + WITHIN_IN) <= SHEET_IN:
            return columns, width
    raise BadParameter(
        f"{sum(map(len, blocks))} photographs on a sheet of {width_in:g} inches",
        "as many as are large enough to be seen",
        "give fewer photographs, or a wider sheet",
    )


def _height(rollout: AttentionRollout, width: float) -> float:
    left, top, right, bottom = rollout.layout.mapped
    return width * (bottom - top) / (right - left)


def _caption(result: PaperFigure6) -> str:
    models = dict.fromkeys(rollout.model for rollout in result.rollout)
    readouts = dict.fromkeys(query_name(READOUT, rollout.layout) for rollout in result.rollout)
    shares = [
        attention_rollout.strongest_share(relevance)[1]
        for rollout in result.rollout
        for relevance in rollout.relevance
    ]
    peaked = sum(share > attention_rollout.CONCENTRATED for share in shares)
    caution = (
        f" Caution: in {peaked} of {len(shares)} photographs, the strongest "
        f"{attention_rollout.STRONGEST:.0%} of the patches hold more than half of the attention."
        if peaked
        else ""
    )
    return (
        f"Attention from the {' and '.join(readouts)} to the input space, by attention rollout of "
        f"{' and '.join(models)}. Each picture has a scale of its own, dark at its least value and "
        f"bright at its largest: it is not clipped.{caution}"
    )


FIGURE = FigureSpec(
    record=PaperFigure6,
    slug="paper_figure_6",
    title="Figure 6 of the ViT paper",
    question="Which parts of the photographs does attention light up?",
    reading="Each pair is the input, and the same with its brightness multiplied by attention "
    "rollout, which is blurred by one patch and not clipped. The content of bright parts can "
    "reach the output most.",
    caveat="Each picture is stretched from its least to its largest value, so an almost even map "
    "looks as sharp as a peaked one. Rollout ignores values, MLPs and the class, and favours "
    "tokens that all others attend to. A few examples prove nothing of others.",
    formula="R = Â[L−1] ⋯ Â[1] Â[0],  Â[l] = (mean over heads of A[l] + I) / 2",
    source=f"Abnar and Zuidema, arXiv 2005.00928; {VIT_PAPER}, Figure 6",
    draw=draw,
    plot=paper_sheet.on_a_screen,
)
