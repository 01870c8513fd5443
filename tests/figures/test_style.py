from __future__ import annotations

import matplotlib
import numpy as np
import pytest

from vit_inspect.figures import looks, print_sheet, screen_sheet


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


def test_a_sheet_grows_by_the_lines_that_are_broken_and_nothing_else_moves_on_it():
    figure = print_sheet.page(2.0, 2.0)
    above = print_sheet.place(figure, left=0.2, top=0.1, width=1.0, height=0.3)
    below = print_sheet.place(figure, left=0.2, top=1.0, width=1.0, height=0.5)
    print_sheet.write(figure, "low", left=0.1, top=1.7)
    text = "many words that have no room in a single line of this small sheet"
    written = print_sheet.write(figure, text, left=0.1, top=0.5)
    assert written.get_text().replace("\n", " ") == text
    added = written.get_text().count("\n") * 1.4 * print_sheet.TEXT_PT / 72
    width, height = figure.get_size_inches()
    assert (width, height) == (2, pytest.approx(2 + added))
    assert added > 0
    for axes, top, tall in ((above, 0.1, 0.3), (below, 1 + added, 0.5)):
        left, bottom, wide, high = axes.get_position().bounds
        assert (left * 2, wide * 2, high * height) == pytest.approx((0.2, 1, tall))
        assert (1 - bottom - high) * height == pytest.approx(top)
    tops = [(1 - each.get_position()[1]) * height for each in figure.texts]
    assert tops == pytest.approx([1.7 + added, 0.5])
    box = written.get_window_extent()
    assert box.x1 / print_sheet.PRINT_DPI <= 2
    assert (height - box.y0 / print_sheet.PRINT_DPI) < 1 + added


def test_a_figure_on_a_screen_grows_by_the_lines_that_are_broken():
    plain = screen_sheet.screen("a", "b", height=100)
    words = " ".join(["word"] * 40)
    grown = screen_sheet.screen(words, f"{words}\nb", height=100, width=400)
    heading, small = grown.layout.annotations[0].text.split("</span><br>")
    added = heading.count("<br>") + small.count("<br>")
    assert added > 5
    assert grown.layout.height == 100 + 20 * (added - 1)
    assert grown.layout.margin.t == plain.layout.margin.t + 20 * added
    assert list(grown.layout.meta) == [words, words, "b"]


def test_tick_labels_never_overlap():
    assert print_sheet.tick_labels(range(1, 5), 0.2) == ["1", "2", "3", "4"]
    assert print_sheet.tick_labels(range(1, 6), 0.08) == ["1", "", "3", "", "5"]


def test_places_are_inches_from_the_top_left_corner():
    axes = print_sheet.place(print_sheet.page(4.0, 2.0), left=1.0, top=0.5, width=2.0, height=1.0)
    assert axes.get_position().bounds == pytest.approx((0.25, 0.25, 0.5, 0.5))


def test_names_from_strangers_are_no_markup():
    figure = screen_sheet.screen("<b>a</b>", "x & y", height=100)
    assert "&lt;b&gt;a&lt;/b&gt;" in figure.layout.annotations[0].text
    assert "x &amp; y" in figure.layout.annotations[0].text
    axes = print_sheet.place(print_sheet.page(1.0, 1.0), left=0.0, top=0.0, width=1.0, height=1.0)
    print_sheet.label(axes, title="$\\nonsense")
    axes.figure.canvas.draw()


def test_a_dark_page_changes_ink_and_paper():
    figure = screen_sheet.theme(
        screen_sheet.screen("a", "b", height=100), ink="#eeeeee", paper="#111111"
    )
    assert figure.layout.font.color == "#eeeeee"
    assert figure.layout.paper_bgcolor == "#111111"
