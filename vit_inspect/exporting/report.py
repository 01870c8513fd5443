"""All figures with their explanations on one page that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jinja2
from plotly.offline import get_plotlyjs

from vit_inspect.catalog import FIGURES
from vit_inspect.figures.attention_distance import FIGURE as ATTENTION_DISTANCE
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.spread import FIGURE as SPREAD
from vit_inspect.recording.verification import VERIFIED_ROWS
from vit_inspect.records.base import Photograph

REPORT_PHOTOGRAPHS = 12
"""Photographs that the report shows; the others' figures are in their folders."""


class Section(NamedTuple):
    """A figure of the report; `plot` is its HTML, the photograph None where it is of all."""

    figure: FigureSpec[Any]
    photograph: Photograph | None
    plot: str


def report(
    sections: Iterable[Section], photographs: Sequence[Photograph], facts: dict[str, Any]
) -> str:
    """The page: figures of all images first, then photograph by photograph, as in the catalogue.

    facts: what the provenance tells, as plain values.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vit_inspect.exporting", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    order: list[str] = []
    for entry in FIGURES:
        order.append(entry.figure.slug)
        if entry.figure is ATTENTION_DISTANCE:
            order.append(SPREAD.slug)
    places = [None, *photographs]
    ordered = sorted(
        sections,
        key=lambda section: (places.index(section.photograph), order.index(section.figure.slug)),
    )
    return environment.get_template("report.html").render(
        sections=ordered,
        facts=facts,
        provenance=json.dumps(facts, indent=2),
        shown=REPORT_PHOTOGRAPHS,
        verified_rows=VERIFIED_ROWS,
        plotly=get_plotlyjs(),
    )
