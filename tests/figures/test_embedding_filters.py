from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.records import Size, filters_of
from vit_inspect.figures import looks
from vit_inspect.figures.embedding_filters import draw, plot, tiles_of
from vit_inspect.records.paper import EmbeddingFilters


def tile(tiles, row, column):
    down, right = tiles.pitch_px
    place = slice(row * down, (row + 1) * down), slice(column * right, (column + 1) * right)
    pixels = tiles.picture[place]
    return pixels[pixels[..., 3] == 255][:, :3]


def test_each_tile_is_its_component_between_its_own_extremes(filters):
    tiles = tiles_of(filters)
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
    tiles = tiles_of(few)
    assert tiles.count == shape
    opaque = (tiles.picture[..., 3] == 255).sum()
    assert opaque == count * tile(tiles, 0, 0).shape[0]
    assert f"first {count} principal" in draw(few).axes[0].get_title()
    assert len(plot(few).data[0].x) == count


def test_a_constant_component_is_grey():
    flat = EmbeddingFilters("toy", "s", np.full((1, 2, 2, 3), 0.3), np.array([1.0]))
    assert set(tile(tiles_of(flat), 0, 0).ravel()) == {128}


def test_the_curve_is_the_cumulative_share_with_its_mark_at_28(filters):
    curve, mark = draw(filters).axes[1].lines
    cumulative = np.cumsum(filters.explained_variance_ratio)
    assert np.array_equal(curve.get_xdata(), np.arange(1, 41))
    assert np.allclose(curve.get_ydata(), cumulative)
    assert (mark.get_xdata(), mark.get_ydata()) == ([28], [cumulative[27]])


def test_the_axis_says_that_the_curve_is_cumulative(filters):
    names = draw(filters).axes[1].get_ylabel(), plot(filters).layout.yaxis2.title.text
    for name in names:
        assert name.replace("<br>", " ").replace("\n", " ") == "Explained variance (cumulative)"


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
    stem = replace(filters, source="ResNet stem convolution, 64 filters of 7 × 7 px")
    assert "RGB filters of the ResNet stem convolution" in plot(stem).layout.annotations[0].text
    assert "ResNet stem" in draw(stem).axes[0].get_title()


@pytest.fixture
def by_channel():
    return filters_of(13)(Size(), np.random.default_rng(0))


def test_one_channel_is_grey():
    one = filters_of(1)(Size(), np.random.default_rng(0))
    tiles = tiles_of(one)
    assert tiles.count == (2, 7)
    weights = one.components[8, ..., 0]
    expected = np.round(255 * (weights - weights.min()) / np.ptp(weights))
    shown = tile(tiles, 1, 1)
    assert set(map(tuple, shown)) == {(each,) * 3 for each in expected.ravel()}
    assert (
        plot(one).layout.meta[0] == "One-channel embedding filters (first 12 principal components)"
    )


def test_other_channels_are_a_row_of_tiles_on_the_scale_of_their_component(by_channel):
    tiles = tiles_of(by_channel)
    assert tiles.count == (10, 13)
    for component, channel in ((0, 0), (3, 12), (9, 5)):
        weights = by_channel.components[component]
        largest = np.abs(weights).max()
        expected = looks.colour(weights[..., channel], "RdBu_r", (-largest, largest))
        shown = tile(tiles, component, channel)
        assert set(map(tuple, shown)) == set(map(tuple, expected[..., :3].reshape(-1, 3)))


def test_a_component_of_zeros_is_white(by_channel):
    flat = replace(by_channel, components=0 * by_channel.components)
    assert set(map(tuple, tile(tiles_of(flat), 4, 4))) == {
        tuple(looks.colour(np.zeros(1), "RdBu_r", (-1.0, 1.0))[0, :3])
    }


def test_channels_have_their_numbers_in_print_and_on_screen(by_channel):
    numbers = [str(channel) for channel in range(13)]
    pictures, _ = draw(by_channel).axes
    assert [each.get_text() for each in pictures.get_xticklabels()] == numbers
    assert [each.get_text() for each in pictures.get_yticklabels()] == numbers[:10]
    assert (pictures.get_xlabel(), pictures.get_ylabel()) == ("Channel", "Component")
    assert "Embedding filters by channel" in pictures.get_title()
    figure = plot(by_channel)
    assert list(figure.layout.xaxis.ticktext) == numbers
    place = 2 * 13 + 11
    share = by_channel.explained_variance_ratio[2]
    assert figure.data[0].text[place] == f"Component 2, channel 11<br>{share:.2%} of the variance"
    assert tuple(figure.data[0].customdata[place]) == (2, 11)
    assert "red is positive, blue is negative, white is 0" in " ".join(figure.layout.meta)


def test_of_many_channels_some_numbers_are_left_out():
    figure = plot(filters_of(64)(Size(), np.random.default_rng(0)))
    assert list(figure.layout.xaxis.ticktext)[:4] == ["0", "", "2", ""]


@pytest.mark.parametrize(("width", "stacked"), [(3.25, True), (None, False), (12, False)])
def test_the_curve_is_beside_the_tiles_or_below_them_and_says_what_it_reaches(
    filters, width, stacked
):
    tiles, curve = draw(filters, width_in=width).axes
    first, second = (axes.get_position(original=True) for axes in (tiles, curve))
    assert (second.y1 < first.y0) == stacked
    assert (second.x0 > first.x1) != stacked
    reached = np.cumsum(filters.explained_variance_ratio)[27]
    assert curve.get_title() == f"28 components\nexplain {reached:.1%}"
