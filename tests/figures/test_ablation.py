"""Do the bars tell the probabilities, and does a click on the board name the patch?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vit_inspect.figures.ablation import plot, plot_board, plot_change
from vit_inspect.figures.overlay import patch_box
from vit_inspect.results import Ablation, Photograph

LONG = "a class with a name that nobody would ever print"


def made(before: list[float], after: list[float]) -> Ablation:
    return Ablation(
        "toy",
        ("layer 1, head 3",),
        "mean",
        np.array([0.9]),
        np.array([0.4]),
        (("cat", LONG),),
        np.array([[7, 3]]),
        np.array([before]),
        np.array([after]),
        np.array([[[0, 0.5, 0.25], [0, 0, 0.75]]]),
    )


def test_each_class_has_a_bar_before_and_one_after() -> None:
    figure = plot(made([0.7, 0.1], [0.2, 0.6]))
    bars = {bar.name: bar for bar in figure.data}
    assert list(bars["before"].x) == [0.7, 0.1]
    assert list(bars["after"].x) == [0.2, 0.6]
    assert list(bars["after"].text) == ["20.0%", "60.0%"]
    assert bars["before"].marker.color != bars["after"].marker.color
    # The first class is on top, and its value before is above the one after.
    assert [bar.name for bar in figure.data] == ["before", "after"]
    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.yaxis.ticktext[0] == "cat"
    assert len(figure.layout.yaxis.ticktext[1]) == 24
    assert figure.data[0].customdata[1] == LONG


def test_a_name_is_text_and_no_markup() -> None:
    named = replace(made([0.7, 0.1], [0.2, 0.6]), labels=(('<b>x</b> <a href="y">', "cat"),))
    figure = plot(named)
    for shown in (figure.layout.yaxis.ticktext[0], *(bar.customdata[0] for bar in figure.data)):
        assert shown.startswith("&lt;b&gt;x")
        assert "<" not in shown


@pytest.mark.parametrize(("largest", "end"), [(0.01, 0.02), (0.3, 0.5), (0.51, 1.01), (1, 1.01)])
def test_the_axis_begins_at_zero_and_holds_every_bar(largest: float, end: float) -> None:
    for pair in ([largest, 0.0], [0.0, 0.0]), ([0.0, 0.0], [0.0, largest]):
        assert plot(made(*pair)).layout.xaxis.range == (0, end)


def test_patches_that_are_off_are_covered_and_all_can_be_picked(photograph: Photograph) -> None:
    figure = plot_board(photograph, (2, 3), [(1, 2), (0, 0)])
    markers = figure.data[-1]
    assert [tuple(each) for each in markers.customdata] == list(np.ndindex(2, 3))
    # The middle of the part that was seen, not of the photograph.
    box = patch_box(photograph, (2, 3), (1, 2))
    assert markers.x[5] == pytest.approx((box.left + box.right) / 2)
    assert markers.y[5] == pytest.approx((box.top + box.bottom) / 2)
    covers = [(shape.x0, shape.y0, shape.x1, shape.y1) for shape in figure.layout.shapes[-2:]]
    assert covers == [tuple(patch_box(photograph, (2, 3), each)) for each in ((1, 2), (0, 0))]
    assert len(plot_board(photograph, (2, 3), []).layout.shapes) == len(figure.layout.shapes) - 2


def test_the_map_of_changes_has_a_scale_of_its_own_from_zero(photograph: Photograph) -> None:
    figure = plot_change(made([0.7, 0.1], [0.2, 0.6]), photograph)
    [drawn] = [trace for trace in figure.data if trace.type == "heatmap"]
    np.testing.assert_array_equal(drawn.z, [[0, 0.5, 0.25], [0, 0, 0.75]])
    assert (drawn.zmin, drawn.zmax) == (0, 0.75)
    assert figure.layout.meta[1] == "On average 0.25, at most 0.75."
    assert "%{z:.3g}<" in drawn.hovertemplate
    assert drawn.colorbar.tickformat == "~g"
