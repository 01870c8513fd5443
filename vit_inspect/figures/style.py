"""What do all figures look like? The one home of their colours, limits, sizes and fonts.

Rules: lightness means "more" (dark to light, never jet); colours are always set, never left to
a library's default. Layers, rows and columns count from 0 as in the records; heads, and the axes
of the position figure, from 1 as in the paper (2010.11929, Fig. 7).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import matplotlib
import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import Formatter, FuncFormatter

INK, QUIET, PAPER, ACCENT = "#1f2328", "#6b7280", "#ffffff", "#d1495b"
HEAD_COLOURS = tuple(to_hex(colour) for colour in matplotlib.colormaps["tab10"].colors)  # type: ignore[attr-defined]
WEIGHT_MAP = "magma"
"""Shares of attention, from 0."""
SIMILARITY_MAP, SIMILARITY_LIMITS = "viridis", (-1.0, 1.0)
DIFFERENCE_MAP = "RdBu_r"
"""White is no difference."""
BIAS_MAP = "RdBu_r"
"""White is nothing added, red is more and blue is less; told apart by every eye."""
SHARED_SCALE_PERCENTILE = 99.5
"""A few sink tokens must not turn every other map black."""
MAP_OPACITY = 0.65
UNSEEN, UNSEEN_OPACITY = "#ffffff", 0.75
"""The veil over what the model never saw."""

DASHES: dict[str, Any] = {
    "solid": "solid",
    "dash": (0, (4, 2)),
    "dot": (0, (1, 1.5)),
    "dashdot": (0, (4, 1.5, 1, 1.5)),
    "longdash": (0, (8, 2)),
    "longdashdot": (0, (8, 1.5, 1, 1.5)),
}
MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle-up": "^",
    "diamond": "D",
    "triangle-down": "v",
    "cross": "P",
    "x": "X",
    "star": "*",
}
"""Plotly's dashes and markers, and the same for print: colour alone tells no line from another."""

COLUMN_IN, PAGE_IN, PRINT_DPI = 3.3, 6.9, 300
TEXT_PT, TITLE_PT, RULE_PT = 7.0, 8.0, 0.5
EDGE_IN, LINE_EM = 0.05, 1.4
"""What words keep from the edge of a sheet; the height of a line, in sizes of its letters."""
NAME_LENGTH = 24
"""Letters of a name that an axis, or a line of a list, has room for."""
SCREEN_PX, MARGIN_LEFT_PX, MARGIN_RIGHT_PX = 720, 64, 24
"""Width that a figure on a screen is made for, and what is beside its drawing."""
TITLE_PX, TEXT_PX, LETTER_EM = 16, 13, 0.53
"""Sizes of the words on a screen, and the usual width of a letter."""
SCREEN_FONT = "Inter, Helvetica, Arial, sans-serif"
PROBABILITY_ENDS = (0.005, 0.02, 0.1, 0.5, 1.01)
Limits = tuple[float, float]


def head_name(head: int) -> str:
    """A head's name in every figure, from "Head 1" as in the paper's legend."""
    return f"Head {head + 1}"


def offset_name(rows: int, columns: int) -> str:
    """Where a key lies from its query, such as "2 up, 1 right"."""
    parts = [f"{abs(rows)} {'down' if rows > 0 else 'up'}"] if rows else []
    parts += [f"{abs(columns)} {'right' if columns > 0 else 'left'}"] if columns else []
    return ", ".join(parts) or "the query itself"


def percent(share: float | np.floating) -> str:
    """A share in words, with as many digits as it takes to tell small ones apart."""
    if 0 < share < 1e-4:
        return "<0.01%"
    return f"{share:.1%}" if share >= 0.1 else f"{100 * share:.2g}%"


def percent_ticks() -> Formatter:
    """For axes and colour bars in print: whole percents are whole, and small ones are told."""
    return FuncFormatter(lambda share, _: f"{100 * share:.4g}%")


def probability_end(largest: float) -> float:
    """Where an axis of probabilities ends: one of few places, so that it seldom jumps."""
    return next(end for end in PROBABILITY_ENDS if largest <= end)


def short(name: str, letters: int = NAME_LENGTH) -> str:
    """A name of so many letters at most, its middle left out; both ends tell names apart."""
    if len(name) <= letters:
        return name
    end = (letters - 1) // 2
    return f"{name[: letters - 1 - end]}…{name[len(name) - end :]}"


def fold(text: str, fits: Callable[[str], bool]) -> str:
    """Breaks lines that do not fit between words; a word that alone is too long is shortened.

    No word of a sentence is so long: it is the name of a model or of a file.
    """
    lines = []
    for given in text.split("\n"):
        line, *words = (_fitting(word, fits) for word in given.split(" "))
        for word in words:
            if fits(f"{line} {word}"):
                line = f"{line} {word}"
            else:
                lines.append(line)
                line = word
        lines.append(line)
    return "\n".join(lines)


def _fitting(word: str, fits: Callable[[str], bool]) -> str:
    letters = len(word)
    while letters > 1 and not fits(short(word, letters)):
        letters -= 1
    return short(word, letters)


def head_colour(head: int) -> str:
    """A head's colour; ten repeat, as in the paper."""
    return HEAD_COLOURS[head % len(HEAD_COLOURS)]


def line_dash(place: int) -> str:
    """A dash, not solid, for each of some lines, by plotly's name; five repeat."""
    broken = [dash for dash in DASHES if dash != "solid"]
    return broken[place % len(broken)]


def line_marker(place: int) -> str:
    """A marker for each of some lines, by plotly's name; eight repeat."""
    return list(MARKERS)[place % len(MARKERS)]


def colour(
    values: Float[np.ndarray, "*shape"], colour_map: str, limits: Limits
) -> UInt8[np.ndarray, "*shape 4"]:
    """The RGBA bytes of values; those beyond the limits take the colour of the limit."""
    scaled = np.asarray(Normalize(*limits)(values))
    return np.asarray(matplotlib.colormaps[colour_map](scaled, bytes=True))


def colour_scale(colour_map: str, opacity: float = 1.0) -> list[tuple[float, str]]:
    """The same colour map for plotly."""
    stops = np.linspace(0, 1, 33)
    colours = matplotlib.colormaps[colour_map](stops, bytes=True)
    return [
        (float(stop), f"rgba({red},{green},{blue},{opacity})")
        for stop, (red, green, blue, _) in zip(stops, colours.tolist(), strict=True)
    ]


def page(width_in: float, height_in: float) -> Figure:
    """An empty sheet to draw on, in inches."""
    return Figure(figsize=(width_in, height_in), dpi=PRINT_DPI, facecolor=PAPER)


def place(figure: Figure, *, left: float, top: float, width: float, height: float) -> Axes:
    """Axes with thin grey rules, in inches from the top left corner of the sheet."""
    page_width, page_height = figure.get_size_inches()
    bottom = page_height - top - height
    axes = figure.add_axes(
        (left / page_width, bottom / page_height, width / page_width, height / page_height),
        facecolor="none",
    )
    axes.tick_params(
        which="both",
        labelsize=TEXT_PT,
        labelcolor=INK,
        color=QUIET,
        width=RULE_PT,
        length=2.5,
        pad=2,
    )
    axes.tick_params(which="minor", length=1.5)
    for spine in axes.spines.values():
        spine.set(linewidth=RULE_PT, color=QUIET)
    return axes


def bare(axes: Axes) -> None:
    """Leaves a picture without frame and tick marks; tick labels stay."""
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)


def label(axes: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Names the axes; what is empty is left out."""
    axes.set_xlabel(x, fontsize=TEXT_PT, color=INK, labelpad=2.5)
    axes.set_ylabel(y, fontsize=TEXT_PT, color=INK, labelpad=2.5)
    axes.set_title(title, fontsize=TITLE_PT, color=INK, pad=4, parse_math=False)


def write(figure: Figure, text: str, *, left: float, top: float, **properties: Any) -> Text:
    """Lines of text on the sheet, in inches from its top left corner.

    Lines that would leave the sheet are broken. For those that this adds the sheet grows, and what
    is on it below the text's top moves down: write when all else has its place.
    """
    width, _ = figure.get_size_inches()
    given: dict[str, Any] = {"fontsize": TEXT_PT, "color": QUIET, "linespacing": LINE_EM}
    given |= {"va": "top", "parse_math": False} | properties
    size, font = given["fontsize"], FontProperties(size=given["fontsize"])

    def fits(line: str) -> bool:
        points, _, _ = text_to_path.get_text_width_height_descent(line, font, False)
        return bool(left + points / 72 <= width - EDGE_IN)

    folded = fold(text, fits)
    if added := folded.count("\n") - text.count("\n"):
        _make_room(figure, below=top, inches=added * LINE_EM * size / 72)
    return figure.text(left / width, 1 - top / figure.get_size_inches()[1], folded, **given)


def write_head(figure: Figure, title: str, words: str, *, left: float = 0.05) -> None:
    """A title and the words below it at the top of the sheet, when all else has its place."""
    lines = write(figure, title, left=left, top=0.08, fontsize=TITLE_PT, color=INK).get_text()
    added = lines.count("\n") * LINE_EM * TITLE_PT / 72
    write(figure, words, left=left, top=0.28 + added)


def _make_room(figure: Figure, *, below: float, inches: float) -> None:
    """Makes the sheet taller, and moves down by as much what begins lower than `below`."""
    width, height = figure.get_size_inches()
    taller = height + inches

    def moved(share: float) -> float:
        """Where a top edge comes to lie, in shares of the sheet from its bottom."""
        top = height * (1 - share)
        # A hair, for what rounding makes of an equal height.
        return 1 - (top + (inches if top > below + 1e-6 else 0)) / taller

    for axes in figure.axes:
        left, bottom, wide, high = axes.get_position(original=True).bounds
        high_now = high * height / taller
        axes.set_position((left, moved(bottom + high) - high_now, wide, high_now))
    for text in figure.texts:
        text.set_y(moved(text.get_position()[1]))
    figure.set_size_inches(width, taller)


def colour_bar(
    axes: Axes, colour_map: str, limits: Limits, *, name: str, opacity: float = 1.0, **options: Any
) -> Colorbar:
    """Fills the axes with the colour bar of a map; `options` are matplotlib's, such as `ticks`."""
    # Matplotlib's own would take a power of ten out of small numbers, and put it elsewhere.
    options.setdefault("format", FuncFormatter(lambda number, _: _tick(number)))
    colours = ScalarMappable(Normalize(*limits), colour_map)
    bar = axes.figure.colorbar(colours, cax=axes, alpha=opacity, drawedges=False, **options)
    bar.outline.set(linewidth=RULE_PT, edgecolor=QUIET)
    bar.set_label(name, fontsize=TEXT_PT, color=INK, labelpad=3)
    return bar


def _tick(number: float) -> str:
    return f"{number:.4g}".replace("-", "−")


def tick_labels(numbers: Iterable[object], pitch_in: float) -> list[str]:
    """Labels of ticks that lie `pitch_in` apart; so many are left out that none overlap."""
    step = max(1, math.ceil(0.155 / pitch_in))
    return [str(number) if index % step == 0 else "" for index, number in enumerate(numbers)]


def screen(
    title: str, subtitle: str, *, height: int, above: int = 0, width: int = SCREEN_PX
) -> go.Figure:
    """An empty plotly figure in the style of the house, as wide as its place.

    height, above: of all, and what is kept free above the drawing for a colour bar, in CSS px.
    width: px that the words have; those that need more are broken, and the figure grows by that.
    The lines of words are kept as the figure's `meta`, for those who show them otherwise.
    """
    free = width - MARGIN_LEFT_PX - MARGIN_RIGHT_PX
    heading, words = (
        escape(fold(text, _within(free, size)), quote=False)
        for text, size in ((title, TITLE_PX), (subtitle, TEXT_PX))
    )
    meta = [title, *subtitle.split("\n")]
    lines = 2 + heading.count("\n") + words.count("\n")
    layout = go.Layout(
        font={"family": SCREEN_FONT, "size": TEXT_PX, "color": INK},
        paper_bgcolor=PAPER,
        plot_bgcolor="rgba(0,0,0,0)",
        height=height + 20 * (lines - len(meta)),
        margin={
            "l": MARGIN_LEFT_PX,
            "r": MARGIN_RIGHT_PX,
            "t": 26 + 20 * lines + above,
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
        text=f'<span style="font-size:{TITLE_PX}px">{heading}</span>\n'
        f'<span style="font-size:{TEXT_PX}px;color:{QUIET}">{words}</span>'.replace("\n", "<br>"),
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


def _within(room_px: float, letter_px: float) -> Callable[[str], bool]:
    """Whether a line of letters of a size has room on a screen, whose font is not known here."""
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


def name_below(figure: go.Figure, name: str, domain: tuple[float, float]) -> go.Figure:
    """Names the axis under one of several drawings that lie side by side.

    Not as the axis' title, which plotly puts among the bars when there is a horizontal colour bar.
    """
    return figure.add_annotation(
        text=name,
        x=sum(domain) / 2,
        y=0,
        xref="paper",
        yref="paper",
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
    """Unseen squares to be hovered and clicked, as pictures and heat maps on a page cannot be.

    size: in px. properties: those of plotly's scatter, such as where they lie.
    """
    marker = {"symbol": "square", "size": size, "color": "rgba(0,0,0,0)", "line": {"width": 0}}
    figure.add_scatter(mode="markers", marker=marker, **properties)
    # The nearest one answers, however far.
    return figure.update_layout(hoverdistance=-1)


def theme(figure: go.Figure, *, ink: str, paper: str) -> go.Figure:
    """Puts a plotly figure on other paper with other ink, as for a dark page."""
    return figure.update_layout(font_color=ink, paper_bgcolor=paper)
