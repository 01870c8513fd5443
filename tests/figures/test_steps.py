"""Is each layer, and each head of a layer, drawn with its own means at its own steps?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.colors import to_hex

import vit_inspect as vi
from tests.helpers.printed import check_sheet
from tests.helpers.records import Size, layout_of, made
from vit_inspect.figures import looks
from vit_inspect.figures.steps import limits_of


@pytest.fixture
def result() -> vi.Steps:
    return made(vi.Steps, Size(layers=4, heads=12))


def curves(figure: go.Figure) -> list:
    return [each for each in figure.data if each.customdata is not None]


@pytest.mark.parametrize("layer", [None, 2])
def test_print_and_screen_show_the_same_curves(result: vi.Steps, layer: int | None) -> None:
    wanted = result.mean.mean(axis=2) if layer is None else result.mean[:, layer]
    places = [(each,) if layer is None else (layer, each) for each in range(wanted.shape[1])]
    axes = vi.draw(result, layer=layer).axes[0]
    *lines, uniform = axes.lines
    shown = curves(plotted := vi.plot(result, layer=layer))
    for each, values, place in zip(shown, wanted.T, places, strict=True):
        assert list(each.x) == result.step.tolist()
        np.testing.assert_allclose(each.y, values)
        head = [] if layer is None else [place[1]]
        picked = [[step, place[0], *head] for step in result.step]
        assert [list(point)[: 2 + len(head)] for point in each.customdata] == picked
    assert len(lines) == len(shown)
    for line, each in zip(lines, shown, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), result.step)
        np.testing.assert_allclose(line.get_ydata(), each.y)
        assert (to_hex(line.get_color()), line.get_label()) == (each.line.color, each.name)
    assert uniform.get_ydata()[0] == result.layout.uniform_distance_px()
    assert tuple(plotted.layout.yaxis.range) == axes.get_ylim() == limits_of(result, layer=layer)
    low, high = axes.get_ylim()
    assert low < wanted.min() < wanted.max() < high


def test_layers_have_colours_by_depth_and_a_point_tells_how_their_heads_differ(
    result: vi.Steps,
) -> None:
    shown = curves(vi.plot(result))
    assert len({each.line.color for each in shown}) == 4
    assert "Layer 3" in shown[3].hovertemplate
    assert "distance %{y:.1f} px, mean over 12 heads" in shown[3].hovertemplate
    spread = result.mean[:, 3].std(axis=1)
    np.testing.assert_allclose([point[2] for point in shown[3].customdata], spread, rtol=1e-3)
    bar = vi.draw(result).axes[1]
    assert (bar.get_ylabel(), bar.get_ylim()) == ("Layer", (0, 3))


def test_heads_whose_colours_repeat_have_broken_lines(result: vi.Steps) -> None:
    shown = curves(vi.plot(result, layer=0))
    assert shown[11].line.color == shown[1].line.color == looks.head_colour(1)
    assert shown[1].line.dash == "solid" != shown[11].line.dash
    assert "From head 10 on" in " ".join(vi.plot(result, layer=0).layout.meta)


def test_a_layer_that_is_not_there_is_refused(result: vi.Steps) -> None:
    for show in (vi.draw, vi.plot):
        with pytest.raises(vi.BadParameter, match="the layer 4"):
            show(result, layer=4)


@pytest.mark.parametrize("width_in", [3.25, 6.9])
def test_heads_of_many_steps_fit_the_page(width_in: float) -> None:
    size = Size(layers=2, heads=24)
    mean = np.random.default_rng(0).uniform(0, 14, (3000, 2, 24))
    steps = np.arange(0, 3_000_000, 1000)
    many = vi.Steps("toy", layout_of(size), "distance_px", 100, steps, mean)
    check_sheet(vi.draw(many, layer=1, width_in=width_in))
    assert "3,000 steps were surveyed" in " ".join(vi.plot(many).layout.meta)


def test_one_step_and_equal_values_have_an_axis(result: vi.Steps) -> None:
    one = replace(result, step=result.step[:1], mean=np.zeros((1, 4, 12)), statistic="nmi")
    assert limits_of(one) == (0.0, 0.5)
    assert len(vi.draw(one).axes[0].lines) == 4
    assert "One step was surveyed" in " ".join(vi.plot(one).layout.meta)
