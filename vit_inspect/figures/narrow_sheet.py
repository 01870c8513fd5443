"""How is a figure on a screen laid out again where its place is narrow?

Its drawings are found by their axes, so a figure has nothing to do for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import plotly.graph_objects as go

from vit_inspect.figures.screen_sheet import (
    BELOW,
    LINE_PX,
    MARGIN_LEFT_PX,
    MARGIN_RIGHT_PX,
    TOP_PX,
    headline,
    write_below,
)

STACKED_BELOW_PX, LEAST_PX, LEAST_CELL_PX = 640, 600, 12
"""In narrower places drawings stand below each other; those that share their rows cannot, and keep
a width. The width of a cell that a finger can meet."""
ABOVE_PX, LOCKED_PX = 48, 560
"""Least room between drawings below each other, beside that for axes, and what a picture may be
high there."""


def proportion(figure: go.Figure) -> float | None:
    """Height of a drawing by the width of all that stand side by side; None if it fills its place.

    A picture has a proportion of its own, and so has a matrix of square cells.
    """
    panels = _panels(figure)
    if _share_rows(panels):
        return None
    if any(panel.down.scaleanchor is None or panel.down.domain for panel in panels):
        return None
    return max(_proportion(panel) * (panel.right - panel.left) for panel in panels)


def narrow(figure: go.Figure, width: int) -> go.Figure:
    """The figure, laid out again for a place that is narrower than `SCREEN_PX`.

    Its words are broken again, and begin at the left edge. Of drawings side by side, those at the
    right come below those at the left, unless they share their rows.

    width: of the place, in CSS px.
    """
    layout = figure.layout
    if not layout.annotations or not layout.meta:
        return figure
    below = _take_below(figure)
    (title, *subtitle), head = layout.meta, layout.annotations[0]
    before = 1 + head.text.count("<br>")
    above = layout.margin.t - TOP_PX - LINE_PX * before
    head.text, lines = headline((title, "\n".join(subtitle)), width - MARGIN_RIGHT_PX)
    head.xshift = -layout.margin.l
    added = LINE_PX * (lines - before)
    figure.update_layout(height=layout.height + added, margin_t=layout.margin.t + added)
    if width < STACKED_BELOW_PX and (parts := _parts(figure)):
        _stack(figure, parts, width, above)
    if below:
        write_below(figure, below, width - MARGIN_RIGHT_PX, left_px=layout.margin.l)
    return figure


def _take_below(figure: go.Figure) -> str:
    """Takes the words below a figure from it, and their room; returns them."""
    layout = figure.layout
    words = [each for each in layout.annotations if (each.name or "").startswith(BELOW)]
    layout.annotations = [each for each in layout.annotations if each not in words]
    room = LINE_PX * sum(1 + each.text.count("<br>") for each in words)
    figure.update_layout(height=layout.height - room, margin_b=layout.margin.b - room)
    return "\n".join(each.name.removeprefix(BELOW) for each in words)


def least_width(figure: go.Figure) -> int:
    """The CSS px below which a figure cannot be read or touched, however it is laid out."""
    if _share_rows(_panels(figure)):
        return LEAST_PX
    squares = [
        len(set(trace.x))
        for trace in figure.select_traces({"type": "scatter"})
        if trace.marker.symbol == "square" and trace.xaxis in (None, "x")
    ]
    margin = figure.layout.margin
    return margin.l + margin.r + LEAST_CELL_PX * max(squares, default=0)


class _Panel(NamedTuple):
    """A drawing on a sheet: its axes, and its sides as shares of the sheet."""

    across: Any
    down: Any
    left: float
    right: float
    low: float
    high: float


@dataclass
class _Part:
    """Drawings that stay beside each other.

    top, height: of their new place, in px below the upper end of the first part.
    """

    panels: list[_Panel]
    top: float = 0.0
    height: float = 0.0

    def __post_init__(self) -> None:
        self.left = min(panel.left for panel in self.panels)
        self.right = max(panel.right for panel in self.panels)
        self.low = min(panel.low for panel in self.panels)
        self.high = max(panel.high for panel in self.panels)

    def share(self, x: float) -> float:
        """A place of the sheet as a share of this part's width."""
        return (x - self.left) / (self.right - self.left)


def _panels(figure: go.Figure) -> list[_Panel]:
    """The drawings whose columns are their own."""
    found = []
    for across in figure.select_xaxes():
        down = figure.layout[(across.anchor or "y").replace("y", "yaxis")]
        found.append(_Panel(across, down, *(across.domain or (0, 1)), *(down.domain or (0, 1))))
    return found


def _share_rows(panels: list[_Panel]) -> bool:
    """Whether two drawings have the same rows, so that they are one table."""
    return len({panel.down.plotly_name for panel in panels}) < len(panels)


def _proportion(panel: _Panel) -> float:
    """Height by width of a drawing that has a proportion of its own."""
    columns, rows = (abs(end - start) for start, end in (panel.across.range, panel.down.range))
    return float(rows * (panel.down.scaleratio or 1) / columns)


def _parts(figure: go.Figure) -> list[_Part]:
    """What is at the left, at the right, and below both; none where they cannot be parted."""
    panels = sorted(_panels(figure), key=lambda panel: panel.left)
    below = [panel for panel in panels if panel.right - panel.left > 0.99]
    beside = [panel for panel in panels if panel.right - panel.left <= 0.99]
    if len(beside) < 2 or _share_rows(beside):
        return []
    gaps = [after.left - before.right for before, after in pairwise(beside)]
    cut = 1 + gaps.index(max(gaps))
    return [_Part(part) for part in (beside[:cut], beside[cut:], below) if part]


def _stack(figure: go.Figure, parts: list[_Part], width: int, above: float) -> None:
    """Puts parts of a figure below each other, each as wide as the sheet.

    above: px of the colour bars that stand above a part.
    """
    layout, margin = figure.layout, figure.layout.margin
    left, right, *rest = parts
    drawn = layout.height - margin.t - margin.b
    # Rows have names now where only those of the first drawing had.
    if any(panel.down.visible is not False for panel in right.panels):
        margin.l = max(margin.l, MARGIN_LEFT_PX)
    layout.annotations[0].xshift = -margin.l
    room = width - margin.l - margin.r
    below = drawn * (left.low - rest[0].high) if rest else margin.b
    traces = [each for each in figure.data if each.type != "heatmap"]
    bars = [each.colorbar for each in figure.select_traces({"type": "heatmap"})]
    bars += [each.marker.colorbar for each in traces]
    bars = [bar for bar in bars if bar.y is not None]
    gap = max(above, ABOVE_PX) if any(bar.x > left.right for bar in bars) else ABOVE_PX
    whole = 0.0
    for part in parts:
        part.top, part.height = whole, drawn * (part.high - part.low)
        if len(part.panels) == 1 and part.panels[0].down.scaleanchor:
            most = max(part.height, min(1.6 * room, LOCKED_PX))
            part.height = min(most, room * _proportion(part.panels[0]))
        whole = part.top + part.height + below + (gap if part is left else 0)
    whole -= below

    def place(part: _Part, y: float) -> float:
        """Where a height of the sheet is now: as far below its part's upper end as it was."""
        return 1 - (part.top + drawn * (part.high - y)) / whole

    for bar in bars:
        part = left if bar.x <= left.right else right
        length = min(bar.len, room)
        if bar.lenmode == "fraction":
            length = bar.len / (part.right - part.left)
        bar.update(x=part.share(bar.x), y=place(part, bar.y), len=length)
    for words in layout.annotations[1:]:
        if words.xref == words.yref == "paper":
            part = left if words.x <= left.right else right
            words.update(x=part.share(words.x), y=place(part, words.y))
    for part in parts:
        for panel in part.panels:
            panel.across.domain = part.share(panel.left), part.share(panel.right)
            low = place(part, panel.low)
            if len(part.panels) == 1:
                low = 1 - (part.top + part.height) / whole
            panel.down.domain = max(0.0, low), place(part, panel.high)
            # What the drawing at the left said for both.
            if part is right and panel.down.showticklabels is False and panel.down.visible is None:
                panel.down.update(showticklabels=True, title=left.panels[0].down.title)
    # A share of the drawing's height, which is another one now.
    if layout.legend.y is not None:
        layout.legend.y *= drawn / whole
    figure.update_layout(height=round(margin.t + whole + margin.b))
