from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vit_inspect.figures import looks
from vit_inspect.figures.attention_distance import draw, plot
from vit_inspect.records.paper import AttentionDistance


def test_one_dot_for_each_head_and_layer_at_the_mean_over_images(distance):
    main, slim = draw(distance).axes[:2]
    for head in range(2):
        dots = main.collections[head].get_offsets()
        assert np.allclose(dots[:, 0], [0, 1, 2])
        assert np.allclose(dots[:, 1], distance.distance_px[:, :, head].mean(axis=0))
        masses = slim.collections[head].get_offsets()
        assert np.allclose(masses[:, 1], distance.prefix_mass[:, :, head].mean(axis=0))


def test_both_panels_share_their_depth_axis(distance):
    main, slim = draw(distance).axes[:2]
    assert main.get_xlim() == slim.get_xlim()
    left, _, width, _ = main.get_position().bounds
    assert (left, width) == (slim.get_position().x0, slim.get_position().width)


def test_axes_start_at_zero_and_hold_every_dot_and_the_baseline(distance):
    main = draw(distance).axes[0]
    low, high = main.get_ylim()
    assert low == 0
    assert high > distance.distance_px.mean(axis=0).max()
    assert high > distance.layout.uniform_distance_px()
    assert main.get_ylabel() == "Mean attention distance (pixels)"


def test_the_right_axis_is_the_left_in_percent_of_the_diagonal(distance):
    main, _, percent = draw(distance).axes
    ratio = percent.get_ylim()[1] / main.get_ylim()[1]
    assert ratio == pytest.approx(100 / distance.layout.diagonal_px)
    assert percent.get_position().bounds == main.get_position().bounds


def test_the_baseline_is_uniform_attention(distance):
    line = draw(distance).axes[0].lines[0]
    assert set(line.get_ydata()) == {distance.layout.uniform_distance_px()}
    assert line.get_label() == "Uniform"


@pytest.mark.parametrize(
    ("heads", "width_in", "named"),
    [(1, 3.25, 1), (3, 3.25, 3), (6, 3.25, 6), (10, 3.25, 3), (12, 5.5, 12), (16, 6.9, 16)],
)
def test_the_legend_names_all_heads_that_fit_else_three_as_in_the_paper(
    layout, heads, width_in, named
):
    made = AttentionDistance("m", layout, "paper", np.ones((1, 2, heads)), np.ones((1, 2, heads)))
    sheet = draw(made, width_in=width_in)
    legend = sheet.axes[0].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    others = ["..."] if named < heads else []
    assert texts == [*(f"Head {head}" for head in range(named)), *others, "Uniform"]
    box = legend.get_window_extent().transformed(sheet.transFigure.inverted())
    assert box.x0 >= 0, "the legend is cut off"
    assert box.x1 <= 1
    title = next(text for text in sheet.texts if text.get_text() == "m")
    assert not legend.get_window_extent().overlaps(title.get_window_extent())


def test_the_definition_and_the_number_of_images_are_told(distance):
    assert "Mean over 2 images, paper definition" in draw(distance).texts[0].get_text()
    figure = draw(replace(distance, definition="renormalised"))
    assert "renormalised" in figure.axes[0].get_ylabel()
    assert (
        "renormalised" in plot(replace(distance, definition="renormalised")).layout.yaxis.title.text
    )


def test_a_dot_on_screen_knows_its_layer_and_head(distance):
    figure = plot(distance)
    first, mass = figure.data[2:4]
    assert first.customdata == ([0, 1], [1, 1], [2, 1]) or list(first.customdata) == [
        [0, 1],
        [1, 1],
        [2, 1],
    ]
    assert first.marker.color == looks.head_colour(1)
    assert np.allclose(first.y, distance.distance_px.mean(axis=0)[:, 1])
    assert np.allclose(mass.y, distance.prefix_mass.mean(axis=0)[:, 1])
    spread = distance.distance_px.std(axis=0)[2, 1]
    for words in ("L2 H1", f"± {spread:.1f} px", "on special tokens"):
        assert words in first.text[2]


def test_a_head_that_looks_nowhere_can_be_drawn(layout):
    one = AttentionDistance("m", layout, "paper", np.zeros((1, 1, 1)), np.zeros((1, 1, 1)))
    draw(one).draw_without_rendering()
    assert "±" not in plot(one).data[0].text[0]
