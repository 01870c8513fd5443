"""Are tiles and bars those of the right heads, on a scale that tells the signs apart?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.records import Size, made
from vit_inspect.figures import looks
from vit_inspect.figures.head_importance import RANKED, draw, limits_of, plot, ranking
from vit_inspect.figures.print_sheet import size_in
from vit_inspect.figures.screen_sheet import TEXT_PX
from vit_inspect.records.evidence import LOG_PROBABILITY, TURNED, HeadImportance


@pytest.fixture
def signed(importance: HeadImportance) -> HeadImportance:
    """In image 1, L2 H1 speaks against the class more than any speaks for it."""
    effect = np.array([[[0, 0.25], [0.5, 0], [-0.125, -2]]])
    return replace(importance, effect=np.concatenate([np.zeros_like(effect), effect]))


def test_heads_are_ranked_by_the_size_of_their_effect(signed: HeadImportance) -> None:
    assert ranking(signed, 1)[:4] == [(2, 1), (1, 0), (0, 1), (2, 0)]
    bars = plot(signed, image=1).data[1]
    assert [tuple(each) for each in bars.customdata][:2] == [(2, 1), (1, 0)]
    assert list(bars.x)[:3] == [-2, 0.5, 0.25]
    assert list(bars.y)[:2] == ["L2 H1", "L1 H0"]
    drawn = draw(signed, image=1).axes[2]
    assert [label.get_text() for label in drawn.get_yticklabels()][:2] == list(bars.y)[:2]
    assert [bar.get_width() for bar in drawn.patches][:3] == [-2, 0.5, 0.25]


def test_a_long_list_is_cut(importance: HeadImportance) -> None:
    many = replace(importance, effect=np.arange(2.0 * 5 * 8).reshape(2, 5, 8))
    assert len(ranking(many)) == RANKED
    assert ranking(many)[0] == (4, 7)


def test_each_bar_of_a_small_network_has_room_for_its_name(importance: HeadImportance) -> None:
    figure = plot(replace(importance, effect=np.arange(2.0 * 6 * 4).reshape(2, 6, 4)))
    bars, margin = figure.data[1], figure.layout.margin
    assert len(bars.y) == RANKED
    assert figure.layout.yaxis2.dtick == 1
    assert (figure.layout.height - margin.t - margin.b) / RANKED > 1.3 * TEXT_PX


def test_the_scale_is_centred_where_both_signs_occur(signed: HeadImportance) -> None:
    assert limits_of(signed, 1) == (-2, 2)
    assert limits_of(replace(signed, effect=np.abs(signed.effect)), 1) == (0, 2)
    assert limits_of(replace(signed, effect=-np.abs(signed.effect)), 1) == (-2, 2)
    assert limits_of(signed, 0) == (0, 1)


@pytest.mark.parametrize(("sign", "colours"), [(True, "RdBu_r"), (False, "magma")])
def test_a_tile_has_the_colour_of_its_effect(
    signed: HeadImportance, sign: bool, colours: str
) -> None:
    result = signed if sign else replace(signed, effect=np.abs(signed.effect))
    picture = draw(result, image=1).axes[1].images[0].get_array()
    height, width = picture.shape[0] / 3, picture.shape[1] / 2
    wanted = looks.colour(result.effect[1], colours, limits_of(result, 1))
    for layer, head in np.ndindex(3, 2):
        pixel = picture[int((layer + 0.4) * height), int((head + 0.4) * width)]
        np.testing.assert_array_equal(pixel, wanted[layer, head])


def test_a_tile_tells_its_head_and_what_becomes_of_the_probability(
    signed: HeadImportance,
) -> None:
    figure = plot(signed, image=1)
    tiles = figure.data[0]
    assert [tuple(each) for each in tiles.customdata] == list(np.ndindex(3, 2))
    assert tiles.text[2] == "<b>L1 H0</b><br>+0.5, probability × 0.607"
    assert figure.layout.meta == (
        "toy: the effect of each head for 'dog'",
        "Each head is ablated alone: its output is replaced by its mean over the tokens.",
        "Largest effect: L2 H1, −2, probability × 7.39.",
    )


def test_without_classes_it_speaks_of_no_probability(signed: HeadImportance) -> None:
    bare = replace(signed, measure=TURNED, targets=(), replacement="zero")
    words = " ".join(plot(bare, image=1).layout.meta)
    assert "probability" not in words
    assert "replaced by zeros" in words
    assert words.startswith("toy: the effect of each head Each")


@pytest.mark.parametrize("measure", [LOG_PROBABILITY, TURNED])
def test_the_bars_axis_is_named_with_its_unit(importance: HeadImportance, measure: str) -> None:
    result = replace(importance, measure=measure)
    assert draw(result).axes[2].get_xlabel() == measure
    assert measure in [each.text for each in plot(result).layout.annotations]
    assert LOG_PROBABILITY.endswith("(nats)")


def test_marked_heads_are_outlined(signed: HeadImportance) -> None:
    [shape] = plot(signed, image=1, marked=[(2, 1)]).layout.shapes
    assert (shape.x0, shape.x1, shape.y0, shape.y1) == (0.6, 1.4, 1.6, 2.4)
    assert not plot(signed, image=1).layout.shapes


@pytest.mark.parametrize(
    ("width_in", "heads", "stacked"), [(3.25, 6, False), (3.25, 12, True), (5.5, 16, False)]
)
def test_the_list_is_beside_the_tiles_where_both_have_room(
    importance: HeadImportance, width_in: float, heads: int, stacked: bool
) -> None:
    effect = np.arange(2.0 * 24 * heads).reshape(2, 24, heads)
    sheet = draw(replace(importance, effect=effect), width_in=width_in)
    tiles, bars = (axes.get_position() for axes in sheet.axes[1:])
    assert (bars.y1 < tiles.y0) == stacked
    assert (bars.x0 > tiles.x1) == (not stacked)
    assert sheet.get_size_inches()[1] <= 9.2


@pytest.mark.parametrize("width_in", [3.25, 5.5, 6.9])
def test_the_list_is_as_high_as_the_tiles_beside_it(width_in: float) -> None:
    _, tiles, bars = draw(made(HeadImportance, Size(layers=12, heads=6)), width_in=width_in).axes
    assert size_in(bars)[1] == pytest.approx(size_in(tiles)[1])
