"""Colours, names and the breaking of lines, which print and screen share."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from vit_inspect.figures import looks


@pytest.mark.parametrize("name", [looks.WEIGHT_MAP, looks.SIMILARITY_MAP])
def test_lightness_only_grows(name):
    colours = matplotlib.colormaps[name](np.linspace(0, 1, 64))[:, :3]
    linear = np.where(colours > 0.04045, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92)
    assert (np.diff(linear @ [0.2126, 0.7152, 0.0722]) > 0).all()


@pytest.mark.parametrize("name", [looks.DIFFERENCE_MAP, looks.BIAS_MAP])
def test_zero_is_neutral_and_both_signs_grow_away_from_it(name):
    colours = looks.colour(np.linspace(-1, 1, 65), name, (-1.0, 1.0))[:, :3].astype(float)
    saturation = np.ptp(colours, axis=1)
    assert saturation[32] < 4
    assert colours[32].min() > 240
    # Red against blue is what every kind of colour vision tells apart.
    assert (colours[:24, 2] > colours[:24, 0] + 40).all()
    assert (colours[41:, 0] > colours[41:, 2] + 40).all()
    lightness = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness[:32]) > 0).all()
    assert (np.diff(lightness[32:]) < 0).all()


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (12_345, "12,345"),
        (999_999, "999,999"),
        (1_000_000, "1 M"),
        (22_056_576, "22.1 M"),
        (86_567_656, "86.6 M"),
        (1_136_480_768, "1,136 M"),
    ],
)
def test_a_count_of_parameters_is_told_in_millions(count, told):
    assert looks.parameter_count(count) == told.replace(" ", "\u00a0")


def test_offsets_have_names():
    assert looks.offset_name(-2, 1) == "2 up, 1 right"
    assert looks.offset_name(1, -3) == "1 down, 3 left"
    assert looks.offset_name(0, -1) == "1 left"
    assert looks.offset_name(0, 0) == "the query itself"


def test_colours_stop_at_the_limits():
    low, inside, high, above = looks.colour(np.array([-1.0, 0.5, 1.0, 9.0]), "magma", (0.0, 1.0))
    assert np.array_equal(high, above)
    assert np.array_equal(low, looks.colour(np.array([0.0]), "magma", (0.0, 1.0))[0])
    assert not np.array_equal(low, inside)
    assert inside.dtype == np.uint8


def test_screen_and_print_have_the_same_colours():
    for stop, text in looks.colour_scale("viridis", 0.5):
        red, green, blue, _ = looks.colour(np.array(stop), "viridis", (0.0, 1.0))
        assert text == f"rgba({red},{green},{blue},0.5)"


def test_head_colours_are_the_papers_and_repeat_after_ten():
    assert looks.head_colour(0) == "#1f77b4"
    assert looks.head_colour(13) == looks.head_colour(3) == "#d62728"


def test_a_long_name_keeps_both_its_ends():
    assert looks.short("abcdefghij", 10) == "abcdefghij"
    assert looks.short("abcdefghij", 7) == "abc…hij"
    assert looks.short("abcdefghij", 6) == "abc…ij"
    assert looks.short("abcdefghij", 1) == "…"


def test_lines_are_broken_between_words_and_none_is_lost():
    def fits(line):
        return len(line) <= 12

    text = "a sentence of some words\nin two lines\n "
    folded = looks.fold(text, fits)
    assert folded == "a sentence\nof some\nwords\nin two lines\n "
    assert looks.fold("of a_name_that_is_too_long.png", fits) == "of\na_name…g.png"
    assert looks.fold("short enough", fits) == "short enough"


def test_a_name_of_thousands_of_letters_is_measured_a_few_times():
    measured = []

    def fits(word):
        measured.append(word)
        return len(word) <= 12

    assert looks.fitted("x" * 10_000, fits) == "xxxxxx…xxxxx"
    assert len(measured) < 20
    for most, shown in ((0, "…"), (1, "…"), (5, "ab…ef"), (6, "abcdef")):
        assert looks.fitted("abcdef", lambda word, most=most: len(word) <= most) == shown
