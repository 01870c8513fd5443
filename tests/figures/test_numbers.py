"""Do layers, heads, patches, components and pairs count from 0 on every figure?

Every label is read: ticks, legends, titles and texts in print; ticks, names, notes and what each
point tells under the cursor on a screen. The made records have unequal numbers of everything, so
that a number taken from the wrong axis, or counted from 1, is one that is not there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import vit_inspect as vi
from tests.helpers.records import Size, all_made, made
from vit_inspect.catalog import FIGURES, UNBUNDLED
from vit_inspect.figures import (
    attention_maps,
    logit_lens,
    position_similarity,
    token_norms,
)
from vit_inspect.records.base import Result
from vit_inspect.records.difference import difference
from vit_inspect.records.evidence import LogitLens, TokenNorms
from vit_inspect.records.paper import AttentionMaps, PositionSimilarity

SIZE = Size(images=1, layers=7, heads=5, grid=(3, 4))

NAMED = {
    "layer": (r"\blayers? (\d+)(?: to (\d+))?", r"\bL(\d+)\b"),
    "head": (r"\bheads? (\d+)", r"\bH(\d+)\b"),
    "row": (r"\brow (\d+)", r"\bpatch \((\d+), \d+\)"),
    "column": (r"\bcolumn (\d+)", r"\bpatch \(\d+, (\d+)\)"),
    "component": (r"\bcomponent (\d+)",),
    "pair": (r"\bpair (\d+)",),
}
"""How a text names a place along an axis."""

Found = dict[str, set[int]]

EVERY = {
    f"{figure.slug}-{number}": (figure, record)
    for figure in (*(entry.figure for entry in FIGURES), *UNBUNDLED)
    for number, record in enumerate(all_made(figure.record, SIZE))
}


def named(text: str, found: Found) -> None:
    """Adds the places that a text names."""
    for axis, patterns in NAMED.items():
        for pattern in patterns:
            for groups in re.findall(f"({pattern})", text, re.IGNORECASE):
                found[axis] |= {int(each) for each in groups[1:] if each}


def axis_of(title: str) -> str | None:
    """Which axis of the record a title names, if its ticks are places along one."""
    words = title.lower()
    if "offset" in words:
        return None
    return next((axis for axis in ("head", "layer", "row", "column") if axis in words), None)


def numbered(title: str, ticks: list[str], found: Found) -> None:
    """Adds the ticks of an axis that its title says to be places."""
    if axis := axis_of(title):
        found[axis] |= {int(tick) for tick in ticks if tick.lstrip("-").isdigit()}


def in_print(sheet: Figure) -> Found:
    found: Found = defaultdict(set)
    sheet.draw_without_rendering()
    for axes in sheet.axes:
        for side in (axes.xaxis, axes.yaxis):
            low, high = sorted(side.get_view_interval())
            ticks = [
                tick.label1.get_text() or tick.label2.get_text()
                for tick in side.get_major_ticks()
                if low <= tick.get_loc() <= high
            ]
            numbered(side.get_label_text(), ticks, found)
            for tick in ticks:
                named(tick, found)
        for text in texts_of(axes):
            named(text, found)
    for text in sheet.texts:
        named(text.get_text(), found)
    return found


def texts_of(axes: Axes) -> Iterator[str]:
    yield axes.get_title()
    yield from (text.get_text() for text in axes.texts)
    if legend := axes.get_legend():
        yield from (text.get_text() for text in legend.get_texts())


def on_screen(figure: go.Figure) -> Found:
    found: Found = defaultdict(set)
    for trace in figure.data:
        for text in (trace.name or "", *told(trace)):
            named(text, found)
    for note in figure.layout.annotations:
        named(note.text, found)
    for axis in figure.select_xaxes():
        numbered(axis.title.text or "", labels_of(axis), found)
    for axis in figure.select_yaxes():
        numbered(axis.title.text or "", labels_of(axis), found)
    # Grids of tiles name their axes by notes.
    for note in figure.layout.annotations:
        side = figure.layout.yaxis if note.textangle == -90 else figure.layout.xaxis
        if note.xref == "x" and note.text in ("Layer", "Head", *POSITIONS):
            numbered(note.text, list(side.ticktext or ()), found)
    return found


def labels_of(axis: Any) -> list[str]:
    """The ticks of an axis, as far as they are given."""
    ticks = axis.ticktext if axis.ticktext is not None else axis.tickvals
    return [] if ticks is None else [str(tick) for tick in ticks]


POSITIONS = (position_similarity.ROW, position_similarity.COLUMN)


def told(trace: Any) -> Iterator[str]:
    """What each point of a trace tells under the cursor."""
    if trace.hoverinfo == "skip" or trace.hovertemplate is None:
        return
    shape = np.shape(trace.z) if trace.type == "heatmap" else (len(trace.x),)
    for place in np.ndindex(shape):
        yield re.sub(
            r"%\{(\w+)(?:\[(\d)\])?[^}]*\}",
            lambda found, place=place: str(value(trace, place, *found.groups())),
            trace.hovertemplate,
        )


def value(trace: Any, place: tuple[int, ...], name: str, index: str | None) -> Any:
    values = getattr(trace, name)
    if trace.type == "heatmap" and name in "xy":
        across = place[1] if name == "x" else place[0]
        return "" if values is None else values[across]
    if values is None:
        return ""
    for each in place:
        values = values[each]
    return values if index is None else values[int(index)]


def check(found: Found, record: Result) -> None:
    counts: dict[str, int] = defaultdict(int)
    for name, array in record.arrays().items():
        for axis, count in zip(record.axes()[name], array.shape, strict=True):
            # Another model's layers are named as layers too.
            axis = axis.removeprefix("other_").removeprefix("patch_")
            counts[axis] = max(counts[axis], count)
    for axis, numbers in found.items():
        # A record may name the place that was chosen along an axis that it has not.
        count = counts[axis] or {"layer": SIZE.layers, "head": SIZE.heads}.get(axis, 99)
        assert max(numbers) < count, f"{axis} {max(numbers)} of {count}"
        # One or two are places that were chosen, such as the query's; more are a list of all.
        assert len(numbers) < 3 or min(numbers) == 0, f"{axis} counts from {min(numbers)}"


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_print_counts_from_0(name: str) -> None:
    figure, record = EVERY[name]
    check(in_print(figure.draw(record)), record)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_the_screen_counts_from_0(name: str) -> None:
    figure, record = EVERY[name]
    for plotted in (figure.plot(record), *figure.plots(record)):
        check(on_screen(plotted), record)


@pytest.mark.parametrize("name", [name for name, (each, _) in EVERY.items() if each.compared])
def test_a_difference_counts_from_0(name: str) -> None:
    figure, record = EVERY[name]
    found = difference(record, record, figure.compared)
    for places in (on_screen(vi.plot(found)), in_print(vi.draw(found))):
        assert places
        check(places, record)


def test_further_views_count_from_0() -> None:
    lens, positions = (made(kind, SIZE) for kind in (LogitLens, PositionSimilarity))
    for record, plotted in (
        (lens, logit_lens.plot_layer(lens, 0)),
        (positions, position_similarity.plot_tile(positions, (0, 0))),
    ):
        found = on_screen(plotted)
        assert found
        check(found, record)
    depth = on_screen(token_norms.plot_depth(made(TokenNorms, SIZE)))
    assert depth["layer"] == set(range(SIZE.layers))


def test_what_is_found_is_all_there_is() -> None:
    """Else a law would hold of labels that nobody read."""
    maps = made(AttentionMaps, SIZE)
    for found in (in_print(attention_maps.draw(maps)), on_screen(attention_maps.plot(maps))):
        assert found["layer"] == set(range(SIZE.layers))
        assert found["head"] == set(range(SIZE.heads))
    tile = on_screen(position_similarity.plot_tile(made(PositionSimilarity, SIZE), (0, 0)))
    assert (tile["row"], tile["column"]) == (set(range(3)), set(range(4)))
