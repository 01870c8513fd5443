from __future__ import annotations

import numpy as np
import pytest

from vit_inspect.figures import looks
from vit_inspect.figures.overlay import patch_box
from vit_inspect.figures.token_similarity import draw, plot


def test_the_scale_is_that_of_a_cosine(alike):
    _, panel, bar = draw(alike, image=1).axes
    image = panel.images[1]
    assert np.array_equal(image.get_array(), alike.similarity[1])
    assert image.get_clim() == (-1, 1)
    assert image.get_cmap().name == looks.SIMILARITY_MAP
    assert bar.get_ylim() == (-1, 1)
    cells = plot(alike).data[0]
    assert (cells.zmin, cells.zmax) == (-1, 1)
    assert np.allclose(cells.z, alike.similarity[0])
    assert not cells.colorbar.tickformat, "a cosine is no share"


def test_the_patch_is_outlined_in_the_photograph_that_it_is_of_and_in_no_other(alike, photograph):
    box = patch_box(photograph, (2, 3), (1, 2))
    for image, outlined in ((0, True), (1, False)):
        origin, panel, _ = draw(alike, image=image).axes
        found = [
            [patch.get_xy() for patch in axes.patches if patch.get_zorder() == 5]
            for axes in (origin, panel)
        ]
        assert found == [[(box.left, box.top)], [(box.left, box.top)] if outlined else []]
        outlines = [shape for shape in plot(alike, image=image).layout.shapes if shape.line.width]
        assert [(each.x0, each.y1) for each in outlines] == (
            [(box.left, box.bottom)] * 2 if outlined else []
        )


def test_each_patch_can_be_clicked_and_tells_its_value(alike, photograph):
    points = plot(alike).data[-1]
    place = [tuple(each) for each in points.customdata].index((1, 1))
    box = patch_box(photograph, (2, 3), (1, 1))
    assert points.x[place] == pytest.approx((box.left + box.right) / 2)
    assert points.y[place] == pytest.approx((box.top + box.bottom) / 2)
    assert points.text[place] == f"{alike.similarity[0, 1, 1]:.3f}"
    assert len(points.customdata) == 6


def test_whose_patch_it_is_is_told(alike):
    here, there = (draw(alike, image=image).texts[0].get_text() for image in (0, 1))
    assert here.startswith("Similarity to patch (1, 2)\n")
    assert there.startswith("Similarity to patch (1, 2) of wide.png\n")
    assert "tokens of layer 2, after the final norm" in here
    least = f"{alike.similarity[1].min():.2f}".replace("-", "−")
    assert f"From {least} to" in there
    assert there.endswith("in other.png")
