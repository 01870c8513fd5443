"""How does one figure become a file? SVG, PDF, PNG, HTML, NPZ or CSV, the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Iterable
from html import escape
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from plotly.offline import get_plotlyjs

from vit_inspect.errors import BadParameter
from vit_inspect.exporting.saving import PRINT_FORMATS, save
from vit_inspect.exporting.tables import table
from vit_inspect.figures.figure import FigureSpec, Record
from vit_inspect.figures.printing import USUAL, Print, printed
from vit_inspect.records.base import Result

BUNDLE_FORMATS = ("svg", "pdf", "png", "npz", "csv")
"""Formats of every figure of a bundle; its report shows them all as HTML."""

FORMATS = (*BUNDLE_FORMATS, "html")

PLOTLY_CONFIG = {"displaylogo": False, "showSendToCloud": False, "responsive": True}

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title><script>{plotly}</script></head>
<body>
{body}
</body>
</html>
"""


def render(
    figure: FigureSpec[Record],
    record: Record,
    format: str,
    *,
    image: int | None = None,
    print: Print = USUAL,
    **look: Any,
) -> bytes:
    """One figure as the bytes of a file.

    svg, pdf and png are drawn for print; html is interactive and self-contained; npz holds the
    whole record, its words as arrays of text; csv the plotted arrays in long form (quantity, one
    column per axis, value).
    image: which one of a batch; None for a record as it is. print: of the formats for print.
    `look` goes to the drawing, such as the `scale` of attention maps, and leaves the numbers as
    they are. Raises `BadParameter` for another format.
    """
    if format not in FORMATS:
        raise BadParameter(f"the format {format!r}", ", ".join(FORMATS), "choose one of these")
    if image is not None:
        record = record.of_image(image)
    if format == "npz":
        buffer = io.BytesIO()
        words = {name: np.array(value) for name, value in record.words().items()}
        np.savez_compressed(buffer, **record.written(), **words)  # type: ignore[arg-type]
        return buffer.getvalue()
    if format == "csv":
        return table(record, figure.shown(record)).encode()
    if format == "html":
        plots = interactive(figure, record, **look)
        return _PAGE.format(
            title=escape(_title(figure, record)), body=plots, plotly=get_plotlyjs()
        ).encode()
    sheet = printed(figure, record, print, **look)
    return save(sheet, [format], title=_title(figure, record))[format]


def render_all(
    figure: FigureSpec[Record], record: Record, formats: Iterable[str], print: Print = USUAL
) -> dict[str, bytes]:
    """The same as `render` of each format, from one drawing, in the order of the formats."""
    formats = list(formats)
    kinds = [kind for kind in formats if kind in PRINT_FORMATS]
    saved = {}
    if kinds:
        saved = save(printed(figure, record, print), kinds, title=_title(figure, record))
    return {
        kind: saved[kind] if kind in saved else render(figure, record, kind) for kind in formats
    }


def interactive(figure: FigureSpec[Record], record: Record, folder: str = "", **look: Any) -> str:
    """All plotly figures of a record for a page, each with words for those who do not see it.

    folder: of the photograph, which makes the figures' names on one page unlike.
    """
    parts = []
    plots = (figure.plot(record, **look), *figure.plots(record))
    for number, plotted in enumerate(plots, start=1):
        plot = plotted.to_html(
            full_html=False,
            include_plotlyjs=False,
            config=PLOTLY_CONFIG,
            # The number first: a folder may end in one.
            div_id=f"{figure.slug}-{number}-{folder}",
        )
        words = escape(". ".join(plotted.layout.meta[:2]))
        parts.append(f'<div role="img" aria-label="{words}">{plot}</div>')
    return "\n".join(parts)


class Drawn(NamedTuple):
    """One figure of a bundle: its files by format, and its plot where the report shows it."""

    files: dict[str, bytes]
    plot: str | None


def home_of(figure: FigureSpec[Any]) -> str:
    """The module of a figure, which names it to another process."""
    return figure.draw.__module__


def drawn(
    home: str, record: Result, formats: tuple[str, ...], print: Print, folder: str, plotted: bool
) -> Drawn:
    """One figure of a bundle. A worker process can do it, and imports no torch for it."""
    figure: FigureSpec[Any] = import_module(home).FIGURE
    plot = interactive(figure, record, folder) if plotted else None
    return Drawn(render_all(figure, record, formats, print), plot)


def _title(figure: FigureSpec[Any], record: Result) -> str:
    """What a file is called inside, for those who ask for its properties."""
    return f"{figure.title}: {record.model}"
