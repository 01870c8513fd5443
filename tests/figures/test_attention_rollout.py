from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vit_inspect.figures import looks, print_sheet
from vit_inspect.figures.attention_rollout import (
    _blurred,
    _paper_look,
    _words,
    draw,
    limits_of,
    plot,
    strongest_share,
)
from vit_inspect.figures.overlay import crop
from vit_inspect.layout import Box
from vit_inspect.records.base import Photograph

WHITE = np.full((16, 24, 3), 255, np.uint8)


def test_the_absolute_map_lies_where_the_model_looked(rollout, photograph):
    panel, bar = draw(rollout, image=1).axes[2:]
    image = panel.images[1]
    left, top, right, bottom = photograph.seen
    assert tuple(image.get_extent()) == (left, right, bottom, top)
    assert np.array_equal(image.get_array(), rollout.relevance[1])
    end = np.percentile(rollout.relevance[1], looks.CLIP)
    assert image.get_clim() == pytest.approx((rollout.relevance[1].min(), end))
    assert bar.get_ylim() == pytest.approx(image.get_clim())


def test_the_input_is_what_the_model_saw(rollout, photograph, layout):
    first, second = draw(rollout).axes[:2]
    assert (first.get_title(), second.get_title()) == ("Input", "Attention")
    assert np.array_equal(first.images[0].get_array(), crop(photograph, layout.input_px))


def test_the_input_is_shown_without_what_no_patch_covers(rollout, photograph, layout):
    wider = replace(rollout, layout=replace(layout, margin_px=(1, 3)))
    first, second = draw(wider).axes[:2]
    assert np.array_equal(first.images[0].get_array(), crop(photograph, layout.covered_px))
    assert second.images[0].get_array().shape[:2] == layout.covered_px


def test_the_papers_look_is_dark_where_least_and_whole_where_most():
    relevance = np.zeros((2, 3))
    relevance[0, 2] = 0.01
    light = _paper_look(WHITE, relevance, (4, 4))[..., 0]
    assert light.min() == 0
    assert light.max() == 255
    row, column = np.unravel_index(light.argmax(), light.shape)
    assert row < 8
    assert column >= 16
    assert light[15, 0] < 10


def test_the_papers_look_does_not_depend_on_the_unit():
    relevance = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(
        _paper_look(WHITE, relevance, (8, 8)), _paper_look(WHITE, relevance / 64, (8, 8))
    )


def test_maps_without_contrast_keep_their_meaning():
    assert _paper_look(WHITE, np.zeros((2, 3)), (8, 8)).max() == 0
    assert _paper_look(WHITE, np.full((2, 3), 0.2), (8, 8)).min() >= 254


def test_the_blur_is_a_gaussian_of_what_is_inside_the_border(random):
    values = random.uniform(size=(30, 41))
    sides = []
    for side, deviation in zip(values.shape, (2, 3), strict=True):
        pixel = np.arange(side)
        weights = np.exp(-0.5 * ((pixel[:, None] - pixel) / deviation) ** 2)
        sides.append(weights / weights.sum(axis=1, keepdims=True))
    # Scipy cuts the bell at four deviations.
    np.testing.assert_allclose(_blurred(values, (2, 3)), sides[0] @ values @ sides[1].T, atol=2e-4)
    np.testing.assert_allclose(_blurred(np.full((5, 7), 0.3), (4, 4)), 0.3)


def test_a_zero_map_can_be_drawn(rollout):
    zero = replace(rollout, relevance=np.zeros_like(rollout.relevance))
    figure = draw(zero)
    figure.draw_without_rendering()
    assert list(figure.axes[3].get_yticks()) == [0]
    assert plot(zero).data[1].marker.colorbar.ticktext == ("0%",)


def test_what_the_picture_leaves_out_is_told(rollout):
    words = _words(rollout, 0)
    cls, register = rollout.prefix_mass[0]
    assert f"{cls:.1%} on cls, {register:.1%} on reg1" in words
    assert f"{rollout.relevance[0].sum():.1%} on patches" in words
    strongest = rollout.relevance[0].max() / rollout.relevance[0].sum()
    assert f"The strongest patch holds {strongest:.1%}" in words
    end, most = (
        f"{100 * each:.3g}%" for each in (limits_of(rollout)[1], rollout.relevance[0].max())
    )
    assert words.endswith(f" Colours end at {end}, percentile 98.5 (largest {most}).")
    assert draw(rollout).texts[0].get_text() == words


def test_a_reader_is_warned_when_few_patches_hold_most(rollout):
    peaked = np.zeros_like(rollout.relevance)
    peaked[0, 1, 1] = 0.5
    even = np.full_like(peaked, 0.1)
    assert "Caution" in _words(replace(rollout, relevance=peaked), 0)
    assert "Caution" not in _words(replace(rollout, relevance=even), 0)


def test_cells_on_screen_lie_on_the_seen_part(rollout, photograph):
    cells = plot(rollout).data[0]
    left, top, right, bottom = photograph.seen
    assert cells.x0 - cells.dx / 2 == pytest.approx(left)
    assert cells.x0 + 2.5 * cells.dx == pytest.approx(right)
    assert cells.y0 - cells.dy / 2 == pytest.approx(top)
    assert cells.y0 + 1.5 * cells.dy == pytest.approx(bottom)
    assert np.allclose(cells.z, rollout.relevance[0])
    assert cells.customdata[1][2] == [1, 2]
    assert (cells.zmin, cells.zmax) == limits_of(rollout)
    bar = plot(rollout).data[1].marker.colorbar
    assert bar.title.text == "Rollout weight"
    assert bar.ticktext[-1] == f"≥ {100 * cells.zmax:.3g}%"
    whole = plot(rollout, limits=(0.0, 1.0)).data[1].marker.colorbar
    assert whole.ticktext == ("0%", "50%", "100%")


@pytest.mark.parametrize(
    ("pixels", "size", "seen"),
    [
        ((1, 1), (1, 1), Box(0, 0, 1, 1)),
        ((1024, 1), (10000, 3), Box(0, 4998.5, 3, 5001.5)),
        ((1, 1024), (3, 10000), Box(4998.5, 0, 5001.5, 3)),
    ],
)
def test_extreme_photographs_can_be_drawn_on_a_page(rollout, pixels, size, seen):
    extreme = Photograph("a", np.zeros((*pixels, 3), np.uint8), size, seen)
    figure = draw(replace(rollout, photographs=(extreme, extreme)))
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    assert width <= print_sheet.PAGE_IN + 0.01
    assert 1 < height < 4


def test_limits_are_taken_over(rollout):
    assert plot(rollout, limits=(0.0, 0.7)).data[0].zmax == 0.7
    half = float(rollout.relevance[0].max()) / 2
    words = plot(rollout, limits=(0.0, half)).layout.meta[-1]
    assert f"Colours end at {100 * half:.3g}%, on a given scale (largest " in words


def test_the_share_of_the_strongest_hundredth():
    relevance = np.full((20, 20), 0.001)
    relevance[3, 4:8] = 0.1
    count, share = strongest_share(relevance)
    assert count == 4
    assert share == pytest.approx(0.4 / (0.4 + 396 * 0.001))


@pytest.mark.parametrize(("width", "stacked"), [(3.25, True), (6.9, False), (12, False)])
def test_a_map_that_would_be_too_low_beside_the_input_stands_below_it(rollout, width, stacked):
    before, after, panel, bar = draw(rollout, width_in=width).axes
    boxes = [axes.get_position(original=True) for axes in (before, after, panel, bar)]
    assert boxes[0].y0 == boxes[1].y0
    assert (boxes[2].y1 < boxes[0].y0) == stacked
    assert (boxes[2].y0 == pytest.approx(boxes[0].y0)) != stacked
    assert (boxes[3].y0, boxes[3].y1) == pytest.approx((boxes[2].y0, boxes[2].y1))
