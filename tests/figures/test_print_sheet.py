"""Are axes and words of a sheet for print where they should be, whatever their length?"""

from __future__ import annotations

import itertools

import pytest

from tests.helpers.printed import check_sheet
from vit_inspect.figures import print_sheet


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


@pytest.mark.parametrize(("count", "width", "step"), [(13, 3.9, 1), (64, 3.9, 3), (150, 3.9, 9)])
def test_tick_labels_never_overlap(count, width, step):
    labels = print_sheet.tick_labels(range(count), width / count)
    numbers = range(count)
    assert labels == [str(each) if each % step == 0 else "" for each in numbers]
    axes = print_sheet.place(print_sheet.page(5, 1), left=0.5, top=0.5, width=width, height=0.2)
    axes.set(xlim=(-0.5, count - 0.5), xticks=numbers, xticklabels=labels)
    axes.figure.draw_without_rendering()
    boxes = [each.get_window_extent() for each in axes.get_xticklabels() if each.get_text()]
    gaps = [right.x0 - left.x1 for left, right in itertools.pairwise(boxes)]
    assert min(gaps) > 0.02 * print_sheet.PRINT_DPI


def test_places_are_inches_from_the_top_left_corner():
    axes = print_sheet.place(print_sheet.page(4.0, 2.0), left=1.0, top=0.5, width=2.0, height=1.0)
    assert axes.get_position().bounds == pytest.approx((0.25, 0.25, 0.5, 0.5))


def test_a_panel_may_end_where_its_sheet_ends_and_no_further():
    # In floats this one ends 1e-15 in further.
    figure = print_sheet.page(4.6, 2.0)
    axes = print_sheet.place(figure, left=0.0, top=0.0, width=4.6, height=2.0)
    print_sheet.bare(axes)
    axes.set(xticks=[], yticks=[])
    check_sheet(figure)
    axes.set_position((0.0, 0.0, 1.001, 1.0))
    with pytest.raises(AssertionError):
        check_sheet(figure)


def test_names_from_strangers_are_no_formulas():
    place = {"left": 0.2, "top": 0.2, "width": 0.4, "height": 0.1}
    axes = print_sheet.place(print_sheet.page(1.0, 1.0), **place)
    print_sheet.label(axes, title="$\\nonsense$", x="$\\nonsense$", y="$\\nonsense$")
    axes.figure.draw_without_rendering()
    print_sheet.colour_bar(axes, "magma", (0, 1), name="$\\nonsense$", orientation="horizontal")
    axes.figure.draw_without_rendering()


def test_a_sheet_ends_with_the_words_at_its_foot():
    figure = print_sheet.page(3.25, 50)
    print_sheet.write_foot(figure, "long words " * 20 + "\nshort", top=1.5)
    figure.draw_without_rendering()
    box, height = figure.texts[0].get_window_extent(), figure.get_size_inches()[1]
    assert figure.texts[0].get_text().count("\n") > 2
    assert height - box.y1 / figure.dpi == pytest.approx(1.5)
    assert 0 < box.y0 / figure.dpi < 0.12


@pytest.mark.parametrize("proportion", [9.0, 1.0, 0.2])
@pytest.mark.parametrize("width_in", [3.0, 12.0])
def test_the_names_of_a_map_stay_on_its_sheet_and_off_its_other_words(proportion, width_in):
    figure, axes, bar = print_sheet.map_sheet(width_in, proportion)
    print_sheet.label(axes, x="Input patch column", y="Layer of organisation…s_on_and_on")
    print_sheet.similarity_bar(bar, "Cosine similarity")
    title = "a title that is much longer than " + 5 * "a sheet for a single map is wide "
    print_sheet.end_map_sheet(figure, title, "words about it")
    assert figure.get_size_inches()[0] == width_in
    assert figure.get_size_inches()[1] <= 9.2
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height
    caption, heading = (text.get_window_extent() for text in figure.texts)
    assert not caption.overlaps(axes.get_tightbbox())
    assert not heading.overlaps(axes.get_tightbbox())
    middle = (axes.get_window_extent().x0 + axes.get_window_extent().x1) / 2
    assert (heading.x0 + heading.x1) / 2 == pytest.approx(middle, abs=2)
    # Its lines are as long as the sheet is wide there.
    assert heading.width > 0.6 * figure.bbox.width
