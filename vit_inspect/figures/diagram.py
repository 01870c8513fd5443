"""How are boxes, arrows and words drawn as a diagram, in print and on a screen?

A diagram is made once, in points of print from its bottom left corner, and drawn in both ways.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from vit_inspect.figures import looks, print_sheet, screen_sheet

WORD_PT, SMALL_PT = 7.0, 6.25
"""Font sizes of what a box is called, and of its sizes."""

LINE_PT, SMALL_LINE_PT, PAD_PT = 8.6, 7.8, 3.4
CORNER_PT, SUM_PT = 1.8, 3.6
PANEL, PANEL_ON_SCREEN = "#f6f7f9", "rgba(107,114,128,0.08)"

SCREEN_SCALE = screen_sheet.TEXT_PX / WORD_PT
"""Px on a screen for each point of print."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A box with a word and smaller lines below it; `accent` gives it the accent colour.

    hover: what a screen says under the cursor.
    """

    left: float
    bottom: float
    width: float
    height: float
    word: str = ""
    lines: tuple[str, ...] = ()
    accent: bool = False
    panel: bool = False
    hover: str = ""


@dataclass(frozen=True)
class Arrow:
    """A line through points; `head` puts an arrow head on its last point."""

    points: tuple[Point, ...]
    head: bool = True
    accent: bool = False


@dataclass(frozen=True)
class Sum:
    """A plus in a circle."""

    x: float
    y: float


@dataclass(frozen=True)
class Note:
    """Small words beside the place (x, y)."""

    x: float
    y: float
    text: str
    anchor: Literal["left", "center", "right"] = "left"
    word: bool = False


@dataclass(frozen=True)
class Diagram:
    """What is drawn, the lowest first, on a sheet in points of print."""

    width: float
    height: float
    items: tuple[Box | Arrow | Sum | Note, ...]


def box_height(lines: Sequence[str]) -> float:
    """The height of a box with a word and these lines."""
    return 2 * PAD_PT + LINE_PT + SMALL_LINE_PT * len(lines)


def folded(text: str, width: float, size: float = SMALL_PT) -> tuple[str, ...]:
    """The lines of a text that fit into a width, in points."""
    return tuple(print_sheet.folded_at(text, width / 72, size).split("\n"))


def draw(diagram: Diagram, axes: Axes) -> None:
    """Draws a diagram on axes that have its size in points."""
    axes.set(xlim=(0, diagram.width), ylim=(0, diagram.height), xticks=[], yticks=[])
    print_sheet.bare(axes)
    for item in diagram.items:
        if isinstance(item, Box):
            _draw_box(item, axes)
        elif isinstance(item, Arrow):
            _draw_arrow(item, axes)
        elif isinstance(item, Sum):
            axes.add_patch(
                Circle(
                    (item.x, item.y),
                    SUM_PT,
                    facecolor=looks.PAPER,
                    edgecolor=looks.QUIET,
                    linewidth=0.6,
                )
            )
            for points in _plus(item):
                axes.plot(*zip(*points, strict=True), color=looks.QUIET, linewidth=0.6)
        else:
            _write(axes, item.x, item.y, item.text, anchor=item.anchor, word=item.word)


def _write(
    axes: Axes, x: float, y: float, text: str, *, anchor: str = "center", word: bool = False
) -> None:
    axes.text(
        x,
        y,
        text,
        ha=anchor,
        va="center_baseline",
        fontsize=WORD_PT if word else SMALL_PT,
        color=looks.INK if word else looks.QUIET,
        parse_math=False,
    )


def _draw_box(box: Box, axes: Axes) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (box.left, box.bottom),
            box.width,
            box.height,
            boxstyle=f"round,pad=0,rounding_size={CORNER_PT}",
            facecolor=PANEL if box.panel else looks.PAPER,
            edgecolor=looks.ACCENT if box.accent else looks.QUIET,
            linewidth=0.9 if box.accent else 0.5,
        )
    )
    for (x, y), text, word in _words(box):
        _write(axes, x, y, text, word=word)


def _words(box: Box) -> list[tuple[Point, str, bool]]:
    """The middle of each line of a box, its text, and whether it is its word."""
    if not box.word:
        return []
    x, top = box.left + box.width / 2, box.bottom + box.height - PAD_PT
    lines = [((x, top - LINE_PT / 2), box.word, True)]
    for number, line in enumerate(box.lines):
        lines.append(((x, top - LINE_PT - (number + 0.5) * SMALL_LINE_PT), line, False))
    return lines


def _draw_arrow(arrow: Arrow, axes: Axes) -> None:
    colour = looks.ACCENT if arrow.accent else looks.QUIET
    *before, last = arrow.points
    axes.plot(
        *zip(*arrow.points, strict=True),
        color=colour,
        linewidth=0.6,
        solid_joinstyle="round",
        solid_capstyle="butt",
    )
    if arrow.head:
        axes.add_patch(
            FancyArrowPatch(
                before[-1],
                last,
                arrowstyle="-|>,head_length=2.2,head_width=1.2",
                mutation_scale=1,
                shrinkA=0,
                shrinkB=0,
                linewidth=0.4,
                color=colour,
            )
        )


def _plus(item: Sum) -> tuple[tuple[Point, Point], ...]:
    arm = 0.6 * SUM_PT
    return (
        ((item.x - arm, item.y), (item.x + arm, item.y)),
        ((item.x, item.y - arm), (item.x, item.y + arm)),
    )


def plot(diagram: Diagram, figure: go.Figure) -> go.Figure:
    """Draws a diagram on a screen figure; each box says its `hover` under the cursor."""
    shapes = [shape for item in diagram.items for shape in _shapes(item)]
    notes = [
        note
        for item in diagram.items
        if isinstance(item, Box | Note)
        for note in _annotations(item)
    ]
    heads = [_head(item) for item in diagram.items if isinstance(item, Arrow) and item.head]
    told = [item for item in diagram.items if isinstance(item, Box) and item.hover]
    screen_sheet.add_squares(
        figure,
        size=24,
        x=[box.left + box.width / 2 for box in told],
        y=[box.bottom + box.height / 2 for box in told],
        text=[box.hover for box in told],
        hovertemplate="%{text}<extra></extra>",
    )
    hidden = {"visible": False, "fixedrange": True}
    return figure.update_layout(
        shapes=shapes,
        annotations=[*figure.layout.annotations, *heads, *notes],
        xaxis={
            "range": [0, diagram.width],
            "constrain": "domain",
            "constraintoward": "left",
            **hidden,
        },
        yaxis={
            "range": [0, diagram.height],
            "scaleanchor": "x",
            "constrain": "domain",
            "constraintoward": "top",
            **hidden,
        },
    )


def _shapes(item: Box | Arrow | Sum | Note) -> list[dict[str, object]]:
    if isinstance(item, Box):
        return [
            {
                "type": "rect",
                "x0": item.left,
                "x1": item.left + item.width,
                "y0": item.bottom,
                "y1": item.bottom + item.height,
                "fillcolor": PANEL_ON_SCREEN if item.panel else "rgba(0,0,0,0)",
                "line": {
                    "color": looks.ACCENT if item.accent else looks.QUIET,
                    "width": 1.5 if item.accent else 0.8,
                },
                "layer": "below",
            }
        ]
    if isinstance(item, Arrow):
        path = " L ".join(f"{x:.2f},{y:.2f}" for x, y in item.points)
        return [_line(path, looks.ACCENT if item.accent else looks.QUIET)]
    if isinstance(item, Sum):
        circle = {
            "type": "circle",
            "x0": item.x - SUM_PT,
            "x1": item.x + SUM_PT,
            "y0": item.y - SUM_PT,
            "y1": item.y + SUM_PT,
            "line": {"color": looks.QUIET, "width": 1},
            "layer": "below",
        }
        ends = (" L ".join(f"{x:.2f},{y:.2f}" for x, y in points) for points in _plus(item))
        return [circle, *(_line(path, looks.QUIET) for path in ends)]
    return []


def _line(path: str, colour: str) -> dict[str, object]:
    return {
        "type": "path",
        "path": f"M {path}",
        "line": {"color": colour, "width": 1},
        "layer": "below",
    }


def _head(arrow: Arrow) -> dict[str, object]:
    (x, y), (to_x, to_y) = arrow.points[-2:]
    return {
        "x": to_x,
        "y": to_y,
        "ax": x,
        "ay": y,
        "xref": "x",
        "yref": "y",
        "axref": "x",
        "ayref": "y",
        "text": "",
        "showarrow": True,
        "arrowhead": 2,
        "arrowsize": 1,
        "arrowwidth": 1,
        "arrowcolor": looks.ACCENT if arrow.accent else looks.QUIET,
    }


def _annotations(item: Box | Note) -> list[dict[str, object]]:
    lines = [((item.x, item.y), item.text, item.word)] if isinstance(item, Note) else _words(item)
    anchor = item.anchor if isinstance(item, Note) else "center"
    return [
        {
            "x": x,
            "y": y,
            "text": screen_sheet.literal(text),
            "showarrow": False,
            "xanchor": anchor,
            "yanchor": "middle",
            "borderpad": 0,
            # The ink of words is left to the page, which may be dark.
            "font": {"size": screen_sheet.TEXT_PX}
            if word
            else {"size": SCREEN_SCALE * SMALL_PT, "color": looks.QUIET},
        }
        for (x, y), text, word in lines
    ]
