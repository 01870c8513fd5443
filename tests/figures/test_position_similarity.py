from __future__ import annotations

import numpy as np
import pytest

from vit_inspect.figures import looks
from vit_inspect.figures.position_similarity import draw, plot, plot_tile, shown, tiles_of
from vit_inspect.records.paper import PositionSimilarity


def square(side: int) -> PositionSimilarity:
    return PositionSimilarity("toy", np.zeros((side, side, 2, 2)))


def test_tile_i_j_is_the_similarity_of_patch_i_j(similarity):
    tiles = tiles_of(similarity)
    down, right = tiles.pitch_px
    expected = looks.colour(similarity.similarity, "viridis", (-1.0, 1.0))
    for row, column in np.ndindex(2, 3):
        corner = tiles.picture[row * down, column * right]
        assert np.array_equal(corner, expected[row, column, 0, 0])
    lower_right = tiles.picture[-1, -1]
    assert tuple(lower_right) == tuple(expected[1, 2, 1, 2])


def test_axes_count_from_0_and_have_the_papers_names(similarity):
    axes, bar = draw(similarity).axes
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0", "1"]
    assert axes.get_xlabel() == "Input patch column"
    assert axes.get_ylabel() == "Input patch row"
    assert bar.get_ylim() == (-1, 1)
    assert list(bar.get_yticks()) == [-1, 1]
    assert bar.get_ylabel() == "Cosine similarity"


@pytest.mark.parametrize(
    ("side", "count", "step"), [(14, 14, 1), (15, 8, 2), (24, 8, 3), (37, 10, 4)]
)
def test_large_grids_show_evenly_spaced_tiles_and_say_so(side, count, step):
    result = square(side)
    rows, _ = shown(result)
    assert len(rows) == count
    assert set(np.diff(rows)) == {step}
    assert abs(rows[0] - (side - 1 - rows[-1])) <= 1
    words = [text.get_text() for text in draw(result).texts]
    assert (f"one row and column in {step} is shown" in words[0]) == (step > 1)
    assert plot(result).layout.yaxis.ticktext == tuple(str(row) for row in rows)


def test_a_tile_on_screen_tells_the_true_patch():
    tiles = plot(square(37)).data[0]
    assert tiles.customdata[11] == [4, 4]
    assert tiles.text[11] == "Patch (4, 4)"
    assert (tiles.marker.cmin, tiles.marker.cmax) == (-1, 1)


def test_a_large_tile_is_the_similarity_of_its_patch(similarity):
    figure = plot_tile(similarity, (1, 2))
    np.testing.assert_allclose(figure.data[0].z, similarity.similarity[1, 2], rtol=1e-6)
    assert (figure.data[0].zmin, figure.data[0].zmax) == looks.SIMILARITY_LIMITS
    assert "Patch (1, 2)" in figure.layout.annotations[0].text


def test_a_large_tile_is_named_where_its_proportion_leaves_it(similarity):
    layout = plot_tile(similarity, (1, 2)).layout
    [name] = [each for each in layout.annotations if each.text == "Input patch column"]
    assert (name.xref, name.yref) == ("x domain", "y domain")
    assert not layout.xaxis.title.text
    # At its left, where its own name is.
    assert layout.xaxis.constraintoward == "left"
