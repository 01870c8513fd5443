"""How does one drawing become files? Laid out once, saved in each format that is asked for.

The bytes are those of matplotlib's own `savefig` on a fresh figure, with the options here:
no dates, no random identifiers. A PDF's font has some letters more than the figure needs. The same
figure gives the same bytes.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

PRINT_FORMATS = ("svg", "pdf", "png")
"""Formats of a drawing for print."""

SETTINGS: Any = {"svg.hashsalt": "vit_inspect", "pdf.fonttype": 42}
"""Identifiers that do not change; TrueType fonts in a PDF stay text that an editor can change."""

PNG_EFFORT = 4
"""Effort of the compression, 0 to 9; the usual 6 takes twice the time for 4 % smaller files."""

KEPT_SUBSETS = 32
"""Font subsets that are kept, of about 30 kB each."""

USUAL = "".join(map(chr, range(0x20, 0x7F))) + "·×−–…°±²³μσΣ√≤≥₀₁₂₃ﬀﬁﬂﬃﬄ"
"""Characters that every font in a PDF has, so that figures share one subset."""

# matplotlib's settings are global: whoever saves must not meet another's.
_saving = threading.Lock()


def save(figure: Figure, formats: Iterable[str], *, title: str) -> dict[str, bytes]:
    """The bytes of a figure in each of the formats, which are among `PRINT_FORMATS`.

    title: of the document, which SVG and PDF name.
    """
    files = {}
    with _saving, matplotlib.rc_context(SETTINGS), _subsets_kept():
        for kind in formats:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, **_options(kind, title))
            files[kind] = buffer.getvalue()
    return files


def _options(kind: str, title: str) -> dict[str, Any]:
    """What a format is told: the title, where it has one, and no date; how to compress."""
    options: dict[str, dict[str, Any]] = {
        "svg": {"metadata": {"Title": title, "Date": None}},
        "pdf": {"metadata": {"Title": title, "CreationDate": None}},
        "png": {"pil_kwargs": {"compress_level": PNG_EFFORT}},
    }
    return options[kind]


@dataclass(frozen=True)
class _Subset:
    """A font of some glyphs, in the words that matplotlib has for it.

    glyph_index_map: each glyph's number in the subset, by its number in the font.
    """

    data: bytes
    glyph_index_map: Mapping[int, int]

    @property
    def font(self) -> _Subset:
        """The font, which can be saved."""
        return self

    def save(self, file: io.BytesIO, reorderTables: bool | None = None) -> None:  # noqa: N803
        """Write the font as it was when it was made."""
        file.write(self.data)


# The one place that touches what is private to matplotlib. Its PDF writer makes the subset of a
# font anew for every file: the font is parsed and written by fontTools, in Python, which takes as
# long as drawing all the rest of a small figure. Here each subset has the usual characters too,
# some 15 kB in a file, so that it serves all figures whose words have no others. Where another
# matplotlib does not have what is asked for here, each file has its own subset and looks the same.
try:
    _PDF_FONTS: Any = import_module("matplotlib.backends._backend_pdf_ps")
except ImportError:
    _PDF_FONTS = None
_make_subset = _PDF_FONTS.get_glyphs_subset if hasattr(_PDF_FONTS, "SubsetResults") else None


@contextmanager
def _subsets_kept() -> Iterator[None]:
    """Has matplotlib take kept subsets; for whoever holds `_saving`."""
    if _make_subset is None:
        yield
        return
    _PDF_FONTS.get_glyphs_subset = _kept_subset
    try:
        yield
    finally:
        _PDF_FONTS.get_glyphs_subset = _make_subset


def _kept_subset(file: str, glyphs: Iterable[int]) -> AbstractContextManager[_Subset]:
    """What matplotlib's own function gives, from the kept ones."""
    return nullcontext(_subset(file, _usual(file).union(glyphs)))


@lru_cache(maxsize=KEPT_SUBSETS)
def _usual(file: str) -> frozenset[int]:
    """The glyphs of the usual characters, as far as the font has them."""
    numbers = FT2Font(file).get_charmap()
    return frozenset(numbers[ord(each)] for each in USUAL if ord(each) in numbers)


@lru_cache(maxsize=KEPT_SUBSETS)
def _subset(file: str, glyphs: frozenset[int]) -> _Subset:
    """The subset that matplotlib makes, closed and kept."""
    assert _make_subset is not None
    with _make_subset(file, glyphs) as made:
        data = _PDF_FONTS.font_as_file(made.font).getvalue()
        return _Subset(data, made.glyph_index_map)
