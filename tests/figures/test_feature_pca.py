from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from vit_inspect.figures import looks
from vit_inspect.figures.feature_pca import colours as colours_of
from vit_inspect.figures.feature_pca import draw, plot
from vit_inspect.figures.overlay import unseen
from vit_inspect.layout import Box
from vit_inspect.records.base import Photograph


def test_colours_run_between_the_ends_and_stay_there_beyond(colours):
    scores, ends = colours.components.copy(), colours.ends.copy()
    scores[0, 0] = [[-5, 0, 5], [-90, 90, 0], [0, 2.5, -2.5]]
    ends[0] = [-5, 5]
    found = colours_of(replace(colours, components=scores, ends=ends), 0)
    assert found[0].tolist() == [[0, 128, 255], [0, 255, 128], [128, 191, 64]]


def test_a_component_that_does_not_vary_is_in_the_middle_of_its_colour(colours):
    scores, ends = colours.components.copy(), colours.ends.copy()
    scores[..., 1], scores[..., 2] = 0, np.linspace(0, 1e-9, 6).reshape(2, 3)
    ends[:, 1], ends[:, 2] = 0, [0, 1e-9]
    found = colours_of(replace(colours, components=scores, ends=ends), 0)
    assert (found[..., 1:] == 128).all()
    assert found[..., 0].max() == 255
    nothing = replace(colours, components=scores * 0, ends=ends * 0)
    assert (colours_of(nothing, 0) == 128).all()


def test_the_colours_lie_where_the_model_looked(colours, photograph):
    left, right = draw(colours, image=1).axes
    image = right.images[1]
    seen = photograph.seen
    assert tuple(image.get_extent()) == (seen.left, seen.right, seen.bottom, seen.top)
    wanted = colours_of(colours, 1)
    times = len(image.get_array()) // len(wanted)
    enlarged = wanted.repeat(times, axis=0).repeat(times, axis=1)
    assert np.array_equal(image.get_array(), enlarged)
    assert image.get_alpha() == looks.TINT_OPACITY
    smooth = draw(colours, image=1, edges="smooth").axes[1].images[1].get_array()
    middle = times // 2
    assert np.abs(smooth[middle::times, middle::times].astype(int) - wanted).max() <= 2
    assert not np.array_equal(smooth, enlarged)
    assert np.array_equal(left.images[0].get_array(), photograph.pixels)


def test_on_screen_too_and_unsmoothed(colours, photograph):
    figure = plot(colours, image=1)
    picture = figure.layout.images[-1]
    assert [each.xref for each in figure.layout.images] == ["x", "x2", "x2"]
    veils = [each for each in figure.layout.shapes if each.xref == "x2"]
    assert len(veils) == len(unseen(photograph)) > 0
    seen = photograph.seen
    assert (picture.x, picture.y) == (seen.right, seen.bottom)
    assert (picture.xanchor, picture.yanchor) == ("right", "bottom")
    assert picture.sizex == pytest.approx(seen.right - seen.left)
    assert picture.sizey == pytest.approx(seen.bottom - seen.top)
    pixels = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2]))).convert("RGB")
    )
    times = pixels.shape[0] // 2
    assert times > 100
    assert np.array_equal(pixels[times // 2 :: times, times // 2 :: times], colours_of(colours, 1))


def test_plotly_can_tell_the_colours_of_a_whole_photograph_from_it(colours, photograph):
    """It joins layout images by place and size."""
    whole = replace(photograph, seen=Box(0, 0, 80, 40))
    figure = plot(replace(colours, photographs=(whole,) * 2))
    keys = [(each.xref, each.x, each.y, each.sizex, each.sizey) for each in figure.layout.images]
    assert len(set(keys)) == 3


def test_a_patch_tells_its_scores(colours):
    cells = plot(colours, image=1).data[0]
    row, column, *scores = cells.customdata[1][2]
    assert (row, column) == (1, 2)
    assert scores == colours.components[1, 1, 2].tolist()
    assert "red" in cells.hovertemplate


def test_what_the_colours_are_is_told(colours):
    words = draw(colours).texts[0].get_text()
    assert "tokens of layer 2, after the final norm" in words
    assert "red 50.0%, green 20.0%, blue 10.0%; together 80.0%" in words
    assert "colours of two images cannot be compared" in words
    common = replace(colours, basis="common")
    assert "Same components for all images" in draw(common).texts[0].get_text()
    assert "Same components for all images" in plot(common).layout.meta[2]


@pytest.mark.parametrize("size", [(1, 1), (10000, 3), (3, 10000)])
def test_extreme_photographs_can_be_drawn_on_a_page(colours, size):
    box = Box(0, 0, size[1], size[0])
    extreme = Photograph("a", np.zeros((1, 1, 3), np.uint8), size, box)
    figure = draw(replace(colours, photographs=(extreme,) * 2))
    figure.draw_without_rendering()
    assert figure.get_size_inches()[0] <= 6.91
    assert plot(replace(colours, photographs=(extreme,) * 2)).layout.height < 900
