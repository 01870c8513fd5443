"""Are axes and words of a sheet for print where they should be, whatever their length?"""

from __future__ import annotations

import itertools

import pytest

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
    axes.figure.canvas.draw()
    boxes = [each.get_window_extent() for each in axes.get_xticklabels() if each.get_text()]
    gaps = [right.x0 - left.x1 for left, right in itertools.pairwise(boxes)]
    assert min(gaps) > 0.02 * print_sheet.PRINT_DPI


def test_places_are_inches_from_the_top_left_corner():
    axes = print_sheet.place(print_sheet.page(4.0, 2.0), left=1.0, top=0.5, width=2.0, height=1.0)
    assert axes.get_position().bounds == pytest.approx((0.25, 0.25, 0.5, 0.5))


def test_names_from_strangers_are_no_formulas():
    axes = print_sheet.place(print_sheet.page(1.0, 1.0), left=0.0, top=0.0, width=1.0, height=1.0)
    print_sheet.label(axes, title="$\\nonsense")
    axes.figure.canvas.draw()
