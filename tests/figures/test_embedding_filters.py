from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vit_inspect.figures.embedding_filters import _tiles, draw, plot
from vit_inspect.records.paper import EmbeddingFilters


def tile(tiles, row, column):
    down, right = tiles.pitch_px
    place = slice(row * down, (row + 1) * down), slice(column * right, (column + 1) * right)
    pixels = tiles.picture[place]
    return pixels[pixels[..., 3] == 255][:, :3]


def test_each_tile_is_its_component_between_its_own_extremes(filters):
    tiles = _tiles(filters)
    assert tiles.count == (4, 7)
    for number in (0, 6, 7, 27):
        weights = filters.components[number]
        expected = 255 * (weights - weights.min()) / np.ptp(weights)
        shown = tile(tiles, number // 7, number % 7)
        assert (shown.min(), shown.max()) == (0, 255)
        assert set(shown.ravel()) == set(np.round(expected).astype(int).ravel())


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (5, (1, 5)), (9, (2, 7))])
def test_fewer_components_leave_no_false_tiles(filters, count, shape):
    few = EmbeddingFilters(
        "toy", "s", filters.components[:count], filters.explained_variance_ratio[:count]
    )
    tiles = _tiles(few)
    assert tiles.count == shape
    opaque = (tiles.picture[..., 3] == 255).sum()
    assert opaque == count * tile(tiles, 0, 0).shape[0]
    assert f"first {count} principal" in draw(few).axes[0].get_title()
    assert len(plot(few).data[0].x) == count


def test_a_constant_component_is_grey():
    flat = EmbeddingFilters("toy", "s", np.full((1, 2, 2, 3), 0.3), np.array([1.0]))
    assert set(tile(_tiles(flat), 0, 0).ravel()) == {128}


def test_the_curve_is_the_cumulative_share_with_its_mark_at_28(filters):
    curve, mark = draw(filters).axes[1].lines
    cumulative = np.cumsum(filters.explained_variance_ratio)
    assert np.array_equal(curve.get_xdata(), np.arange(1, 41))
    assert np.allclose(curve.get_ydata(), cumulative)
    assert (mark.get_xdata(), mark.get_ydata()) == ([28], [cumulative[27]])


def test_the_title_is_the_papers(filters):
    title = "RGB embedding filters\n(first 28 principal components)"
    assert draw(filters).axes[0].get_title() == title


def test_a_tile_on_screen_tells_its_number_and_share(filters):
    tiles = plot(filters).data[0]
    assert len(tiles.text) == 28
    share = filters.explained_variance_ratio[2]
    assert tiles.text[2] == f"Component 2<br>{share:.2%} of the variance"
    assert tiles.customdata[2] == [2]


def test_filters_of_a_stem_are_not_called_an_embedding(filters):
    assert "RGB embedding filters" in plot(filters).layout.annotations[0].text
    stem = replace(filters, source="ResNet stem convolution, 64 filters of 7 x 7 px")
    assert "RGB filters of the ResNet stem convolution" in plot(stem).layout.annotations[0].text
    assert "ResNet stem" in draw(stem).axes[0].get_title()
