"""Is each layer drawn with its own number of the tokens at its own steps?"""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_hex

import vit_inspect as vi
from tests.helpers.records import Size, made


def test_a_layer_and_the_next_one_have_a_curve() -> None:
    result = made(vi.LayerSteps, Size(layers=4))
    assert result.value.min() < 0
    axes, bar = vi.draw(result).axes
    plotted = vi.plot(result)
    shown = [each for each in plotted.data if each.customdata is not None]
    assert len(shown) == len(axes.lines) == 4
    for layer, (line, each) in enumerate(zip(axes.lines, shown, strict=True)):
        np.testing.assert_array_equal(line.get_xydata(), np.stack([result.step, each.y], 1))
        np.testing.assert_array_equal(each.y, result.value[:, layer])
        assert [list(point) for point in each.customdata] == [[at, layer] for at in result.step]
        assert (to_hex(line.get_color()), each.name) == (
            each.line.color,
            f"Layers {layer} and {layer + 1}",
        )
    low, high = axes.get_ylim()
    assert low < result.value.min() < result.value.max() < high
    assert tuple(plotted.layout.yaxis.range) == (low, high)
    assert bar.get_ylabel() == "Lower layer"


def test_rates_are_percentages_of_the_pictures() -> None:
    value = np.array([[0.0, 0.25], [0.1, 0.5]])
    rate = vi.LayerSteps("toy", "artefacts", 8, np.array([0, 20]), value)
    axes = vi.draw(rate).axes[0]
    assert axes.yaxis.get_major_formatter()(0.25, 0) == "25%"
    figure = vi.plot(rate)
    assert "%{y:.1%} of the pictures" in figure.data[1].hovertemplate
    assert figure.layout.meta[:2] == (
        "Artefact rate in training: toy",
        "Each curve is one layer: the share of pictures with artefacts in it, over the same 8 "
        "pictures. 2 steps were surveyed.",
    )
    assert axes.get_ylim() == (0, 0.525)
