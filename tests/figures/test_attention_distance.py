from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from vit_inspect.figures import looks
from vit_inspect.figures.attention_distance import draw, plot
from vit_inspect.records.paper import AttentionDistance


def test_one_dot_for_each_head_and_layer_at_the_mean_over_images(distance):
    main, slim = draw(distance).axes[:2]
    for head in range(2):
        dots = main.collections[head].get_offsets()
        assert np.array_equal(dots[:, 0].round(), [0, 1, 2])
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


def alike(layout, heads: int, layers: int = 2) -> AttentionDistance:
    """All heads have the same distance and the same share."""
    shape = (1, layers, heads)
    return AttentionDistance("m", layout, "paper", np.full(shape, 9.0), np.full(shape, 0.1))


@pytest.mark.parametrize(("heads", "layers", "width_in"), [(6, 12, 3.25), (16, 24, 6.9)])
def test_dots_of_equal_values_stand_beside_each_other_near_their_layer(
    layout, heads, layers, width_in
):
    record = alike(layout, heads, layers)
    sheet, screen = draw(record, width_in=width_in), plot(record)
    for panel in sheet.axes[:2]:
        across = np.array([dots.get_offsets()[:, 0] for dots in panel.collections])
        assert np.array_equal(across.round(), np.tile(np.arange(layers), (heads, 1)))
        assert all(len(set(column)) == heads for column in across.T)
        assert all(dots.get_alpha() < 1 for dots in panel.collections)
    for axis in ("y", "y2"):
        dots = [each for each in screen.data if each.yaxis == axis and each.mode == "markers"]
        across = np.array([each.x for each in dots])
        assert np.array_equal(across.round(), np.tile(np.arange(layers), (heads, 1)))
        assert all(len(set(column)) == heads for column in across.T)
        assert all(each.marker.opacity < 1 for each in dots)


def test_dots_that_cover_each_other_do_not_where_there_is_room(layout):
    sheet = draw(alike(layout, 4))
    sheet.draw_without_rendering()
    for panel in sheet.axes[:2]:
        middles = [
            panel.transData.transform(dots.get_offsets())[0, 0] for dots in panel.collections
        ]
        width = panel.collections[0].get_sizes()[0] ** 0.5 * sheet.dpi / 72
        assert np.diff(sorted(middles)) == pytest.approx(width)


def test_dots_of_values_that_are_apart_stand_at_their_layer(layout):
    apart = AttentionDistance(
        "m", layout, "paper", np.array([[[1.0, 9.0, 17.0]]]), np.array([[[0.0, 0.5, 1.0]]])
    )
    for panel in draw(apart).axes[:2]:
        assert [dots.get_offsets()[0, 0] for dots in panel.collections] == [0, 0, 0]


@pytest.mark.parametrize(
    ("heads", "width_in", "first", "last"),
    [
        (1, 3.25, "Head 0", "Head 0"),
        (6, 3.25, "Head 0", "5"),
        (10, 3.25, "Head 0", "9"),
        (12, 3.25, "Heads 0, 10", "9"),
        (16, 6.9, "Heads 0, 10", "9"),
        (48, 3.25, "Heads 0, 10, …", "9, 19, …"),
    ],
)
def test_the_legend_tells_the_heads_of_each_colour(layout, heads, width_in, first, last):
    sheet = draw(alike(layout, heads), width_in=width_in)
    legend = sheet.axes[0].get_legend()
    named = {
        text.get_text(): handle.get_facecolor()[0, :3]
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
        if text.get_text() != "Uniform"
    }
    assert len(named) == min(heads, 10)
    assert {first, last} <= set(named)
    for name, colour in named.items():
        assert to_hex(colour) == looks.head_colour(int(re.search(r"\d+", name)[0]))
    sheet.draw_without_rendering()
    places = [text.get_window_extent() for text in legend.get_texts()]
    rows = sorted(range(len(places)), key=lambda each: (-round(places[each].y0), places[each].x0))
    read = [legend.get_texts()[each].get_text() for each in rows]
    numbers = [int(re.search(r"\d+", name)[0]) for name in read[:-1]]
    assert (numbers, read[-1]) == (list(range(min(heads, 10))), "Uniform")
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
