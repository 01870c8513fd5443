"""Does each label's bar hold its pictures, and each dot the probability of their classes?"""

from __future__ import annotations

import numpy as np
import pytest

import vit_inspect as vi
from tests.helpers.printed import check_sheet
from tests.helpers.records import all_made, made
from vit_inspect.figures.chosen_classes import ROW_PX, rows
from vit_inspect.figures.looks import short
from vit_inspect.figures.narrow_sheet import narrow

LONG = "no class, of a long name that is more than most sheets have room for"
NAMES = ["ant", "a dog of a race with a long name", LONG, "(no label)"]


@pytest.fixture
def result() -> vi.ChosenClasses:
    return made(vi.ChosenClasses)


def test_rows_are_the_labels_with_most_pictures(result: vi.ChosenClasses) -> None:
    found = rows(result)
    assert [row.name for row in found] == NAMES
    assert [(row.own, row.others) for row in found] == [(90, 10), (0, 20), (0, 6), (0, 4)]
    first = found[0]
    assert first.own_sure == result.confidence[1, 0]
    assert first.others_sure == pytest.approx(result.confidence[1, 1:] @ [0.6, 0.4])
    assert found[1].own_sure is None
    assert "100 pictures" in first.hover
    assert "90.0% with the class of this name" in first.hover
    assert "ant: 90<br>cat: 6" in first.hover
    assert "of this name" not in found[2].hover


def test_without_labels_rows_are_classes() -> None:
    found = rows(all_made(vi.ChosenClasses)[1])
    assert [row.others for row in found] == list(range(30, 10, -1))
    assert found[3].name == "class 3"
    assert not any(row.own for row in found)


def test_print_and_screen_show_these_rows(result: vi.ChosenClasses) -> None:
    bars, dots = vi.draw(result).axes
    assert [patch.get_width() for patch in bars.patches] == [90, 0, 0, 0, 10, 20, 6, 4]
    assert [patch.get_x() for patch in bars.patches[4:]] == [90, 0, 0, 0]
    own, others = (np.ma.filled(each.get_offsets(), np.nan)[:, 0] for each in dots.collections)
    np.testing.assert_allclose(own, [result.confidence[1, 0], *[np.nan] * 3])
    assert others[3] == pytest.approx(result.confidence[0] @ [0.75, 0, 0.25])
    screen = vi.plot(result)
    assert list(screen.data[0].x) == [90, 0, 0, 0]
    assert list(screen.data[1].x) == [result.confidence[1, 0]]
    assert list(screen.data[2].x) == [10, 20, 6, 4]
    # Rows keep their height below any number of words.
    drawn = screen.layout.height - screen.layout.margin.t - screen.layout.margin.b
    assert drawn == 4 * ROW_PX
    assert "75.0% were given this class" in " ".join(screen.layout.meta)
    # Below each other, as on a phone, each panel has the names of the rows.
    below = narrow(screen, 390).layout
    assert below.yaxis2.showticklabels
    assert below.yaxis2.ticktext == below.yaxis.ticktext == (*map(short, NAMES),)


def test_what_is_no_name_of_a_class_is_not_compared(result: vi.ChosenClasses) -> None:
    np.testing.assert_array_equal(result.correct, [np.nan, 0.9, 0, np.nan])


@pytest.mark.parametrize("width_in", [3.25, 6.9])
@pytest.mark.parametrize("number", [0, 1])
def test_nothing_is_cut_or_overlaps(number: int, width_in: float) -> None:
    check_sheet(vi.draw(all_made(vi.ChosenClasses)[number], width_in=width_in))
