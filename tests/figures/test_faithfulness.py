from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.records import curves_of
from vit_inspect.figures import looks
from vit_inspect.figures.faithfulness import (
    conclusions,
    control_words,
    draw,
    limits_of,
    plot,
    verdict,
)

pytestmark = pytest.mark.slow


def test_curves_are_means_over_the_pictures_and_baselines_are_dashed_and_grey(curves):
    halved = replace(curves, deletion=curves.deletion * np.array([1, 0.5])[:, None, None])
    for axes, scores in zip(
        draw(halved).axes[:2], (halved.deletion, halved.insertion), strict=True
    ):
        good, poor, centre, random = axes.lines
        for line, place in ((good, 0), (poor, 1), (centre, 2)):
            np.testing.assert_allclose(line.get_ydata(), scores.mean(axis=0)[place])
        np.testing.assert_allclose(random.get_ydata(), scores[:, 3:].mean(axis=(0, 1)))
        assert {line.get_color() for line in (centre, random)} == {looks.QUIET}
        assert good.get_color() != poor.get_color()
        assert [line.get_linestyle() for line in (good, poor)] == ["-", "-"]
        assert "-" not in [line.get_linestyle() for line in (centre, random)]
        np.testing.assert_allclose(good.get_xdata(), [0, 0.25, 0.5, 0.75, 1])


def test_the_band_is_the_range_of_the_random_orders(curves):
    axes = draw(curves).axes[0]
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == 1
    wanted = curves.deletion[0, 3:, 2]
    at_half = band.get_paths()[0].vertices[:, 0] == 0.5
    assert heights[at_half].min() == pytest.approx(wanted.min())
    assert heights[at_half].max() == pytest.approx(wanted.max())


def test_the_screen_shows_the_same_curves(curves):
    lines = [
        trace
        for trace in plot(curves).data
        if trace.mode in ("lines", "lines+markers")
        and trace.xaxis in ("x", "x1", "x2")
        and trace.name
    ]
    assert [line.name for line in lines] == ["good", "poor", "centre", "random"] * 2
    np.testing.assert_allclose(lines[0].y, curves.deletion[0, 0])
    np.testing.assert_allclose(lines[4].y, curves.insertion[0, 0])
    np.testing.assert_allclose(lines[7].y, curves.insertion[0, 3:].mean(axis=0))
    assert "good</b>, insertion" in lines[4].hovertemplate


def test_lines_are_told_apart_by_more_than_colour_in_the_table_as_well():
    areas = {f"map {place}": (0.4, 0.6) for place in range(5)} | {"centre": (0.5, 0.5)}
    five = curves_of(areas)
    axes = draw(five).axes
    drawn = [
        [(line.get_marker(), str(line._unscaled_dash_pattern)) for line in each.lines]
        for each in axes
    ]
    assert len(set(drawn[0])) == 7
    assert drawn[0] == drawn[1] == [looks for each in drawn[2:] for looks in each]
    traces = [trace for trace in plot(five).data if trace.line.width == 2]
    looks = [(trace.marker.symbol, trace.line.dash) for trace in traces]
    assert len(set(looks)) == 7
    assert looks == looks[:7] * 3


def test_the_table_holds_the_areas_of_print_and_screen(curves):
    words = [text.get_text() for text in draw(curves).texts]
    for row in (["good", "0.200", "0.800"], ["random", "0.500", "0.500"]):
        place = words.index(row[0])
        assert words[place : place + 3] == row
    columns = [trace.text for trace in plot(curves).data if trace.mode == "text"]
    assert list(zip(*columns, strict=True)) == [
        ("Area under", "deletion", "insertion"),
        ("good", "0.200", "0.800"),
        ("poor", "0.500", "0.500"),
        ("centre", "0.450", "0.550"),
        ("random", "0.500", "0.500"),
    ]


def test_small_areas_are_told_by_two_digits(curves):
    small = replace(
        curves,
        deletion_auc=curves.deletion_auc / 100,
        insertion_auc=curves.insertion_auc / 1000,
    )
    words = [text.get_text() for text in draw(small).texts]
    place = words.index("good")
    assert words[place : place + 3] == ["good", "0.0020", "0.00080"]


BETTER = "better than random and the centre"


@pytest.mark.parametrize(
    ("areas", "centre", "words"),
    [
        # 3.04 times the standard deviation of the random orders is 0.0481.
        ((0.45, 0.55), (0.6, 0.4), f"{BETTER} in both curves"),
        ((0.47, 0.53), (0.6, 0.4), "better than the centre, no better than random in both"),
        ((0.45, 0.53), (0.6, 0.4), f"{BETTER} in deletion; better than the centre, no better than"),
        ((0.4, 0.6), (0.4, 0.4), "better than random, no better than the centre in delet"),
        ((0.4, 0.6), (0.4, 0.4), f"; {BETTER} in insertion"),
        ((0.6, 0.4), (0.1, 0.9), "worse than random and the centre in both curves"),
        ((0.5, 0.5), (0.5, 0.5), "no better than random or the centre in both curves"),
    ],
)
def test_the_conclusion_follows_from_the_areas(areas, centre, words):
    found = curves_of({"it": areas, "centre": centre}).of_image(0)
    (sentence,) = conclusions(found)
    assert sentence.startswith("it: ")
    assert words in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("areas", "words"),
    [
        ({"a": (0.4, 0.6), "b": (0.4, 0.6)}, f"{BETTER.capitalize()} in both curves: a, b."),
        ({"a": (0.4, 0.6), "b": (0.5, 0.6)}, f"{BETTER.capitalize()} in both curves: a. Not: b."),
        ({"a": (0.6, 0.4), "b": (0.5, 0.6)}, f"No map is {BETTER} in both curves."),
    ],
)
def test_what_was_found_is_said_in_two_sentences(areas, words):
    assert verdict(curves_of(areas | {"centre": (0.5, 0.5)})) == words


def test_on_a_screen_all_but_what_was_found_stands_below(curves):
    figure, printed = plot(curves), draw(curves).texts[-2].get_text().replace("\n", " ")
    above, *_, below = (each for each in figure.layout.annotations if each.align == "left")
    words = [each.text.replace("<br>", " ") for each in (above, below)]
    assert verdict(curves) in words[0]
    for sentence in conclusions(curves):
        assert sentence in printed
        assert (sentence in words[0], sentence in words[1]) == (False, True)
    assert (below.y, below.yanchor, below.yref) == (0, "top", "paper")
    # There is room for it: 20 px for a line.
    assert figure.layout.margin.b >= 20 * (1 + below.text.count("<br>"))
    # What is said above is not said again.
    still = {name: 1 - 0.04 * getattr(curves, name) for name in ("deletion", "insertion")}
    text = str(plot(replace(curves, **still)).to_dict())
    assert text.count("no conclusion for any map") == 2  # in the words, and in their record


def test_of_several_pictures_it_is_told_in_how_many_the_map_is_better(curves):
    turned = curves.deletion_auc.copy()
    turned[1] = 1 - turned[1]
    sentences = conclusions(replace(curves, deletion_auc=turned))
    how = "Better than random and the centre in both curves"
    assert sentences[0].endswith(f". {how} in 1 of 2 images.")
    assert sentences[1].endswith(f". {how} in 0 of 2 images.")
    assert "pictures" not in conclusions(curves.of_image(0))[0]


def test_a_map_that_is_worse_in_every_picture_is_not_told_to_be_so_in_none():
    areas = {"bad": (0.8, 0.2), "centre": (0.5, 0.5)}
    (sentence,) = conclusions(curves_of(areas))
    assert sentence == (
        "bad: worse than random and the centre in both curves. "
        "Better than random and the centre in both curves in 0 of 2 images."
    )


def test_how_far_it_goes_is_told(curves):
    words = draw(curves.of_image(0)).texts[-2].get_text().replace("\n", " ")
    for each in (
        "Score: probability of 'cat'. All patches replaced: 0.000; all patches blurred: 0.000.",
        "Chance explains differences up to 0.048 in deletion and 0.048 in insertion (95 of 100 "
        "random orders). Grey band: five random orders.",
        "One image. The model was not trained on images with replaced or blurred patches.",
    ):
        assert each in words
    several = draw(curves)
    assert "mean over 2 images" in " ".join(text.get_text() for text in several.texts)
    assert "One image" not in several.texts[-2].get_text()
    assert "Score: probability of the class predicted" in several.texts[-2].get_text()


@pytest.mark.parametrize(("height", "told"), [(0.04, True), (0.06, False)])
def test_nothing_follows_where_the_score_hardly_moves(curves, height, told):
    still = {name: 1 - height * getattr(curves, name) for name in ("deletion", "insertion")}
    words = conclusions(replace(curves, **still))
    nothing = ["The score changes by only 4% of its maximum: no conclusion for any map."]
    assert (words == nothing) == told
    assert len(words) == (1 if told else 2)


def test_the_axis_names_what_is_measured(curves):
    headless = replace(curves, score="cosine similarity to something", targets=("", ""))
    for result, unit in ((curves, "Probability"), (headless, "Cosine similarity")):
        assert draw(result).axes[0].get_ylabel() == unit
        assert plot(result).layout.yaxis.title.text == unit
    words = draw(headless.of_image(0)).texts[-2].get_text()
    assert words.startswith("Score: cosine similarity to something. All")


def test_small_probabilities_leave_room_for_the_name_of_their_axis(curves):
    small = {name: 0.003 * getattr(curves, name) for name in ("deletion", "insertion")}
    figure = draw(replace(curves, **small))
    figure.draw_without_rendering()
    first, second = (axes.get_tightbbox() for axes in figure.axes[:2])
    assert first.x0 > 0
    assert not first.overlaps(second)


def test_the_axis_holds_every_curve(curves):
    low = replace(curves, deletion=curves.deletion - 0.5)
    assert limits_of(curves) == (0, 1.05)
    assert limits_of(low)[0] == pytest.approx(-0.525)


@pytest.mark.parametrize(
    ("correlation", "words"),
    [
        (0.7, "is nearly the same: it depends on the image or on the architecture"),
        (0.31, "is partly the same"),
        (0.3, "is different: it seems to depend on what was learned"),
        (-0.3, "is different: it seems to depend on what was learned"),
        (-0.31, "is partly the same, in reverse order: that part depends on the image or"),
        (-0.9, "is nearly the same, in reverse order: it depends on the image or on the arch"),
        (float("nan"), "there is no order of patches to compare"),
    ],
)
def test_the_rank_correlation_is_told_in_words(correlation, words):
    assert words in control_words(correlation)


@pytest.mark.parametrize(("width_in", "columns", "below"), [(3.25, 1, 1), (5.5, 2, 1), (6.9, 1, 0)])
def test_the_table_is_below_the_curves_on_a_narrow_sheet(curves, width_in, columns, below):
    sheet = draw(curves, width_in=width_in)
    sheet.draw_without_rendering()
    charts, samples = sheet.axes[:2], sheet.axes[2:]
    assert len({round(each.get_position().x0, 3) for each in samples}) == columns
    last = max(each.get_position().y1 for each in samples)
    assert (last < min(each.get_tightbbox().y0 for each in charts) / sheet.bbox.height) == below
    assert not charts[0].get_tightbbox().overlaps(charts[1].get_tightbbox())
