from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.records import Size, made
from vit_inspect.errors import BadParameter
from vit_inspect.figures import looks
from vit_inspect.figures.attention_maps import FIGURE, _limit, _tiles, draw, plot
from vit_inspect.figures.overlay import patch_box
from vit_inspect.figures.printing import Print, printed
from vit_inspect.layout import MEAN
from vit_inspect.records.paper import AttentionMaps


def test_map_l_h_lies_in_row_l_column_h_on_the_shared_scale(maps):
    limit = np.percentile(maps.weights[1], 99.5)
    tiles = _tiles(maps, 1, "shared", limit)
    expected = looks.colour(maps.weights[1], looks.WEIGHT_MAP, (0.0, limit))
    down, right = tiles.pitch_px
    for layer, head in np.ndindex(3, 2):
        corner = tiles.picture[layer * down, head * right]
        assert np.array_equal(corner, expected[layer, head, 0, 0])


def test_per_map_scale_shows_the_largest_weight_of_each_map_alike(maps):
    tiles = _tiles(maps, 0, "per map", 1.0)
    lightest = looks.colour(np.array(1.0), looks.WEIGHT_MAP, (0.0, 1.0))
    down, right = tiles.pitch_px
    for layer, head in np.ndindex(3, 2):
        place = tiles.picture[layer * down : (layer + 1) * down, head * right : (head + 1) * right]
        assert (place == lightest).all(axis=-1).any()


def test_the_colour_bar_tells_its_range_and_that_more_lies_above(maps):
    limit, largest = _limit(maps, 0, "shared")
    assert largest == maps.weights[0].max() > limit
    bar = draw(maps).axes[1]
    assert bar.get_xlim() == (0, pytest.approx(limit))
    assert bar.get_xlabel() == "Attention weight"
    words = " ".join(text.get_text() for text in draw(maps).texts)
    assert f"Shared scale, clipped at {limit:.3g} (largest {largest:.3g})." in words.replace(
        "\n", " "
    )
    told = ["0", f"{limit / 2:.3g}", f"≥ {limit:.3g}"]
    assert [text.get_text() for text in bar.get_xticklabels()] == told
    assert list(plot(maps).data[0].marker.colorbar.ticktext) == told
    peak = maps.weights.copy()
    peak[0, 0, 0, 0, 0] = 50 * limit
    far = plot(replace(maps, weights=peak), limits=(0.0, limit)).layout.meta
    assert far[-1].endswith(f"(largest {50 * limit:.3g}, 50 × the end of the scale).")
    even = replace(maps, weights=np.full_like(maps.weights, 0.1))
    assert _limit(even, 0, "shared") == (pytest.approx(0.1), pytest.approx(0.1))
    assert "maximum" in draw(maps, scale="per map").axes[1].get_xlabel()


def test_one_peak_among_zeros_sets_the_scale_itself(maps):
    weights = np.zeros((2, 3, 2, 20, 20))
    weights[0, 0, 0, 3, 4] = 0.25
    assert _limit(replace(maps, weights=weights), 0, "shared") == (0.25, 0.25)


@pytest.mark.parametrize("scale", ["shared", "per map"])
def test_zero_maps_are_dark_not_an_error(maps, scale):
    zero = replace(maps, weights=np.zeros_like(maps.weights))
    tiles = _tiles(zero, 0, scale, _limit(zero, 0, scale)[0])
    dark = looks.colour(np.array(0.0), looks.WEIGHT_MAP, (0.0, 1.0))
    assert (tiles.picture[tiles.picture[..., 3] == 255] == dark).all()
    draw(zero, scale=scale).draw_without_rendering()


def test_an_unknown_scale_is_refused_in_words(maps):
    with pytest.raises(BadParameter, match="'shared' or 'per map'"):
        draw(maps, scale="log")


def test_the_table_holds_the_percentages_level_with_the_maps(maps):
    _, _, tiles, table = draw(maps, image=1).axes
    masses = maps.prefix_mass[1].sum(axis=-1)
    assert np.array_equal(table.images[0].get_array(), masses)
    assert table.images[0].get_clim() == (0, 1)
    assert [text.get_text() for text in table.texts] == [f"{100 * m:.0f}" for m in masses.ravel()]
    assert table.get_ylim() == tiles.get_ylim()
    assert (table.get_position().y0, table.get_position().y1) == pytest.approx(
        (tiles.get_position().y0, tiles.get_position().y1)
    )
    assert [tick.get_text() for tick in tiles.get_yticklabels()] == ["0", "1", "2"]
    assert [tick.get_text() for tick in tiles.get_xticklabels()] == ["0", "1"]


def test_a_patch_that_looks_is_outlined_and_named(maps, photograph):
    figure = draw(maps)
    box = patch_box(photograph, (2, 3), (1, 2))
    outlines = [p for p in figure.axes[0].patches if p.get_xy() == (box.left, box.top)]
    assert len(outlines) == 2
    assert "patch (1, 2)" in figure.texts[0].get_text()
    assert "patch (1, 2)" in plot(maps).layout.annotations[0].text
    token = replace(maps, query="token 'reg1'", patch=None)
    assert len(draw(token).axes[0].patches) == len(figure.axes[0].patches) - 2


def test_a_map_on_screen_knows_its_layer_head_and_prefix_masses(maps):
    markers = plot(maps, image=1).data[0]
    assert list(markers.customdata) == [[layer, head] for layer in range(3) for head in range(2)]
    cls, register = maps.prefix_mass[1, 2, 1]
    words = markers.text[5]
    for part in ("L2 H1", f"cls {cls:.1%}", f"reg1 {register:.1%}"):
        assert part in words
    assert f"{maps.weights[1, 2, 1].max():.3g}" in words
    assert markers.marker.cmax == pytest.approx(_limit(maps, 1, "shared")[0])


def test_limits_of_another_figure_are_taken_over(maps):
    figure = plot(maps, limits=(0.0, 0.9))
    assert figure.data[0].marker.cmax == 0.9
    assert "Shared scale, 0 to 0.9." in figure.layout.annotations[0].text


def test_what_the_padding_alone_gets_is_called_so(maps):
    layout = replace(maps.layout, prefix=(), readout=MEAN, padded=True)
    padded = replace(maps, layout=layout, prefix_mass=maps.prefix_mass[..., :1])
    assert "% on padding" in [axes.get_xlabel() for axes in draw(padded).axes]
    assert "% on special tokens" in [axes.get_xlabel() for axes in draw(maps).axes]
    assert "<br>padding " in plot(padded).to_json().replace("\\u003c", "<").replace("\\u003e", ">")


def test_in_a_column_the_table_of_many_heads_stands_below_the_maps_head_for_head():
    maps = made(AttentionMaps, Size(layers=12, heads=12))
    _, _, tiles, table = draw(maps, width_in=3.25).axes
    above, below = (axes.get_position(original=True) for axes in (tiles, table))
    assert below.y1 < above.y0
    assert (below.x0, below.x1) == pytest.approx((above.x0, above.x1))
    assert [tick.get_text() for tick in table.get_yticklabels()] == list(map(str, range(12)))
    assert len(table.texts) == 144
    assert min(text.get_fontsize() for text in table.texts) >= 6


@pytest.mark.parametrize(("width", "room"), [(None, True), (3.25, False), (10, True)])
def test_digits_have_room_in_their_cells_or_are_left_out(width, room):
    maps = made(AttentionMaps, Size(images=1, layers=24, heads=24))
    whole = replace(maps, prefix_mass=np.full_like(maps.prefix_mass, 0.5))
    table = draw(whole, width_in=width).axes[3]
    assert bool(table.texts) == room
    if not room:
        assert table.get_xlabel().replace("\n", " ") == "Dark to light: 0 to 100% on special tokens"
        return
    table.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in table.texts[:2]]
    assert table.texts[0].get_text() == "100"
    assert boxes[0].x1 < boxes[1].x0
    assert table.texts[0].get_fontsize() >= 6


def test_without_title_and_caption_the_maps_stay_below_the_photograph(maps):
    sheet = printed(FIGURE, maps, Print(title=False, caption=False))
    sheet.draw_without_rendering()
    photograph, _, tiles, table = (axes.get_tightbbox() for axes in sheet.axes)
    assert max(tiles.y1, table.y1) < photograph.y0


def test_maps_above_their_table_stand_in_the_middle_of_a_given_width() -> None:
    drawn = draw(made(AttentionMaps, Size(images=1, layers=24, heads=16)), width_in=5.5)
    maps, table = (axes.get_position() for axes in drawn.axes[2:])
    assert table.y1 < maps.y0
    assert (table.x0, table.x1) == pytest.approx((maps.x0, maps.x1))
    # The names of layers are at their left.
    assert 5.5 * (maps.x0 + maps.x1 - 1) == pytest.approx(0.25)
