"""Does the histogram of a head show how many pictures have which value?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Rectangle

import vit_inspect as vi
from tests.helpers.printed import check_sheet
from tests.helpers.records import made
from vit_inspect.figures.distribution import bars


@pytest.fixture
def result() -> vi.HeadValues:
    return made(vi.HeadValues)


def test_bars_hold_every_picture_once(result: vi.HeadValues) -> None:
    counts, edges = bars(result)
    values = result.values
    assert counts.sum() == len(values) == 200
    assert len(counts) == round(np.sqrt(200))
    for index, count in enumerate(counts):
        last = index == len(counts) - 1
        inside = (values >= edges[index]) & (
            values <= edges[index + 1] if last else values < edges[index + 1]
        )
        assert inside.sum() == count


def test_print_and_screen_show_these_bars_and_the_mean(result: vi.HeadValues) -> None:
    counts, edges = bars(result)
    [axes] = vi.draw(result).axes
    drawn = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    np.testing.assert_allclose([patch.get_height() for patch in drawn], counts)
    np.testing.assert_allclose([patch.get_x() for patch in drawn], edges[:-1])
    assert axes.lines[0].get_xdata() == pytest.approx([result.values.mean()] * 2)
    plot = vi.plot(result)
    assert list(plot.data[0].y) == counts.tolist()
    np.testing.assert_allclose(plot.data[0].x, (edges[:-1] + edges[1:]) / 2)
    [mean] = plot.layout.shapes
    assert mean.x0 == pytest.approx(result.values.mean())
    assert mean.line.color != plot.data[0].marker.color, "the bars hide the mean"
    assert "200 pictures of crops" in plot.to_json()


@pytest.mark.parametrize("count", [1, 2])
def test_few_or_equal_values_have_bars_too(result: vi.HeadValues, count: int) -> None:
    few = replace(result, values=np.full(count, 3.5))
    assert bars(few)[0].sum() == count
    assert vi.draw(few).axes[0].patches
    nearly = replace(result, values=np.nextafter(3.5, 4) - np.array([0.0, 4e-16, 0.0, 0.0]))
    assert bars(nearly)[0].sum() == 4


@pytest.mark.parametrize("width_in", [3.25, 5.5, 6.9])
def test_nothing_is_cut_or_overlaps(result: vi.HeadValues, width_in: float) -> None:
    check_sheet(vi.draw(result, width_in=width_in))
