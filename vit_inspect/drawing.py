"""How does a record become a picture, in a script or in a notebook?"""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

import plotly.graph_objects as go
from matplotlib.figure import Figure

from vit_inspect.catalog import figure_of
from vit_inspect.records.base import Result

NOTEBOOK_BYTES = 400_000
"""What the picture of a record in a notebook may weigh: a notebook holds many."""

NOTEBOOK_DPI = (150, 100, 72, 50)
"""Resolutions of that picture; the first one that is light enough is taken."""


def plot(record: Result, **look: Any) -> go.Figure:
    """A record as an interactive plotly figure, the one that the dashboard shows.

    look: options of that figure, such as `scale="per map"` of attention maps, or `image=1` for
    the second image of a batch.

    Raises `BadParameter` for a record that has no figure.
    """
    return figure_of(record).plot(record, **look)


def draw(record: Result, **look: Any) -> Figure:
    """A record as a matplotlib figure for print, the one that files hold.

    look: as of `plot`. Save it with `draw(record).savefig("figure.pdf")`.

    Raises `BadParameter` for a record that has no figure.
    """
    return figure_of(record).draw(record, **look)


def notebook(record: Result) -> str:
    """The picture of a record with its question, how to read it and its caveat, as HTML.

    Of a batch it is the first image. The picture weighs at most `NOTEBOOK_BYTES`, or as little as
    the lowest resolution takes.
    """
    figure = figure_of(record)
    drawn = figure.draw(record)
    for dpi in NOTEBOOK_DPI:
        file = io.BytesIO()
        drawn.savefig(file, format="png", dpi=dpi)
        if file.tell() <= NOTEBOOK_BYTES:
            break
    picture = base64.b64encode(file.getvalue()).decode()
    images = len(getattr(record, "photographs", ()))
    first = f" Image 0 of {images} is shown." if images > 1 else ""
    return (
        '<figure style="margin:0;max-width:56rem;color:#1f2328;background:#fff">'
        f'<img alt="{escape(f"{figure.title}: {record.model}")}" style="max-width:100%" '
        f'src="data:image/png;base64,{picture}">'
        f"<figcaption><p><strong>{escape(figure.question)}</strong>{first}</p>"
        f"<p>{escape(figure.reading)}</p>"
        f"<p><strong>Caution.</strong> {escape(figure.caveat)}</p></figcaption></figure>"
    )
