"""How is a figure printed? As wide as it shall be, in a font, with or without title and caption."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

from matplotlib import get_data_path
from matplotlib.figure import Figure
from matplotlib.font_manager import FontManager, fontManager
from matplotlib.text import Text

from vit_inspect.arguments import of_kind
from vit_inspect.errors import BadParameter
from vit_inspect.figures import print_sheet
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.records.base import Result

Font = Literal["sans", "times", "computer modern"]

LEAST_IN, MOST_IN = 3.0, 12.0
"""Widths of a sheet: narrower has no room for the words, wider is a poster's."""
USUAL_IN = (3.25, 5.5, 6.9)
"""A column of two, the text of a page, and both columns, as at the large conferences."""

FAMILIES: dict[Font, list[str]] = {
    "sans": ["DejaVu Sans"],
    "times": ["STIXGeneral", "DejaVu Sans"],
    "computer modern": ["CMU Serif", "DejaVu Sans"],
}
"""What matplotlib calls them; the second has the characters that the first one lacks.

All are set by name, as a user's own settings of matplotlib may have any font. They come with
matplotlib and with this package: a figure is the same on every computer. STIX has the forms of
Times. matplotlib's own cmr10 is not used: it has other characters in place of "_", "<" and "²",
which names have.
"""


@dataclass(frozen=True)
class Print:
    """What a print is like, whatever it shows.

    width_in: of the sheet in inches; None for each figure's own.
    font: "sans", "times" or "computer modern". title, caption: whether they stand on the sheet.

    Raises `BadParameter` for what is of another type, for another font, and for a width beyond
    `LEAST_IN`..`MOST_IN`.
    """

    width_in: float | None = None
    font: Font = "sans"
    title: bool = True
    caption: bool = True

    def __post_init__(self) -> None:
        of_kind(self.width_in, int | float | None, "width_in", "a number of inches")
        of_kind(self.font, str, "font", "the name of a font")
        of_kind(self.title, bool, "title", "True or False")
        of_kind(self.caption, bool, "caption", "True or False")
        if self.font not in get_args(Font):
            fonts = ", ".join(map(repr, get_args(Font)))
            raise BadParameter(f"the font {self.font!r}", fonts, "choose one of these")
        if self.width_in is not None and not LEAST_IN <= self.width_in <= MOST_IN:
            raise BadParameter(
                f"a width of {self.width_in:g} inches",
                f"{LEAST_IN:g} to {MOST_IN:g} inches",
                "use 3.25 for a column of two, 5.5 or 6.9 for a page",
            )


USUAL = Print()


def printed(figure: FigureSpec[Any], record: Result, print: Print = USUAL, **look: Any) -> Figure:
    """The record as a matplotlib figure; `look` goes to its drawing."""
    # Words are measured as they are laid out.
    _fonts()
    if print.width_in is not None:
        look["width_in"] = print.width_in
    sheet = figure.draw(record, **look)
    for part, shown in ((print_sheet.TITLE, print.title), (print_sheet.CAPTION, print.caption)):
        if not shown:
            _leave_out(sheet, part)
    _set_text(sheet, FAMILIES[print.font])
    return sheet


def _leave_out(sheet: Figure, part: str) -> None:
    """Takes words from the sheet, and the room that they had."""
    for text in [each for each in sheet.texts if each.get_gid() == part]:
        text.remove()
        height = sheet.get_size_inches()[1]
        top = height * (1 - text.get_position()[1])
        bottom = top + print_sheet.height_in(text)
        # Words beside a photograph have no room of their own but for what is below it.
        boxes = [axes.get_position(original=True) for axes in sheet.axes]
        beside = [height * (1 - box.y0) for box in boxes if height * (1 - box.y1) <= top]
        free = bottom - max([top, *beside])
        print_sheet.make_room(sheet, below=top, inches=-max(0.0, free))
    print_sheet.trim(sheet)


def _set_text(sheet: Figure, family: list[str]) -> None:
    for text in sheet.findobj(Text):
        # Names are others' words, and no formulas.
        text.set_parse_math(False)
        text.set_fontfamily(family)
        # Without a number, each font has its own: with STIX, every other line would be free.
        if "\n" in text.get_text():
            text.set_linespacing(print_sheet.LINE_EM)
    for axes in sheet.axes:
        # Labels of ticks are made when the figure is saved.
        axes.tick_params(which="both", labelfontfamily=family)


@cache
def _fonts() -> FontManager:
    """Makes all fonts known to matplotlib; its own list, made once, may lack even its own."""
    own = resources.files("vit_inspect.assets") / "cmu_serif.ttf"
    theirs = Path(get_data_path(), "fonts", "ttf")
    with resources.as_file(own) as path:
        for each in (theirs / "DejaVuSans.ttf", theirs / "STIXGeneral.ttf", path):
            fontManager.addfont(each)
    # Its weight is called medium: for a normal one, matplotlib would take it with a warning.
    fontManager.ttflist[-1] = replace(fontManager.ttflist[-1], weight=400)
    return fontManager
