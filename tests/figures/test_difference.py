from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import vit_inspect as vi
from tests.helpers.printed import check_sheet
from tests.helpers.records import made
from vit_inspect.errors import BadParameter
from vit_inspect.exporting.render import render
from vit_inspect.figures import difference, looks
from vit_inspect.records.difference import Difference
from vit_inspect.records.evidence import LayerCka, PatchMap
from vit_inspect.records.paper import EmbeddingFilters, PositionBias


def words_of(sheet: Figure, part: str) -> str:
    [text] = [each for each in sheet.texts if each.get_gid() == part]
    return " ".join(text.get_text().split())


def test_a_pair_of_axes_is_one_map_of_right_minus_left(distance):
    other = replace(distance, distance_px=distance.distance_px + np.arange(6.0).reshape(3, 2))
    figure = difference.plot(vi.difference(distance, other, "distance_px"))
    assert np.allclose(figure.data[0].z, np.arange(6.0).reshape(3, 2))
    assert figure.data[0].zmax == -figure.data[0].zmin > 0
    assert "From 0 to 5." in figure.layout.annotations[0].text
    assert "toy − toy<br>" in figure.layout.annotations[0].text
    assert [note.text for note in figure.layout.annotations[1:]] == ["Head", "Layer"]
    least = difference.plot(vi.difference(other, replace(distance, model="other"), "distance_px"))
    assert "other − toy" in least.layout.annotations[0].text
    assert "From −5 to 0." in least.layout.annotations[0].text


def test_pictures_are_told_of_records_that_hold_none(distance, maps):
    found = vi.difference(distance, distance, "distance_px", pictures=("ant", "bee"))
    assert (found.left, found.right, found.both) == ("ant", "bee", "toy")
    found = vi.difference(maps, maps, "weights", pictures=("ant", "bee"))
    assert found.left == found.right == "toy, wide.png"


@pytest.mark.parametrize("width_in", [None, 3.25, 5.5, 6.9])
def test_one_map_is_printed_where_it_is_and_redder_where_more_is_at_the_right(width_in):
    left = made(PatchMap)
    values = left.values.copy()
    values[0] += [[0, 0, 2], [-1, 0, 0]]
    found = vi.difference(
        left, replace(left, kind="relevance", values=values), "values", words="attention"
    )
    np.testing.assert_allclose(found.values, [[0, 0, 2], [-1, 0, 0]])
    sheet = vi.draw(found, width_in=width_in)
    check_sheet(sheet)
    cells, bar = sheet.axes
    [image] = cells.images
    red, _, blue, _ = np.moveaxis(np.asarray(image.get_array(), float), -1, 0)
    # The middle of the colours is white, but for a step of 255.
    np.testing.assert_array_equal(np.sign((red - blue) // 2), np.sign(found.values))
    assert (cells.get_xlabel(), cells.get_ylabel()) == ("Column", "Row")
    # Row 0 is at the top.
    assert cells.get_ylim() == (1.5, -0.5)
    low, high = bar.get_xlim()
    assert low == -high
    assert bar.get_xlabel() == "Difference of attention"
    # Without its title too the sheet says what is subtracted from what, and of what both are.
    assert words_of(sheet, "title") == "Attention: right − left"
    told = words_of(sheet, "caption")
    assert told.startswith("relevance − rollout toy, wide.png. From −1 to 2. Colours end at ±")
    assert [each.get_text()[0] for each in bar.get_xticklabels()] == ["−", "0", "≥"]


def test_four_axes_are_a_grid_of_maps_that_are_white_where_nothing_differs(maps):
    weights = maps.weights.copy()
    weights[0, 2, 1] += 0.5
    found = vi.difference(maps, replace(maps, weights=weights), "weights")
    markers = difference.plot(found).data[0]
    assert [list(place) for place in markers.customdata][5] == [2, 1]
    assert "<b>L2 H1</b><br>largest size 0.5" in markers.text[5]
    assert "largest size 0" in markers.text[0]
    white = looks.colour(np.array(0.0), looks.DIFFERENCE_MAP, (-1.0, 1.0))
    assert white[:3].min() > 240
    cells = vi.draw(found, width_in=3.25).axes[0]
    [image] = cells.images
    picture = np.asarray(image.get_array())
    left, right, bottom, top = image.get_extent()

    def middle(layer: int, head: int) -> list[int]:
        """The colour in the middle of a tile, which is centred on its place."""
        row = int((layer - top) / (bottom - top) * picture.shape[0])
        column = int((head - left) / (right - left) * picture.shape[1])
        return picture[row, column, :3].tolist()

    red = looks.colour(np.array(1.0), looks.DIFFERENCE_MAP, (-1.0, 1.0))
    for place in np.ndindex(3, 2):
        assert middle(*place) == (red if place == (2, 1) else white)[:3].tolist()
    assert [each.get_text() for each in cells.get_yticklabels()] == ["0", "1", "2"]


def test_only_what_is_shown_is_compared(similarity):
    shown = {"row": [1], "column": [0, 2]}
    found = vi.difference(similarity, similarity, "similarity", shown=shown)
    markers = difference.plot(found).data[0]
    assert [list(place) for place in markers.customdata] == [[1, 0], [1, 2]]
    assert markers.text[1].startswith("<b>Patch (1, 2)</b>")
    cells = vi.draw(found).axes[0]
    assert [each.get_text() for each in cells.get_xticklabels()] == ["0", "2"]
    assert [each.get_text() for each in cells.get_yticklabels()] == ["1"]
    table = list(csv.DictReader(io.StringIO(render(difference.FIGURE, found, "csv").decode())))
    assert {(row["row"], row["column"]) for row in table} == {("1", "0"), ("1", "2")}


def test_files_hold_the_values_and_what_they_are_of():
    left = made(Difference)
    stored = np.load(io.BytesIO(render(difference.FIGURE, left, "npz")))
    np.testing.assert_array_equal(stored["values"], left.values)
    told = {name: str(stored[name]) for name in ("left", "right", "both", "quantity")}
    assert told == {
        "left": "rollout",
        "right": "relevance",
        "both": "toy, wide.png",
        "quantity": "attention weight",
    }
    assert stored["along"].tolist() == ["row", "column"]
    page = render(difference.FIGURE, left, "html").decode()
    assert "Attention weight: right − left" in page
    # Places that are offsets are told, as in the files of the records themselves.
    bias = made(PositionBias)
    other = np.load(io.BytesIO(render(difference.FIGURE, vi.difference(bias, bias, "bias"), "npz")))
    np.testing.assert_array_equal(other["row_offset"], bias.row_offset)


@pytest.mark.usefixtures("unchecked")
def test_records_of_other_shapes_kinds_and_quantities_are_refused_in_words(distance, maps):
    other = replace(
        distance,
        distance_px=distance.distance_px[:, :2],
        prefix_mass=distance.prefix_mass[:, :2],
    )
    with pytest.raises(BadParameter, match="layer × head of 3 × 2 and of 2 × 2"):
        vi.difference(distance, other, "distance_px")
    with pytest.raises(BadParameter, match="two kinds, AttentionDistance and AttentionMaps"):
        vi.difference(distance, maps, "weights")
    with pytest.raises(
        BadParameter, match="the quantity 'px'; expected one of distance_px, prefix_mass"
    ):
        vi.difference(distance, distance, "px")
    for shown, told in (
        ({"depth": [0]}, "the axis 'depth'; expected one of layer, head"),
        ({"layer": [0, 3]}, r"the layer 3; expected a layer of 0\.\.2"),
        ({"layer": 3}, "layer=3; expected a list"),
    ):
        with pytest.raises(BadParameter, match=told):
            vi.difference(distance, distance, "distance_px", shown=shown)
    for kind, quantity in ((EmbeddingFilters, "filters"), (LayerCka, "hsic")):
        with pytest.raises(BadParameter, match="expected a record of heads or of patches"):
            vi.difference(made(kind), made(kind), quantity)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_record_is_not_compared(distance):
    with pytest.raises(BadParameter, match="type str as right; expected a record"):
        vi.difference(distance, "distance", "distance_px")
