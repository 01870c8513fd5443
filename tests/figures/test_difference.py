from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vit_inspect.errors import BadParameter
from vit_inspect.figures import difference, looks


def test_a_pair_of_axes_is_one_map_of_right_minus_left(distance):
    other = replace(distance, distance_px=distance.distance_px + np.arange(6.0).reshape(3, 2))
    figure = difference.plot(distance, other, "distance_px")
    assert np.allclose(figure.data[0].z, np.arange(6.0).reshape(3, 2))
    assert figure.data[0].zmax == -figure.data[0].zmin > 0
    assert "From 0 to 5." in figure.layout.annotations[0].text
    assert "toy − toy<br>" in figure.layout.annotations[0].text
    assert [note.text for note in figure.layout.annotations[1:]] == ["Head", "Layer"]
    least = difference.plot(other, replace(distance, model="other"), "distance_px")
    assert "other − toy" in least.layout.annotations[0].text
    assert "From −5 to 0." in least.layout.annotations[0].text


def test_four_axes_are_a_grid_of_maps_that_are_white_where_nothing_differs(maps):
    weights = maps.weights.copy()
    weights[0, 2, 1] += 0.5
    figure = difference.plot(maps, replace(maps, weights=weights), "weights")
    markers = figure.data[0]
    assert [list(place) for place in markers.customdata][5] == [2, 1]
    assert "<b>L2 H1</b><br>maximum 0.5" in markers.text[5]
    assert "maximum 0" in markers.text[0]
    white = looks.colour(np.array(0.0), looks.DIFFERENCE_MAP, (-1.0, 1.0))
    assert white[:3].min() > 240


def test_only_what_is_shown_is_compared(similarity):
    shown = {"row": [1], "column": [0, 2]}
    figure = difference.plot(similarity, similarity, "similarity", shown=shown)
    assert [list(place) for place in figure.data[0].customdata] == [[1, 0], [1, 2]]
    assert figure.data[0].text[1].startswith("<b>Patch (1, 2)</b>")


def test_records_of_other_shapes_are_refused_in_words(distance):
    other = replace(
        distance,
        distance_px=distance.distance_px[:, :2],
        prefix_mass=distance.prefix_mass[:, :2],
    )
    with pytest.raises(BadParameter, match="layer × head of 3 × 2 and of 2 × 2"):
        difference.plot(distance, other, "distance_px")
