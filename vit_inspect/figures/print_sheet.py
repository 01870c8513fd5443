"""A sheet for print: matplotlib axes placed in inches, and words that stay on the paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import Formatter, FuncFormatter, Locator, MaxNLocator

from vit_inspect.figures import looks
from vit_inspect.figures.looks import (
    INK,
    PAPER,
    QUIET,
    SIMILARITY_LIMITS,
    SIMILARITY_MAP,
    Limits,
    fitted,
    fold,
)

COLUMN_IN, PAGE_IN, PRINT_DPI = 3.3, 6.9, 300
STACKED_BELOW_IN = 4.5
"""On narrower sheets panels stand one below the other."""
TEXT_PT, TITLE_PT, RULE_PT = 7.0, 8.0, 0.5

WIDER = 1.045
"""By how much lines may become wider than their outlines, as letters snap to pixels at 150 dpi."""

EDGE_IN, LINE_EM = 0.05, 1.4
"""The margin of words in inches, and the height of a line relative to its font size."""

MAP_MOST_IN = 7.0
"""The longer side of the only map of a sheet, at most, so that it stays lower than a page."""

TITLE, CAPTION = "title", "caption"
"""The words of a sheet that can be left out; their names in an SVG file."""


def percent_ticks() -> Formatter:
    """Percentages for axes and colour bars, with no more digits than needed."""
    return FuncFormatter(lambda share, _: f"{100 * share:.4g}%")


def number_ticks() -> Formatter:
    """Numbers for axes and colour bars; matplotlib's own would take out a power of ten."""
    return FuncFormatter(lambda value, _: looks.number(value))


def round_ticks(spaces: int) -> Locator:
    """Ticks at round numbers, with so many spaces between them at most."""
    return MaxNLocator(spaces, steps=(1, 2, 2.5, 5, 10))


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


def map_sheet(width_in: float, proportion: float) -> tuple[Figure, Axes, Axes]:
    """A sheet for one map, its place, and that of its colour bar; `end_map_sheet` cuts it.

    proportion: width of the map by its height.
    """
    side = min(width_in * 2 / 3, MAP_MOST_IN)
    width, height = side * min(1, proportion), side * min(1, 1 / proportion)
    figure = page(width_in, height + 1)
    # In the middle, with room for names at the left and for the bar at the right.
    left, top = 0.45 + (width_in - 1.1 - width) / 2, 0.25
    axes = place(figure, left=left, top=top, width=width, height=height)
    bar = place(figure, left=left + width + 0.1, top=top, width=0.09, height=height)
    return figure, axes, bar


def end_map_sheet(figure: Figure, title: str, words: str) -> None:
    """Writes a title above the map and words below it, and cuts the sheet there."""
    box, height = figure.get_tightbbox(), figure.get_size_inches()[1]
    write_caption(figure, words, top=height - box.y0 + 0.14)
    # Names of a flat map are longer than its height, and the title stands above them too.
    make_room(figure, below=-math.inf, inches=0.22 - (height - box.y1))
    write_title_over(figure, title, over=figure.axes[0])
    trim(figure)


def size_in(axes: Axes) -> tuple[float, float]:
    """(width, height) of axes in inches."""
    box, dpi = axes.get_window_extent(), axes.figure.dpi
    return box.width / dpi, box.height / dpi


def bare(axes: Axes) -> None:
    """Removes frame and tick marks; tick labels stay."""
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)


def label(axes: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Sets the labels and the title of axes; empty ones are left out."""
    named: dict[str, Any] = {"fontsize": TEXT_PT, "color": INK, "parse_math": False}
    axes.set_xlabel(x, labelpad=2.5, **named)
    axes.set_ylabel(y, labelpad=2.5, **named)
    axes.set_title(title, fontsize=TITLE_PT, color=INK, pad=4, parse_math=False)


def write(figure: Figure, text: str, *, left: float, top: float, **properties: Any) -> Text:
    """Lines of text on the sheet, in inches from its top left corner.

    Lines that are too long are broken. The sheet grows by the added lines, and everything below
    the top of the text moves down: call this when all axes are placed. With `ha="center"`, `left`
    is the middle of the lines.
    """
    width, _ = figure.get_size_inches()
    given: dict[str, Any] = {"fontsize": TEXT_PT, "color": QUIET, "linespacing": LINE_EM}
    given |= {"va": "top", "parse_math": False} | properties
    size, room = given["fontsize"], width - EDGE_IN - left
    if given.get("ha") == "center":
        room = 2 * min(room, left - EDGE_IN)
    folded = folded_at(text, room, size)
    if added := folded.count("\n") - text.count("\n"):
        make_room(figure, below=top, inches=added * LINE_EM * size / 72)
    return figure.text(left / width, 1 - top / figure.get_size_inches()[1], folded, **given)


def folded_at(text: str, width_in: float, size_pt: float) -> str:
    """The text with long lines broken, so that none is wider than `width_in`."""
    return fold(text, lambda line: text_width(line, size_pt) / 72 <= width_in)


def fitted_at(name: str, width_in: float, size_pt: float) -> str:
    """The name on one line, without as much of its middle as is wider than `width_in`."""
    return fitted(name, lambda line: text_width(line, size_pt) / 72 <= width_in)


@lru_cache(4096)
def text_width(line: str, size_pt: float) -> float:
    """The width of a line in print, in points; fonts of screens are no wider."""
    # The widest of the fonts that a print may have, whatever matplotlib is set to.
    font = FontProperties(family="DejaVu Sans", size=size_pt)
    points, _, _ = text_to_path.get_text_width_height_descent(line, font, False)
    return float(WIDER * points)


def write_head(figure: Figure, title: str, words: str, *, left: float = 0.05) -> None:
    """A title and words below it, at the top of the sheet; call this when all axes are placed."""
    head = write_title(figure, title, left=left)
    added = head.get_text().count("\n") * LINE_EM * TITLE_PT / 72
    write_caption(figure, words, left=left, top=0.28 + added)


def write_title(figure: Figure, title: str, *, left: float = EDGE_IN) -> Text:
    """A title alone at the top of the sheet; otherwise as `write`."""
    return write(figure, title, left=left, top=0.08, fontsize=TITLE_PT, color=INK, gid=TITLE)


def write_title_over(figure: Figure, title: str, *, over: Axes) -> None:
    """The title of a sheet, centred over its only panel; call this when all axes are placed."""
    box, look = over.get_window_extent(), {"fontsize": TITLE_PT, "color": INK, "ha": "center"}
    middle = (box.x0 + box.x1) / 2 / figure.dpi
    write(figure, title, left=middle, top=EDGE_IN, gid=TITLE, **look)


def write_caption(figure: Figure, words: str, *, top: float, left: float = EDGE_IN) -> None:
    """Words about the whole sheet, which a paper has in its own letters; otherwise as `write`."""
    write(figure, words, left=left, top=top, gid=CAPTION)


def write_foot(figure: Figure, words: str, *, top: float) -> None:
    """Words about the whole sheet, below everything; the sheet ends with them."""
    lines = 1 + words.count("\n")
    resize(figure, top + lines * LINE_EM * TEXT_PT / 72 + EDGE_IN)
    write_caption(figure, words, top=top)


def height_in(text: Text) -> float:
    """The height of the lines of a text in inches."""
    return (text.get_text().count("\n") + 1) * LINE_EM * float(text.get_fontsize()) / 72


def trim(figure: Figure) -> None:
    """Takes from the sheet what is free above and below everything on it, but for a margin."""
    box = figure.get_tightbbox()
    free = figure.get_size_inches()[1] - box.y1
    make_room(figure, below=-math.inf, inches=EDGE_IN - free)
    resize(figure, figure.get_size_inches()[1] - (box.y0 - EDGE_IN))


def resize(figure: Figure, height_in: float) -> None:
    """Gives the sheet another height; everything keeps its distance from the top."""
    make_room(figure, below=math.inf, inches=height_in - figure.get_size_inches()[1])


def make_room(figure: Figure, *, below: float, inches: float) -> None:
    """Makes the sheet taller, and moves down everything that begins lower than `below`.

    Less than 0 `inches` make it lower, and move up what is there.
    """
    width, height = figure.get_size_inches()
    taller = height + inches

    def moved(share: float) -> float:
        """The new place of a top edge, as a share of the sheet from its bottom."""
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
    axes: Axes,
    colour_map: str | Colormap,
    limits: Limits,
    *,
    name: str,
    opacity: float = 1.0,
    **options: Any,
) -> Colorbar:
    """Fills the axes with the colour bar of a map; `options` are matplotlib's, such as `ticks`."""
    options.setdefault("format", number_ticks())
    colours = ScalarMappable(Normalize(*limits), colour_map)
    bar = axes.figure.colorbar(colours, cax=axes, alpha=opacity, drawedges=False, **options)
    bar.outline.set(linewidth=RULE_PT, edgecolor=QUIET)
    bar.set_label(name, fontsize=TEXT_PT, color=INK, labelpad=3, parse_math=False)
    return bar


def similarity_bar(axes: Axes, name: str, **options: Any) -> None:
    """Fills the axes with the colour bar of similarities, from -1 to 1."""
    limits = SIMILARITY_LIMITS
    bar = colour_bar(axes, SIMILARITY_MAP, limits, name=name, ticks=limits, **options)
    bar.set_ticklabels(["−1", "1"])


def name_places(
    axes: Axes,
    *,
    rows: tuple[str, Sequence[object]],
    columns: tuple[str, Sequence[object]],
) -> None:
    """Writes title and names along the rows and columns of cells or tiles; no names overlap."""
    (width, height), (row_title, row_names), (column_title, names) = size_in(axes), rows, columns
    axes.set(
        xticks=range(len(names)),
        yticks=range(len(row_names)),
        xticklabels=tick_labels(names, width / len(names)),
        yticklabels=tick_labels(row_names, height / len(row_names)),
    )
    label(axes, x=column_title, y=row_title)
    bare(axes)


def tick_labels(numbers: Iterable[object], pitch_in: float) -> list[str]:
    """Labels of ticks with a distance of `pitch_in`; some are left out so that none overlap."""
    labels = [str(number) for number in numbers]
    # A digit is 0.06 inches wide, and a line is as high as two are wide.
    needed_in = 0.035 + 0.06 * max([2, *map(len, labels)])
    step = math.ceil(needed_in / pitch_in)
    return [label if index % step == 0 else "" for index, label in enumerate(labels)]
