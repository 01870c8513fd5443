from __future__ import annotations

import numpy as np

from tests.helpers.records import rotary_of
from vit_inspect.figures import looks
from vit_inspect.figures.rotary_similarity import _of_pairs, draw, plot, tiles_of
from vit_inspect.records.paper import RotarySimilarity


def ticks(labels):
    return [tick.get_text() for tick in labels]


def test_pairs_are_tiles_with_the_shortest_wave_first():
    frequency = np.zeros((1, 1, 10, 2))
    frequency[0, 0, :, 1] = [0.1, 0.2, 0.3, 0.4, 0.5, 3.0, 0.6, 0.7, 0.8, 0.9]
    result = rotary_of(frequency)
    assert [pair for (pair,) in plot(result).data[0].customdata] == [5, 9, 8, 7, 6, 4, 3, 2, 1, 0]
    tiles = tiles_of(result)
    assert tiles.count == (2, 8)
    wanted = looks.colour(_of_pairs(result), looks.SIMILARITY_MAP, looks.SIMILARITY_LIMITS)
    down, right = tiles.pitch_px
    assert np.array_equal(tiles.picture[0, 0], wanted[5, 0, 0])
    assert np.array_equal(tiles.picture[down, right], wanted[0, 0, 0])


def test_places_without_a_pair_are_empty(rotary):
    tiles = tiles_of(rotary)
    down, right = tiles.pitch_px
    assert tiles.count == (2, 8)
    assert tiles.picture[down, 2 * right, 3] == 255
    assert not tiles.picture[down:, 3 * right :, 3].any()


def test_a_pair_is_the_cosine_of_its_turn(rotary):
    pairs = _of_pairs(rotary)
    np.testing.assert_allclose(pairs.mean(axis=0), rotary.similarity[0, 0], atol=1e-12)
    down, right = rotary.frequency[0, 0, 4]
    assert np.isclose(pairs[4, 0, 3], np.cos(-down + right))


def test_heads_that_are_turned_differently_are_tiles_by_layer_and_head(mixed):
    tiles = tiles_of(mixed)
    assert tiles.count == (3, 2)
    wanted = looks.colour(mixed.similarity, looks.SIMILARITY_MAP, looks.SIMILARITY_LIMITS)
    down, right = tiles.pitch_px
    assert np.array_equal(tiles.picture[2 * down, right], wanted[2, 1, 0, 0])
    axes = draw(mixed).axes[0]
    assert ticks(axes.get_yticklabels()) == ["0", "1", "2"]
    assert ticks(axes.get_xticklabels()) == ["0", "1"]
    screen = plot(mixed).data[0]
    assert screen.text[3] == "L1 H1"
    assert list(screen.customdata[3]) == [1, 1]


def test_the_mean_is_large_and_has_offset_zero_in_its_middle(rotary, mixed):
    for result, name in ((rotary, "Mean of all pairs"), (mixed, "Mean of all layers and heads")):
        mean = result.similarity.mean(axis=(0, 1))
        drawn = draw(result).axes[1]
        assert drawn.get_title() == name
        assert drawn.images[0].get_extent() == [-2.5, 2.5, 1.5, -1.5]
        wanted = looks.colour(mean, looks.SIMILARITY_MAP, looks.SIMILARITY_LIMITS)
        assert np.array_equal(drawn.images[0].get_array(), wanted)
        screen = plot(result).data[1]
        np.testing.assert_allclose(screen.z, mean, rtol=1e-6)
        assert (screen.zmin, screen.zmax) == looks.SIMILARITY_LIMITS
        assert (list(screen.y), list(screen.x)) == ([-1, 0, 1], [-2, -1, 0, 1, 2])


def test_waves_are_told_in_patches():
    frequency = np.zeros((1, 1, 3, 2))
    frequency[0, 0, :2] = [[np.pi / 2, 0], [0, 2 * np.pi / 35290]]
    result = rotary_of(frequency)
    texts = plot(result).data[0].text
    assert "<b>Pair 0 of dimensions</b><br>wavelength 4 patches" in texts[0]
    assert "1.57 per row, 0 per column" in texts[0]
    assert "wavelength infinite" in texts[2]
    assert "4 patches to infinite" in draw(result).texts[1].get_text()
    shorter = rotary_of(frequency[:, :, :2])
    assert "4 patches to 35,300 patches" in draw(shorter).texts[1].get_text()


def test_offsets_are_counted_in_whole_patches():
    row = np.arange(-7, 8)
    frequency = np.full((1, 1, 2, 2), 0.1)
    similarity = np.ones((1, 1, 15, 15))
    result = RotarySimilarity("toy", similarity, frequency, row, row)
    for width_in in (None, 3.25, 12.0):
        mean = draw(result, width_in=width_in).axes[1]
        for axis in (mean.xaxis, mean.yaxis):
            places = axis.get_ticklocs()
            assert np.array_equal(places, np.round(places))
            assert len(places) > 2


def test_the_mean_stands_beside_the_tiles_and_on_a_narrow_sheet_below(rotary, mixed):
    for result in (rotary, mixed):
        for width_in, beside in ((3.25, False), (6.9, True)):
            tiles, mean, _ = (each.get_position() for each in draw(result, width_in=width_in).axes)
            assert (mean.x0 > tiles.x1, mean.y1 < tiles.y0) == (beside, not beside)
