"""Which bands of a picture are its colours, which is its transparency, and which are left out?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Literal

from vit_inspect.errors import BadImage, BadParameter

CHOOSE_BANDS = (
    "choose one or three of them, counted from 0: vit_inspect.read_image(file, bands=(0,)), or "
    "--bands 3,2,1 on the command line"
)
"""The remedy for a picture of several bands, where bands can be chosen."""

_COLOURS = {
    "L": ("grey",),
    "RGB": ("red", "green", "blue"),
    "CMYK": ("cyan", "magenta", "yellow", "black"),
}


@dataclass(frozen=True)
class Layout:
    """How the values of a picture are stored.

    colours: what the first bands are according to the file, as a mode of Pillow.
    bands: how many there are, with transparency.
    bits: of each value.
    kind: "u" for unsigned integers, "i" for signed ones, "f" for floats, as in numpy.
    alpha: the band of transparency.
    premultiplied: whether the colours are multiplied by the transparency.
    white_is_zero: whether 0 is white and larger values are darker.
    white: the largest possible value of 16 bits, where the file states it.
    first_page: whether other pictures follow in the file.
    """

    colours: Literal["L", "RGB", "CMYK"]
    bands: int
    bits: int
    kind: str = "u"
    alpha: int | None = None
    premultiplied: bool = False
    white_is_zero: bool = False
    white: int | None = None
    first_page: bool = False

    @property
    def found(self) -> str:
        """The bands in words, for refusals."""
        return counted(self.bands, self.bits)


def counted(bands: int, bits: int | str) -> str:
    """A number of bands in words."""
    return f"{bands} band{'s' * (bands != 1)} of {bits} bits"


@dataclass(frozen=True)
class Chosen:
    """The bands that are shown.

    bands: their numbers from 0, in the order of `mode`; that of transparency is the last.
    mode: what they are, as a mode of Pillow: "L", "RGB" or "CMYK", and "A" for transparency or "a"
        where the colours are multiplied by it.
    notices: sentences on what was assumed and what was left out.
    """

    bands: tuple[int, ...]
    mode: str
    notices: tuple[str, ...]


def checked_bands(bands: Sequence[int]) -> tuple[int, ...]:
    """One or three numbers of bands; raises `BadParameter` for anything else."""
    try:
        numbers = tuple(index(band) for band in bands)
    except TypeError:
        numbers = ()
    if len(numbers) not in (1, 3) or min(numbers) < 0:
        raise BadParameter(
            f"{bands!r} as bands",
            "one or three numbers of bands, counted from 0",
            "give 3, 2, 1 for red, green and blue, or 0 for grey, for example",
        )
    return numbers


def choose(layout: Layout, bands: tuple[int, ...] | None, name: str) -> Chosen:
    """The given bands, or those that the file says are its colours.

    Three bands of grey are taken as red, green and blue. A band beside the three of an RGB picture
    is left out with a notice. Raises `BadImage` if there are more.
    """
    if bands is not None:
        if missing := [band for band in bands if band >= layout.bands]:
            where = "the first of several pages of " if layout.first_page else ""
            raise BadImage(
                f"{layout.found} in {where}'{name}', and no band {missing[0]}",
                f"bands of 0 to {layout.bands - 1}" if layout.bands > 1 else "band 0",
                "if each page is a band, save them as the bands of one page"
                if layout.first_page
                else "choose among these",
            )
        mode = "L" if len(bands) == 1 else "RGB"
        return Chosen(bands, mode, (_told(mode, bands, layout),))
    colours = [band for band in range(layout.bands) if band != layout.alpha]
    grey = layout.colours == "L"
    mode = "RGB" if grey and len(colours) == 3 else layout.colours
    spare = len(colours) - len(_COLOURS[mode])
    if spare < 0 or spare > (0 if grey else 1):
        raise BadImage(
            f"{layout.found} in '{name}'",
            "one band of grey, or three of red, green and blue",
            CHOOSE_BANDS,
        )
    shown = tuple(colours[: len(_COLOURS[mode])])
    assumed = spare or mode != layout.colours
    notices = (_told(mode, shown, layout, layout.alpha),) if assumed else ()
    if layout.alpha is None:
        return Chosen(shown, mode, notices)
    letter = "a" if layout.premultiplied else "A"
    return Chosen((*shown, layout.alpha), mode + letter, notices)


def _told(mode: str, shown: tuple[int, ...], layout: Layout, alpha: int | None = None) -> str:
    """The sentence on which bands are shown and which are left out; `alpha` is neither."""
    which = f"Band {shown[0]}" if len(shown) == 1 else f"Bands {_listed(shown)}"
    are = "is" if len(shown) == 1 else "are"
    rest = [band for band in range(layout.bands) if band not in (*shown, alpha)]
    left = "; the others are left out" if rest else ""
    if len(rest) == 1:
        left = f"; band {rest[0]} is left out"
    colours = _listed(_COLOURS[mode])
    return f"{which} of its {layout.bands} (counted from 0) {are} shown as {colours}{left}."


def _listed(things: Sequence[object]) -> str:
    *first, last = map(str, things)
    return f"{', '.join(first)} and {last}" if first else last
