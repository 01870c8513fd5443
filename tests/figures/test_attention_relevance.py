from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vit_inspect.figures import looks
from vit_inspect.figures.attention_relevance import UNITS, WAYS, draw, limits_of, plot, shown


@pytest.mark.parametrize("place", range(len(WAYS)))
def test_each_map_lies_where_the_model_looked_on_its_own_scale(relevance, photograph, place):
    axes = draw(relevance, image=1).axes
    panel, bar = axes[2 * place : 2 * place + 2]
    way = list(WAYS)[place]
    left, top, right, bottom = photograph.seen
    assert panel.get_title() == WAYS[way]
    assert tuple(panel.images[1].get_extent()) == (left, right, bottom, top)
    assert np.array_equal(panel.images[1].get_array(), shown(relevance, way, 1))
    assert panel.images[1].get_clim() == limits_of(relevance, 1, way=way)
    assert bar.get_xlabel() == ("Relevance", "Grad-CAM", "Input × gradient")[place]
    assert bar.get_xlim() == pytest.approx(limits_of(relevance, 1, way=way))


def test_what_lowers_the_target_is_not_drawn_as_raising_it(relevance):
    drawn = shown(relevance, "input_gradient", 0)
    assert (drawn[relevance.input_gradient[0] < 0] == 0).all()
    assert (relevance.input_gradient[0] < 0).any()
    assert limits_of(relevance, way="input_gradient")[0] == 0


def test_the_scale_of_relevance_starts_at_the_least(relevance):
    end = np.percentile(relevance.relevance[0], looks.CLIP)
    assert limits_of(relevance) == pytest.approx((relevance.relevance[0].min(), end))
    even = replace(relevance, relevance=np.full_like(relevance.relevance, 0.2))
    assert limits_of(even) == (0.2, 0.2)


def test_the_target_and_how_few_patches_hold_half_are_told(relevance):
    planted = np.full((1, 2, 3), 0.1)
    planted[0, 1, 1] = 5.0
    result = replace(relevance.of_image(1), relevance=planted)
    title, *words = plot(result).layout.meta
    assert title == "Patches that support tiger cat"
    assert words[:2] == [
        "toy, read at its cls",
        "Relevance above the minimum, 0.1: 1 of 6 patches hold half of it. "
        "Colours end at 4.63, percentile 98.5 (largest 5).",
    ]
    nothing = replace(result, relevance=np.zeros((1, 2, 3)))
    assert plot(nothing).layout.meta[2] == "Relevance above the minimum, 0: none."
    other = plot(result, way="grad_cam").layout.meta
    assert other[0] == "Grad-CAM, last block"
    assert other[1].startswith("For tiger cat; negative contributions set to 0. Colours end at ")


def test_print_tells_of_each_map_where_its_colours_end(relevance):
    words = " ".join(draw(relevance, image=1).texts[-1].get_text().split())
    for way, unit in UNITS.items():
        values = shown(relevance, way, 1)
        end = f"{np.percentile(values, 98.5):.3g}"
        told = f"{unit}: colours end at {end}, percentile 98.5 (largest {values.max():.3g})."
        assert told in words
    even = replace(relevance, relevance=np.full_like(relevance.relevance, 0.2))
    assert "Relevance: colours" not in draw(even, image=1).texts[-1].get_text()


def test_a_patch_on_screen_tells_its_place_and_no_percentage(relevance):
    heat = plot(relevance, image=1).data[0]
    assert list(heat.customdata[1][2]) == [1, 2]
    assert "%{z:.3g}" in heat.hovertemplate
    words = plot(relevance, image=1).data[1].marker.colorbar.ticktext
    assert not [each for each in words if "%" in each]


def test_in_a_column_the_photograph_and_three_maps_are_two_rows_of_two(relevance):
    panels = [axes for axes in draw(relevance, width_in=3.25).axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["Photograph", *WAYS.values()]
    assert [len(axes.images) for axes in panels] == [1, 2, 2, 2]
    boxes = [axes.get_position(original=True) for axes in panels]
    assert boxes[0].y0 == boxes[1].y0 > boxes[2].y1
    assert boxes[0].x0 == boxes[2].x0 < boxes[1].x0 == boxes[3].x0
