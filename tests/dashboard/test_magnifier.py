"""What the magnifier shows is the figure it was given: picture, places, words, names and scale."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import streamlit as st
from PIL import Image

from vit_inspect.figures import looks, position_similarity
from vit_inspect.records.paper import PositionSimilarity
from vit_inspect_dashboard.components import magnifier as module
from vit_inspect_dashboard.components.magnifier import described, magnifier


@pytest.fixture
def result() -> PositionSimilarity:
    rows, columns = 3, 5
    positions = np.random.default_rng(0).normal(size=(rows * columns, 8))
    positions /= np.linalg.norm(positions, axis=1, keepdims=True)
    similarity = (positions @ positions.T).astype(np.float32)
    return PositionSimilarity("<b>toy</b>", similarity.reshape(rows, columns, rows, columns))


@pytest.fixture
def figure(result: PositionSimilarity) -> go.Figure:
    return position_similarity.plot(result)


def test_each_tile_lies_where_the_browser_looks_for_it(
    result: PositionSimilarity, figure: go.Figure
) -> None:
    found = described(figure, alt="tiles")
    encoded = found["picture"].partition("base64,")[2]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    left, top, width, height = found["extent"]
    down, across = picture.shape[0] / height, picture.shape[1] / width
    for tile, (row, column) in enumerate(np.ndindex(3, 5)):
        assert tile == row * found["columns"] + column
        # From the middle of the tile by a fifth of its size, which is one patch of five.
        x, y = int((column - left) * across), int((row - top) * down)
        middle = looks.colour(
            result.similarity[row, column, 1, 2][None],
            looks.SIMILARITY_MAP,
            looks.SIMILARITY_LIMITS,
        )
        assert np.array_equal(picture[y, x], middle[0])


def test_names_words_and_scale_are_the_figures(
    result: PositionSimilarity, figure: go.Figure
) -> None:
    found = described(figure, alt="tiles")
    rows, columns = figure.layout.yaxis.ticktext, figure.layout.xaxis.ticktext
    assert found["lines"] == list(figure.layout.meta)
    assert "<b>toy</b>" in found["lines"]
    assert found["rows"][1:] == list(rows)
    assert found["across"][1:] == list(columns)
    assert (len(rows), len(columns)) == (3, 5)
    assert found["side"] == "bottom"
    assert found["words"][7] == figure.data[0].text[7].split("<br>")
    # As the bar of the large tile, and that in print, say them.
    printed = position_similarity.draw(result).axes[-1].get_yticklabels()
    assert found["scale"]["ends"] == ["−1", "1"] == [text.get_text() for text in printed]
    large = position_similarity.plot_tile(result, (0, 0)).data[0]
    assert [large.zmin, large.zmax] == list(large.colorbar.tickvals) == [-1, 1]
    assert found["scale"]["unit"] == "Cosine similarity"
    assert found["scale"]["colours"][0] == looks.colour_scale(looks.SIMILARITY_MAP)[0][1]


@pytest.mark.parametrize(
    ("sent", "heard"),
    [(0, [[0, 0]]), (7, [[1, 2]]), (15, []), (-1, []), ("1", []), (None, [])],
)
def test_a_pick_is_a_tile_of_the_figure_or_none(
    monkeypatch: pytest.MonkeyPatch, figure: go.Figure, sent: Any, heard: list[Any]
) -> None:
    picks: list[Any] = []
    mounted: dict[str, Any] = {}
    monkeypatch.setattr(module, "component", lambda _: mounted.update)
    monkeypatch.setattr(st, "session_state", {"one": {"tile": sent}})
    magnifier(figure, key="one", alt="tiles", on_pick=picks.append)
    mounted["on_tile_change"]()
    assert picks == heard
