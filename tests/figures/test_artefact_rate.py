"""Does each dot show how many pictures of a survey have artefacts in its layer, and how many?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import vit_inspect as vi
from tests.helpers.printed import check_sheet
from tests.helpers.records import Size, all_made, made


@pytest.fixture
def result() -> vi.ArtefactRate:
    return made(vi.ArtefactRate, Size(layers=4))


def test_print_and_screen_show_these_rates(result: vi.ArtefactRate) -> None:
    upper, lower = vi.draw(result).axes
    for axes, values in ((upper, [0, 0.3, 0.6, 0.9]), (lower, [0, 1.7, 3.4, 5.1])):
        np.testing.assert_allclose(axes.lines[0].get_xydata(), np.stack([range(4), values], 1))
        assert axes.get_ylim()[1] > max(values)
    screen = vi.plot(result)
    np.testing.assert_allclose(screen.data[0].y, [0, 0.3, 0.6, 0.9])
    np.testing.assert_allclose(screen.data[1].y, [0, 1.7, 3.4, 5.1])
    assert screen.data[1].text[2] == (
        "<b>Layer 2</b><br>60.0% of the pictures have artefacts<br>3.4 per picture, at most 8"
    )
    assert screen.layout.meta[1:] == (
        "2,000 pictures of crops, 6 patches in each.",
        "Most in layer 3: 90.0% of the pictures.",
    )
    few = vi.plot(replace(result, share=result.share / 1000))
    assert few.layout.yaxis.range[1] < 1e-3


def test_none_are_told_as_none() -> None:
    assert vi.plot(all_made(vi.ArtefactRate)[1]).layout.meta[2] == "No artefact in any layer."


@pytest.mark.parametrize(("layers", "width_in"), [(1, 3.25), (3, 3.25), (48, 3.25), (12, 6.9)])
def test_nothing_is_cut_or_overlaps(layers: int, width_in: float) -> None:
    for result in all_made(vi.ArtefactRate, Size(layers=layers)):
        check_sheet(vi.draw(result, width_in=width_in))
