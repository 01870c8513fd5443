"""How does a record become a picture, in a script or in a notebook?"""

from __future__ import annotations

import base64
import inspect
import io
import math
from collections.abc import Callable, Sequence
from html import escape
from numbers import Real

import plotly.graph_objects as go
from matplotlib.figure import Figure

from vit_inspect.catalog import figure_of
from vit_inspect.errors import BadParameter, memory_told
from vit_inspect.figures import looks, outputs
from vit_inspect.figures.printing import Font, Print, printed
from vit_inspect.records.base import Result
from vit_inspect.records.evidence import Predictions

NOTEBOOK_BYTES = 400_000
"""What the picture of a record in a notebook may weigh: a notebook holds many."""

NOTEBOOK_DPI = (150, 100, 72, 50, 36)
"""Resolutions of that picture; the first one that is light enough is taken."""

TABLE_ROWS = 20
"""Rows of the table that stands for a record without a figure."""


@memory_told()
def plot(record: Result, **look: object) -> go.Figure:
    """A record as an interactive plotly figure, the same as in the dashboard.

    look: options of this figure, such as `scale="per map"` for attention maps, or `image=1` for
    the second image of a batch.

    Raises `BadParameter` for a record that has no figure, for an option that its figure does not
    have, and for a value that the option does not take.
    """
    chosen = figure_of(record).plot
    _check(record, chosen, look)
    return chosen(record, **look)


@memory_told()
def draw(
    record: Result,
    *,
    width_in: float | None = None,
    font: Font = "sans",
    title: bool = True,
    caption: bool = True,
    **look: object,
) -> Figure:
    """A record as a matplotlib figure for print, the same as in the files of a bundle.

    width_in: of the sheet in inches, such as 3.25 for a column of two; None for the figure's own.
    No text becomes smaller. font: "sans", "times" or "computer modern". title, caption: whether
    the figure's name and the words about it stand on the sheet.
    look: options of this figure's print, such as `limits=(0, 0.5)`, the ends of its scale.
    Save the figure with `draw(record).savefig("figure.pdf")`.

    Raises `BadParameter` as `plot` does, and for a width below 3 or above 12 inches.
    """
    chosen = figure_of(record)
    _check(record, chosen.draw, look)
    return printed(chosen, record, Print(width_in, font, title, caption), **look)


@memory_told()
def html(record: Result) -> str:
    """The picture of a record with its question, how to read it and its caveat, as HTML.

    Of a batch it is the first image, unless the figure shows all images together. The picture
    weighs at most `NOTEBOOK_BYTES`, or as little as the lowest resolution takes. A record without a
    figure becomes a small table.
    """
    try:
        figure = figure_of(record)
    except BadParameter:
        if not isinstance(record, Result):
            raise
        return _table(record)
    drawn = printed(figure, record)
    for dpi in NOTEBOOK_DPI:
        file = io.BytesIO()
        # No setting of matplotlib's is changed, so that threads can draw side by side.
        drawn.savefig(file, format="png", dpi=dpi)
        if file.tell() <= NOTEBOOK_BYTES:
            break
    picture = base64.b64encode(file.getvalue()).decode()
    images = _images(record) if "image" in _options(figure.draw) else 1
    first = f" Image 0 of {images} is shown." if images > 1 else ""
    return (
        '<figure style="margin:0;max-width:56rem;color:#1f2328;background:#fff">'
        f'<img alt="{escape(f"{figure.title}: {record.model}")}" style="max-width:100%" '
        f'src="data:image/png;base64,{picture}">'
        f"<figcaption><p><strong>{escape(figure.question)}</strong>{first}</p>"
        f"<p>{escape(figure.reading)}</p>"
        f"<p><strong>Caution.</strong> {escape(figure.caveat)}</p></figcaption></figure>"
    )


def _check(record: Result, drawing: Callable[..., object], look: dict[str, object]) -> None:
    """Refuse an option that the figure does not have, or an image that is not there."""
    options = _options(drawing)
    for name in look:
        if name not in options:
            raise BadParameter(
                f"the option {name!r}",
                f"one of {', '.join(options)}" if options else "no option for this figure",
                "choose one of these" if options else "leave it out",
            )
    image, images = look.get("image", 0), _images(record)
    number = image.__index__() if hasattr(image, "__index__") else -1
    if images and not 0 <= number < images:
        raise BadParameter(
            f"the image {image!r}", f"an image of 0..{images - 1}", "choose one of these"
        )
    limits, width = look.get("limits"), look.get("width", 1)
    if limits is not None and not _is_scale(limits):
        raise BadParameter(
            f"the limits {limits!r}",
            "the lower and the upper end of a scale, such as (0, 0.5)",
            "give two numbers, or leave them out",
        )
    if not (isinstance(width, Real) and 0 < float(width) < math.inf):
        raise BadParameter(f"the width {width!r}", "a number of px above 0", "give another width")
    clip = look.get("clip", looks.CLIP)
    if not (isinstance(clip, Real) and 0 <= float(clip) <= 100):
        raise BadParameter(f"the clip {clip!r}", "a percentile of 0 to 100", "give another one")


def _is_scale(limits: object) -> bool:
    """Whether these are two finite numbers, the lower one first."""
    if not (isinstance(limits, Sequence) and all(isinstance(end, Real) for end in limits)):
        return False
    ends = [float(end) for end in limits]
    return len(ends) == 2 and -math.inf < ends[0] < ends[1] < math.inf


def _options(drawing: Callable[..., object]) -> list[str]:
    """The names of the options that a drawing takes, beside the record."""
    parameters = inspect.signature(drawing).parameters.values()
    named = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    return [name for name in named if name != "width_in"]


def _images(record: Result) -> int:
    """How many photographs a record is of; 0 where it holds none."""
    return len(getattr(record, "photographs", ()))


def _table(record: Result) -> str:
    """The classes of the first image; of another record the names and sizes of its arrays."""
    if isinstance(record, Predictions):
        scored = record.outputs == "scores"
        head = ("Output" if scored else "Class", outputs.name(record.outputs))
        rows = [
            (name, outputs.told(value, record.outputs))
            for name, value in zip(record.labels[0], record.value[0], strict=True)
        ]
        images = len(record.labels)
        first = f", image 0 of {images}" if images > 1 else ""
    else:
        head, first = ("Array", "Axes"), ""
        rows = [
            (
                name,
                ", ".join(f"{axis} {size}" for axis, size in zip(axes, array.shape, strict=True)),
            )
            for (name, array), axes in zip(
                record.arrays().items(), record.axes().values(), strict=True
            )
        ]
    lines = [head, *((looks.short(name, 60), text) for name, text in rows[:TABLE_ROWS])]
    cells = [
        "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in line) + "</tr>"
        for line, kind in zip(lines, ("th", *("td",) * (len(lines) - 1)), strict=True)
    ]
    title = escape(f"{type(record).__name__}: {record.model}{first}")
    return f"<table><caption>{title}</caption>{''.join(cells)}</table>"
