"""A sheet for the screen: an empty plotly figure in our style, its axes and colour bars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

import plotly.graph_objects as go

from vit_inspect.figures.looks import INK, PAPER, QUIET, fold

SCREEN_PX, MARGIN_LEFT_PX, MARGIN_RIGHT_PX = 720, 64, 24
"""The width that figures are made for on a screen, and the margins beside the drawing."""

TITLE_PX, TEXT_PX, LETTER_EM = 16, 13, 0.53
"""Font sizes on a screen, and the usual width of a letter relative to its size."""
TOP_PX, LINE_PX = 26, 20
"""Height of the room above the words of the head, and of each of their lines."""
STACKED_BELOW_PX, LEAST_PX, LEAST_CELL_PX = 640, 600, 12
"""In narrower places drawings stand below each other; those that share their rows cannot, and keep
a width. The width of a cell that a finger can meet."""
ABOVE_PX, LOCKED_PX = 48, 560
"""Least room between drawings below each other, beside that for axes, and what a picture may be
high there."""
SCREEN_FONT = "Inter, Helvetica, Arial, sans-serif"


def screen(
    title: str, subtitle: str, *, height: int, above: int = 0, width: int = SCREEN_PX
) -> go.Figure:
    """An empty plotly figure in our style, as wide as its place.

    height, above: of the whole figure, and of the space above the drawing for a colour bar, in CSS
    px. width: px for the words; longer lines are broken, and the figure grows by the added lines.
    The unbroken lines are kept as the figure's `meta`, for pages that show them in another way.
    """
    text, lines = _head((title, subtitle), width - MARGIN_LEFT_PX - MARGIN_RIGHT_PX)
    meta = [title, *subtitle.split("\n")]
    layout = go.Layout(
        font={"family": SCREEN_FONT, "size": TEXT_PX, "color": INK},
        paper_bgcolor=PAPER,
        plot_bgcolor="rgba(0,0,0,0)",
        height=height + LINE_PX * (lines - len(meta)),
        margin={
            "l": MARGIN_LEFT_PX,
            "r": MARGIN_RIGHT_PX,
            "t": TOP_PX + LINE_PX * lines + above,
            "b": 56,
        },
        hoverlabel={"bgcolor": PAPER, "bordercolor": QUIET, "font": {"color": INK}},
        hovermode="closest",
        showlegend=False,
        dragmode=False,
        meta=meta,
    )
    # An empty template: plotly would otherwise add its own colours to whatever is left unset.
    figure = go.Figure(layout=layout, layout_template=go.layout.Template())
    # Not plotly's own title, which a horizontal colour bar pushes off the sheet.
    return figure.add_annotation(
        text=text,
        align="left",
        x=0,
        y=1,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="bottom",
        yshift=above + 10,
        borderpad=0,
        showarrow=False,
    )


def write_below(figure: go.Figure, words: str) -> go.Figure:
    """Adds small words below a figure, which grows by them; long lines are broken."""
    free = SCREEN_PX - MARGIN_LEFT_PX - MARGIN_RIGHT_PX
    folded = escape(fold(words, _within(free, TEXT_PX)), quote=False)
    below = figure.layout.margin.b
    room = 20 * (1 + folded.count("\n"))
    figure.update_layout(height=figure.layout.height + room, margin_b=below + room)
    return figure.add_annotation(
        text=f'<span style="color:{QUIET}">{folded}</span>'.replace("\n", "<br>"),
        align="left",
        x=0,
        y=0,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        yshift=-below,
        borderpad=0,
        showarrow=False,
    )


def _head(words: tuple[str, str], room_px: float) -> tuple[str, int]:
    """Title and subtitle as plotly writes them in a room, and in how many lines."""
    heading, small = (
        escape(fold(text, _within(room_px, size)), quote=False)
        for text, size in zip(words, (TITLE_PX, TEXT_PX), strict=True)
    )
    text = (
        f'<span style="font-size:{TITLE_PX}px">{heading}</span>\n'
        f'<span style="font-size:{TEXT_PX}px;color:{QUIET}">{small}</span>'
    )
    return text.replace("\n", "<br>"), 1 + text.count("\n")


def _within(room_px: float, letter_px: float) -> Callable[[str], bool]:
    """Whether a line fits into a width on a screen; estimated, as the font is not known here."""
    return lambda line: len(line) * LETTER_EM * letter_px <= room_px


def screen_axis(title: str = "", **properties: Any) -> dict[str, Any]:
    """A thin grey plotly axis; `properties` are plotly's and win."""
    return {
        "title": {"text": title, "font": {"size": 13}, "standoff": 10},
        "showgrid": False,
        "zeroline": False,
        "showline": True,
        "linecolor": QUIET,
        "linewidth": 1,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": QUIET,
    } | properties


def name_below(
    figure: go.Figure, name: str, domain: tuple[float, float] | None = None
) -> go.Figure:
    """Names the axis below a drawing: the only one, or one of several side by side.

    Not as the axis' title, which plotly misplaces when there is a horizontal colour bar.
    domain: of the drawing as shares of the width, where there are several.
    """
    return figure.add_annotation(
        text=name,
        x=sum(domain) / 2 if domain else 0.5,
        y=0,
        xref="paper" if domain else "x domain",
        yref="paper" if domain else "y domain",
        xanchor="center",
        yanchor="top",
        yshift=-24,
        showarrow=False,
    )


def screen_colour_bar(title: str, **properties: Any) -> dict[str, Any]:
    """A slim plotly colour bar above the drawing; `properties` are plotly's and win."""
    return {
        "title": {"text": title, "side": "top", "font": {"size": 13}},
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "xpad": 0,
        "y": 1,
        "yanchor": "bottom",
        "lenmode": "pixels",
        "len": 260,
        "thickness": 10,
        "outlinewidth": 0.5,
        "outlinecolor": QUIET,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": QUIET,
    } | properties


def add_squares(figure: go.Figure, *, size: int, **properties: Any) -> go.Figure:
    """Invisible squares for the cursor, as pictures and heat maps on a page cannot be clicked.

    size: in px. properties: of plotly's scatter, such as x and y.
    """
    marker = {"symbol": "square", "size": size, "color": "rgba(0,0,0,0)", "line": {"width": 0}}
    figure.add_scatter(mode="markers", marker=marker, **properties)
    # The nearest one answers, however far.
    return figure.update_layout(hoverdistance=-1)


def screen_legend(figure: go.Figure) -> dict[str, Any]:
    """A plotly legend below a figure's drawing, in as many rows as its width needs.

    The drawing gets lower by these rows.
    """
    layout = figure.layout
    free = layout.height - layout.margin.t - layout.margin.b
    return {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": -(layout.margin.b + 6) / free,
        "yanchor": "top",
        "tracegroupgap": 0,
        "font_size": 12,
    }


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
    (title, *subtitle), head = layout.meta, layout.annotations[0]
    before = 1 + head.text.count("<br>")
    above = layout.margin.t - TOP_PX - LINE_PX * before
    head.text, lines = _head((title, "\n".join(subtitle)), width - MARGIN_RIGHT_PX)
    head.xshift = -layout.margin.l
    added = LINE_PX * (lines - before)
    figure.update_layout(height=layout.height + added, margin_t=layout.margin.t + added)
    if width < STACKED_BELOW_PX and (parts := _parts(figure)):
        _stack(figure, parts, width, above)
    return figure


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
    figure.update_layout(height=round(margin.t + whole + margin.b))


def theme(figure: go.Figure, *, ink: str, quiet: str, paper: str) -> go.Figure:
    """Gives a plotly figure another paper and ink, as for a dark page.

    quiet: the colour of small words.
    """
    for words in figure.layout.annotations:
        words.text = (words.text or "").replace(QUIET, quiet)
        if words.font.color == QUIET:
            words.font.color = quiet
    return figure.update_layout(font_color=ink, paper_bgcolor=paper)
