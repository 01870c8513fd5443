"""Which classes did a model choose for many pictures, and how surely? A bar and dots for each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_inspect.figures import looks, named_rows, print_sheet, screen_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.named_rows import BELOW_IN, RIGHT_IN, TOP_IN, WIDTH_IN
from vit_inspect.records.survey import ChosenClasses

SHOWN, TOLD = 20, 5
"""Labels or classes that have a row, and classes of a row that are told under the cursor."""
COUNTED, SURE, NO_LABEL = "Pictures", "Mean probability", "(no label)"
OWN, OTHER = looks.HEAD_COLOURS[0], looks.QUIET
"""The colours of pictures whose class is that of their label, and of all other pictures."""
ROW_IN, GAP_IN, DOT_PT = 0.17, 0.15, 12
BARS_SHARE = 0.58
"""How much of what the names leave of a print the bars take."""
ROW_PX, DOT_PX = 22, 8
BARS, DOTS = (0.0, 0.56), (0.64, 1.0)
"""Where the panels are on a screen, as shares of its width."""


class Row(NamedTuple):
    """A row of the figure: a label, or a class where no picture has a label.

    own, others: pictures of the label's own class and of other ones, and their mean probabilities;
        the latter is None where there is no such picture.
    """

    name: str
    own: int
    others: int
    own_sure: float | None
    others_sure: float | None
    hover: str


def draw(result: ChosenClasses, *, width_in: float | None = None) -> Figure:
    """A bar for the pictures and dots for the probabilities of each label, or of each class.

    width_in: of the sheet, in inches.
    """
    sheet, found = width_in or WIDTH_IN, rows(result)
    names, left = named_rows.fitted([each.name for each in found], sheet)
    free, height = sheet - left - GAP_IN - RIGHT_IN, ROW_IN * len(found)
    figure = print_sheet.page(sheet, TOP_IN + height + BELOW_IN)
    place = {"top": TOP_IN, "height": height}
    wide = BARS_SHARE * free
    bars = print_sheet.place(figure, left=left, width=wide, **place)
    dots = print_sheet.place(figure, left=left + wide + GAP_IN, width=free - wide, **place)
    places = range(len(found))
    own, others = (np.array([getattr(row, name) for row in found]) for name in ("own", "others"))
    bars.barh(places, own, height=0.7, color=OWN)
    bars.barh(places, others, height=0.7, left=own, color=OTHER)
    for name, colour in (("own_sure", OWN), ("others_sure", OTHER)):
        # As floats: one that is not there is NaN, and has no dot.
        sure = np.array([getattr(row, name) for row in found], dtype=float)
        dots.scatter(sure, places, s=DOT_PT, color=colour, linewidths=0, zorder=2)
    bars.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    bars.set(xlim=(0, 1.05 * (own + others).max()))
    dots.set(xlim=(-0.03, 1.03), xticks=(0, 0.5, 1))
    named_rows.draw(bars, len(found), names)
    named_rows.draw(dots, len(found))
    named_rows.draw_rules(dots)
    print_sheet.label(bars, x=COUNTED)
    print_sheet.label(dots, x=SURE)
    print_sheet.write_title(figure, _title(result))
    print_sheet.write_foot(figure, _words(result), top=float(figure.get_size_inches()[1]))
    return figure


def plot(result: ChosenClasses, *, width: int = screen_sheet.SCREEN_PX) -> go.Figure:
    """The same; a row tells its counts, its probabilities and its most frequent classes.

    width: px of the place that the figure is shown in.
    """
    found = rows(result)
    names = [row.name for row in found]
    figure = named_rows.screen(_title(result), _words(result), names, row_px=ROW_PX, width=width)
    places, hover = list(range(len(found))), [row.hover for row in found]
    told = {"text": hover, "hovertemplate": "%{text}<extra></extra>"}
    for counted, sure, colour in (("own", "own_sure", OWN), ("others", "others_sure", OTHER)):
        figure.add_bar(
            x=[getattr(row, counted) for row in found],
            y=places,
            orientation="h",
            marker={"color": colour, "line": {"width": 0}},
            textposition="none",
            **told,
        )
        known = [place for place in places if getattr(found[place], sure) is not None]
        figure.add_scatter(
            x=[getattr(found[place], sure) for place in known],
            y=known,
            xaxis="x2",
            yaxis="y2",
            mode="markers",
            marker={"color": colour, "size": DOT_PX},
            **told | {"text": [hover[place] for place in known]},
        )
    return figure.update_layout(
        barmode="stack",
        bargap=0.3,
        xaxis=screen_sheet.screen_axis(COUNTED, domain=BARS, rangemode="tozero"),
        yaxis=named_rows.screen_axis(names),
        xaxis2=screen_sheet.screen_axis(SURE, domain=DOTS, range=[-0.03, 1.03], anchor="y2"),
        yaxis2=named_rows.screen_axis(names, showticklabels=False, anchor="x2", showgrid=True),
    )


def rows(result: ChosenClasses) -> list[Row]:
    """The labels with most pictures, or without labels the classes; of equal ones the earlier."""
    row_of = _of_label if _labelled(result) else _of_class
    counts = result.pictures.sum(axis=1 if _labelled(result) else 0)
    order = np.argsort(-counts, kind="stable")[:SHOWN]
    return [row_of(result, place) for place in order.tolist()]


def _labelled(result: ChosenClasses) -> bool:
    return result.label_names != ("",)


def _of_class(result: ChosenClasses, place: int) -> Row:
    name, count = result.class_names[place], int(result.pictures[0, place])
    sure = float(result.confidence[0, place])
    told = f"{_counted(count)}, mean probability {looks.percent(sure)}"
    hover = f"<b>{screen_sheet.literal(name)}</b><br>{told}"
    return Row(name, 0, count, None, sure, hover)


def _of_label(result: ChosenClasses, place: int) -> Row:
    counts, sure, own = result.pictures[place], result.confidence[place], int(result.own[place])
    name, is_own = result.label_names[place] or NO_LABEL, np.arange(len(counts)) == own
    own_sure, others_sure = (
        float(np.average(sure[which], weights=counts[which])) if counts[which].any() else None
        for which in (is_own, ~is_own)
    )
    total, mean = int(counts.sum()), float(np.average(sure, weights=counts))
    lines = [
        f"<b>{screen_sheet.literal(name)}</b>",
        f"{_counted(total)}, mean probability {looks.percent(mean)}",
    ]
    if own >= 0:
        lines.append(f"{looks.percent(counts[own] / total)} with the class of this name")
    most = [each for each in np.argsort(-counts, kind="stable")[:TOLD] if counts[each]]
    lines += [
        f"{screen_sheet.literal(result.class_names[each])}: {counts[each]:,}" for each in most
    ]
    if more := int((counts > 0).sum()) - len(most):
        lines.append(f"and {more:,} more classes")
    right = int(counts[is_own].sum())
    return Row(name, right, total - right, own_sure, others_sure, "<br>".join(lines))


def _counted(count: int) -> str:
    return "One picture" if count == 1 else f"{count:,} pictures"


def _title(result: ChosenClasses) -> str:
    return f"Classes over pictures: {result.model}"


def _words(result: ChosenClasses) -> str:
    pictures, things = int(result.pictures.sum()), "label" if _labelled(result) else "class"
    count = len(result.label_names) if _labelled(result) else len(result.class_names)
    most = f", the {SHOWN} with most pictures of {count:,}" if count > SHOWN else ""
    lines = [f"{_counted(pictures)} of {result.over}. A row for each {things}{most}."]
    if _labelled(result):
        own = result.own >= 0
        if own.any():
            lines.append(
                "Blue: the class with the name of the label. Grey: another class. Of the "
                "pictures whose label is the name of a class, "
                f"{looks.percent(_share(result))} were given this class."
            )
        if not own.all():
            lines.append(f"{(~own).sum():,} of {count:,} labels are no name of a class: all grey.")
    return "\n".join(lines)


def _share(result: ChosenClasses) -> float:
    """Of the pictures whose label names a class, those with this class."""
    named = np.flatnonzero(result.own >= 0)
    return float(result.pictures[named, result.own[named]].sum() / result.pictures[named].sum())


FIGURE = FigureSpec(
    record=ChosenClasses,
    slug="chosen_classes",
    title="Classes over pictures",
    question="Which classes does the model choose for these pictures, and how surely?",
    reading="The bar is the number of pictures of a label, and the dots are the mean probability "
    "of the class that the model chose for them. Where the label is the name of a class, blue is "
    "this class and grey is another: a grey dot far to the right is a label whose pictures are "
    "surely taken for something else. Without labels each row is a class.",
    caveat="A probability is what the model says, and many models say too much: it is not the "
    "share of right answers. Labels that are no name of a class are not compared.",
    formula="argmax over classes, and the softmax or the sigmoid of this output",
    source="vit_inspect",
    draw=draw,
    plot=plot,
)
