from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.records import bias_of
from vit_inspect.figures import looks
from vit_inspect.figures.position_bias import draw, limits_of, plot, tiles_of


def test_a_tile_is_a_layer_and_head_with_offset_zero_in_the_middle(bias):
    limits = limits_of(bias)
    tiles = tiles_of(bias, limits)
    assert tiles.count == (3, 2)
    expected = looks.colour(bias.bias, looks.BIAS_MAP, limits)
    down, right = tiles.pitch_px
    for layer, head in np.ndindex(3, 2):
        corner = tiles.picture[layer * down, head * right]
        assert np.array_equal(corner, expected[layer, head, 0, 0])
    assert np.array_equal(tiles.picture[-1, -1], expected[2, 1, 2, 4])


def test_zero_is_in_the_middle_of_the_scale():
    values = np.full((2, 2, 3, 3), 0.25)
    values[0, 0, 1, 1] = -4.0
    result = bias_of(values)
    low, high = limits_of(result)
    assert low == -high
    assert 0.25 <= high < 4
    bar = draw(result).axes[0]
    assert bar.get_xlim() == pytest.approx((low, high))
    marker = plot(result).data[0].marker
    assert (marker.cmin, marker.cmax) == (low, high)


def test_biases_of_one_sign_are_told_apart():
    """Swin v2's lie in 0..16."""
    values = np.full((1, 2, 3, 3), 8.0)
    values[0, 0, 1, 1], values[0, 0, 0, 0] = 9.0, 7.0
    result = bias_of(values)
    low, high = limits_of(result)
    assert (low + high) / 2 == pytest.approx(8)
    assert high <= 9
    colours = looks.colour(result.bias, looks.BIAS_MAP, (low, high))[0, 0].astype(int)
    assert colours[1, 1, 0] - colours[1, 1, 2] > 60
    assert colours[0, 0, 2] - colours[0, 0, 0] > 60


def test_a_bias_of_nothing_is_white():
    result = bias_of(np.zeros((1, 2, 3, 3)))
    assert limits_of(result) == (-1, 1)
    assert tiles_of(result, limits_of(result)).picture[0, 0, :3].min() > 240


def test_layers_and_heads_count_from_0(bias):
    axes = draw(bias).axes[1]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0", "1", "2"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("Layer", "Head")


def test_a_layer_that_all_share_is_called_so():
    result = bias_of(np.ones((1, 2, 3, 3)))
    assert [tick.get_text() for tick in draw(result).axes[1].get_yticklabels()] == ["all"]
    figure = plot(result)
    assert figure.layout.yaxis.ticktext == ("all",)
    assert figure.layout.xaxis.ticktext == ("0", "1")
    assert "<b>Head 1</b>" in figure.data[0].text[1]


def test_a_tile_on_screen_tells_the_offset_that_its_head_favours():
    values = np.zeros((2, 3, 3, 5))
    values[1, 2, 0, 4], values[1, 2, 1, 2] = 1.5, -2.0
    tiles = plot(bias_of(values)).data[0]
    assert list(tiles.customdata[5]) == [1, 2]
    assert tiles.text[5] == (
        "<b>L1 H2</b><br>most +1.5, 1 up, 2 right<br>least −2, the query itself"
    )


def test_two_figures_can_share_a_scale(bias):
    marker = plot(bias, limits=(-9.0, 9.0)).data[0].marker
    assert (marker.cmin, marker.cmax) == (-9, 9)


def test_a_bar_says_in_print_as_on_a_screen_that_values_lie_beyond_it(bias):
    low, high = float(bias.bias.min()), float(bias.bias.max())
    for limits, told in (
        ((low, high), ("{}", "{}")),
        ((low / 2, high / 2), ("≤ {}", "≥ {}")),
        ((low, high / 2), ("{}", "≥ {}")),
    ):
        words = [
            form.format(f"{end:.3g}".replace("-", "−"))
            for form, end in zip(told, limits, strict=True)
        ]
        printed = draw(bias, limits=limits).axes[0].get_xticklabels()
        shown = plot(bias, limits=limits).data[0].marker.colorbar.ticktext
        assert [text.get_text() for text in printed][::2] == words == list(shown)[::2]
