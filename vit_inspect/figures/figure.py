"""What is a figure? Its words, its print and its plot, for one kind of record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Concatenate, Generic, TypeVar

import plotly.graph_objects as go
from matplotlib.figure import Figure

from vit_inspect.figures.looks import Limits
from vit_inspect.records.base import Result

Record = TypeVar("Record", bound=Result)

VIT_PAPER = "Dosovitskiy et al., An Image is Worth 16x16 Words, arXiv 2010.11929"


@dataclass(frozen=True)
class FigureSpec(Generic[Record]):
    """One figure, independent of how its record is computed.

    record: the kind of record that it shows.
    slug: its name in files and addresses.
    question: what it answers; reading: how to read it; caveat: what it does not show.
    draw, plot: from the record to a matplotlib or a plotly figure; keyword arguments are options.
        `draw` takes `width_in`: the width of the sheet in inches, None for the figure's own.
    limits: the ends of a record's scale. `draw` and `plot` take `limits` too, so that two figures
        can share a scale. None if all records have the same scale.
    compared: the array whose difference compares two records; None if there is none.
    plots: further plotly figures of a record, shown below the first in files and reports.
    shown: the places along an axis that a drawing shows, by axis; the CSV table has the same.
    """

    record: type[Record]
    slug: str
    title: str
    question: str
    reading: str
    caveat: str
    formula: str
    source: str
    draw: Callable[Concatenate[Record, ...], Figure]
    plot: Callable[Concatenate[Record, ...], go.Figure]
    limits: Callable[Concatenate[Record, ...], Limits] | None = None
    compared: str | None = None
    plots: Callable[[Record], Sequence[go.Figure]] = lambda record: ()
    shown: Callable[[Record], dict[str, list[int]]] = lambda record: {}
