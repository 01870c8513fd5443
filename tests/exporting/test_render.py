"""A file holds the numbers and looks as the figure was shown; the same bytes twice."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import vit_inspect as vi
from tests.helpers.records import Size, made
from vit_inspect.catalog import FIGURES, UNBUNDLED, CaptureFigure
from vit_inspect.exporting.render import render, render_all
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.patch_maps import FIGURE as PATCH_MAPS
from vit_inspect.records.base import Result
from vit_inspect.records.evidence import LayerCka, PatchMaps, TokenNorms
from vit_inspect.records.paper import PositionSimilarity

pytestmark = pytest.mark.slow

SPECS: dict[str, FigureSpec[Any]] = {entry.figure.slug: entry.figure for entry in FIGURES}
SINGLE = {
    entry.figure.slug
    for entry in FIGURES
    if isinstance(entry, CaptureFigure) and not entry.averaged
}
"""Figures of which each image has its own."""


def csv_values(data: bytes, result: Result) -> dict[str, dict[tuple[int, ...], float]]:
    """quantity -> index -> value, of a record's table in long form."""
    found: dict[str, dict[tuple[int, ...], float]] = defaultdict(dict)
    names = result.names()
    for row in csv.DictReader(io.StringIO(data.decode())):
        quantity, value = row.pop("quantity"), row.pop("value")
        places = ((axis, row.pop(axis)) for axis in result.axes()[quantity])
        index = tuple(
            names[axis].index(place) if axis in names else int(place) for axis, place in places
        )
        assert not any(row.values())
        found[quantity][index] = float(value)
    return found


@pytest.mark.parametrize("slug", SPECS)
def test_npz_and_csv_hold_the_numbers(slug: str, results: dict[str, Result]) -> None:
    spec, expected = SPECS[slug], results[slug]
    image = 1 if slug in SINGLE else None
    if image is not None:
        expected = expected.of_image(image)
    stored = np.load(io.BytesIO(render(spec, results[slug], "npz", image=image)))
    words = expected.words()
    written = expected.written()
    # Each array is there, by its own name or one that says what it holds.
    assert {id(array) for array in expected.arrays().values()} <= set(map(id, written.values()))
    assert set(stored.files) == {*written, *words}
    assert stored["model"] == expected.model
    for name, value in words.items():
        np.testing.assert_array_equal(stored[name], value)
    table = csv_values(render(spec, results[slug], "csv", image=image), expected)
    for name, array in written.items():
        assert np.array_equal(stored[name], array)
        assert len(table[name]) == array.size
        found = np.full(array.shape, np.inf)
        found[*np.array([*table[name]]).T] = [*table[name].values()]
        np.testing.assert_allclose(found, array, rtol=1e-6, atol=1e-8)


EVERY = [*(entry.figure for entry in FIGURES), *UNBUNDLED]
START = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG", "npz": b"PK", "csv": b"quantity,"}


@pytest.mark.parametrize("figure", EVERY, ids=lambda figure: figure.slug)
def test_every_figure_opens_in_every_format(figure: FigureSpec[Any]) -> None:
    record = made(figure.record)
    if hasattr(record, "photographs"):
        record = record.of_image(0)
    for kind, data in render_all(figure, record, START).items():
        assert data.startswith(START[kind])
    page = render(figure, record, "html")
    assert page.startswith(b"<!doctype html>")
    assert b'src="http' not in page
    assert page.count(b"Plotly.newPlot(") == 1 + len(figure.plots(record))


def test_files_of_cka_hold_what_the_figure_shows(results: dict[str, Result]) -> None:
    spec, expected = SPECS["layer_cka"], results["layer_cka"]
    stored = np.load(io.BytesIO(render(spec, expected, "npz")))
    assert isinstance(expected, LayerCka)
    np.testing.assert_array_equal(stored["similarity"], expected.similarity)
    assert csv_values(render(spec, expected, "csv"), expected)["similarity"][0, 0] == 1


def test_the_table_of_maps_names_them_as_the_figure_does() -> None:
    maps = made(PatchMaps)
    table = csv.DictReader(io.StringIO(render(PATCH_MAPS, maps, "csv").decode()))
    names = list(dict.fromkeys((row["map_row"], row["map_column"]) for row in table))
    assert names == [(row, column) for row in maps.rows for column in maps.columns]
    assert names[3] == ("0", "max")


def test_the_table_of_a_large_position_grid_holds_the_drawn_tiles() -> None:
    result = made(PositionSimilarity, Size(grid=(20, 16)))
    table = csv_values(render(SPECS["position_similarity"], result, "csv"), result)["similarity"]
    rows = sorted({index[0] for index in table})
    assert rows == list(range(0, 20, 2))
    assert len(table) == len(rows) * 8 * 20 * 16
    assert np.isclose(table[4, 8, 13, 2], result.similarity[4, 8, 13, 2], rtol=1e-6)


def test_a_file_looks_as_the_figure_was_shown(results: dict[str, Result]) -> None:
    spec, result = SPECS["attention_maps"], results["attention_maps"].of_image(0)
    for kind in ("svg", "html"):
        data = render(spec, result, kind, scale="per map")
        assert b"Each map has its own scale, from 0 to its maximum" in data
        assert data != render(spec, result, kind)
    for kind in ("npz", "csv"):
        assert render(spec, result, kind, scale="per map") == render(spec, result, kind)


@pytest.mark.parametrize(("slug", "count"), [("attention_relevance", 3), ("token_norms", 4)])
def test_a_page_holds_all_interactive_figures_of_a_record(
    slug: str, count: int, results: dict[str, Result]
) -> None:
    spec, result = SPECS[slug], results[slug]
    if isinstance(result, TokenNorms):
        assert len(spec.plots(replace(result, artefact=np.zeros_like(result.artefact)))) == 1
        result = replace(result, artefact=np.ones_like(result.artefact), reason=("", ""))
    data = render(spec, result, "html", image=1).decode()
    assert data.count("Plotly.newPlot") == count
    ids = re.findall(r'<div id="([^"]+)" class="plotly', data)
    assert len(set(ids)) == len(ids) == count
    assert data.count('<div role="img" aria-label=') == count
    for figure in spec.plots(result.of_image(1)):
        assert f'aria-label="{figure.layout.meta[0]}. ' in data


def test_words_for_those_who_do_not_see_a_figure_are_no_markup(results: dict[str, Result]) -> None:
    spec = SPECS["attention_relevance"]
    named = replace(results[spec.slug], model="a", target=('<i>"x"</i>',) * 2)
    data = render(spec, named, "html", image=0).decode()
    wanted = "Patches that support &lt;i&gt;&quot;x&quot;&lt;/i&gt;. a, read at its cls"
    assert f'<div role="img" aria-label="{wanted}">' in data
    assert "<title>Relevance: a</title>" in data


def test_drawings_have_a_title(results: dict[str, Result]) -> None:
    spec = SPECS["layer_cka"]
    named = replace(results[spec.slug], model="a <b>")
    assert b"<title>Layer similarity: a &lt;b&gt;</title>" in render(spec, named, "svg")
    assert b"/Title (Layer similarity: a <b>)" in render(spec, named, "pdf")


def test_an_unknown_format_is_refused(results: dict[str, Result]) -> None:
    with pytest.raises(vi.BadParameter, match="the format 'jpg'; expected svg, pdf, png"):
        render(SPECS["layer_cka"], results["layer_cka"], "jpg")
