"""A sheet for the screen: an empty plotly figure in our style, its axes and colour bars."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import plotly.graph_objects as go

from vit_inspect.figures.looks import INK, PAPER, QUIET, fold

SCREEN_PX, MARGIN_LEFT_PX, MARGIN_RIGHT_PX = 720, 64, 24
"""The width that figures are made for on a screen, and the margins beside the drawing."""

TITLE_PX, TEXT_PX, LETTER_EM = 16, 13, 0.53
"""Font sizes on a screen, and the usual width of a letter relative to its size."""
TOP_PX, LINE_PX = 26, 20
"""Height of the room above the words of the head, and of each of their lines."""
BELOW = "below: "
"""The name that plotly knows the words below a figure by."""
SCREEN_FONT = "Inter, Helvetica, Arial, sans-serif"


def screen(
    title: str, subtitle: str, *, height: int, above: int = 0, width: int = SCREEN_PX
) -> go.Figure:
    """An empty plotly figure in our style, as wide as its place.

    height, above: of the whole figure, and of the space above the drawing for a colour bar, in CSS
    px. width: px for the words; longer lines are broken, and the figure grows by the added lines.
    The unbroken lines are kept as the figure's `meta`, for pages that show them in another way.
    """
    text, lines = headline((title, subtitle), width - MARGIN_LEFT_PX - MARGIN_RIGHT_PX)
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


def write_below(
    figure: go.Figure,
    words: str,
    room_px: float = SCREEN_PX - MARGIN_LEFT_PX - MARGIN_RIGHT_PX,
    *,
    left_px: float = 0,
) -> go.Figure:
    """Adds small words below a figure, which grows by them; long lines are broken.

    room_px: the width of the words; left_px: how far they begin at the left of the drawing.
    """
    folded = literal(fold(words, _within(room_px, TEXT_PX)))
    below = figure.layout.margin.b
    added = LINE_PX * (1 + folded.count("\n"))
    figure.update_layout(height=figure.layout.height + added, margin_b=below + added)
    return figure.add_annotation(
        # With the words as they are, for another width.
        name=f"{BELOW}{words}",
        text=f'<span style="color:{QUIET}">{folded}</span>'.replace("\n", "<br>"),
        align="left",
        x=0,
        y=0,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="top",
        xshift=-left_px,
        yshift=-below,
        borderpad=0,
        showarrow=False,
    )


def headline(words: tuple[str, str], room_px: float) -> tuple[str, int]:
    """Title and subtitle as plotly writes them in a room, and in how many lines."""
    heading, small = (
        literal(fold(text, _within(room_px, size)))
        for text, size in zip(words, (TITLE_PX, TEXT_PX), strict=True)
    )
    text = (
        f'<span style="font-size:{TITLE_PX}px">{heading}</span>\n'
        f'<span style="font-size:{TEXT_PX}px;color:{QUIET}">{small}</span>'
    )
    return text.replace("\n", "<br>"), 1 + text.count("\n")


def literal(text: str) -> str:
    """Words of others for plotly, which shows them as they are.

    It would read tags, the variables of a template and, in a notebook, formulas. Quotes stay: it
    knows few signs by name.
    """
    return escape(text, quote=False).replace("%{", "&#37;{").replace("$", "&#36;")


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


def theme(figure: go.Figure, *, ink: str, quiet: str, paper: str) -> go.Figure:
    """Gives a plotly figure another paper and ink, as for a dark page.

    quiet: the colour of small words.
    """
    for words in figure.layout.annotations:
        words.text = (words.text or "").replace(QUIET, quiet)
        if words.font.color == QUIET:
            words.font.color = quiet
    return figure.update_layout(font_color=ink, paper_bgcolor=paper)
