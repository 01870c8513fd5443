"""Does one map have the scale that is told, in print as on screens?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tests.helpers.printed import check_sheet, words
from vit_inspect.errors import BadParameter
from vit_inspect.figures.patch_map import draw, plot
from vit_inspect.layout import Box, Region
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import PatchMap

pytestmark = pytest.mark.slow


def bar_of(figure: Figure) -> tuple[tuple[float, float], list[str]]:
    """The ends of the colour bar, and the labels of its ticks."""
    bar = figure.axes[-1]
    return bar.get_xlim(), [label.get_text() for label in bar.get_xticklabels()]


def test_a_scale_goes_from_0_to_a_percentile_of_the_map(single: PatchMap) -> None:
    assert single.values.min() < 0
    end = np.percentile(single.values[0], 75)
    shown = plot(single, clip=75.0).data[0]
    np.testing.assert_allclose(shown.z, single.values[0], rtol=1e-6)
    assert (shown.zmin, shown.zmax) == (0, pytest.approx(end))
    ends, labels = bar_of(draw(single, clip=75.0))
    assert ends == (0, pytest.approx(end))
    assert labels == ["0", f"{end / 2:.3g}", f"≥ {end:.3g}"]
    assert list(plot(single, clip=75.0).data[1].marker.colorbar.ticktext) == labels


def test_it_may_start_at_the_least_value(single: PatchMap) -> None:
    above = replace(single, values=single.values + 2)
    least = float(above.values.min())
    assert plot(above, from_least=True).data[0].zmin == pytest.approx(least)
    assert bar_of(draw(above, from_least=True))[0][0] == pytest.approx(least)


def test_a_given_scale_is_taken_as_it_is(single: PatchMap) -> None:
    assert bar_of(draw(single, limits=(0.0, 9.0))) == ((0, 9), ["0", "4.5", "9"])
    told = plot(single, limits=(0.0, 9.0)).layout.meta[1]
    assert told == "Largest value 4. Colours end at 9, on a given scale."
    told = plot(single, limits=(0.0, 0.5)).layout.meta[1]
    assert told.startswith("Largest value 4, 8 × the end of the scale. Colours end at 0.5,")


def test_heat_on_grey_has_no_colours_but_those_of_values(single: PatchMap) -> None:
    assert np.ptp(single.photographs[0].pixels, axis=2).max() > 50
    none = replace(single, values=np.zeros_like(single.values))

    def pixels(result: PatchMap, look: str) -> np.ndarray:
        return np.asarray(draw(result, look=look, limits=(0.0, 4.0)).axes[0].images[0].get_array())

    grey = pixels(none, "heat on grey")
    assert np.ptp(grey, axis=2).max() == 0
    weighted = pixels(none, "heat") @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[..., 0] - weighted).max() <= 1
    # The colours are those of the values.
    assert np.ptp(pixels(single, "heat on grey"), axis=2).max() > 50


def test_an_even_map_has_a_picture_too(single: PatchMap) -> None:
    even = replace(single, values=single.values * 0 + 2)
    assert plot(even, from_least=True).layout.meta[1] == "Largest value 2."
    assert plot(replace(single, values=single.values * 0 - 1)).layout.meta[1] == "Largest value −1."


def test_it_tells_the_model_the_map_and_where_colours_end(single: PatchMap) -> None:
    end = f"{np.percentile(single.values[0], 95):.3g}"
    told = f"Largest weight 4. Colours end at {end}, percentile 95 of the map."
    assert plot(single, clip=95.0, unit="weight").layout.meta[:2] == ("toy: rollout", told)
    drawn = [text.get_text() for text in draw(single, clip=95.0, unit="weight").texts]
    assert drawn[0] == "toy: rollout"
    assert " ".join(drawn[1].split()) == told


def test_patches_and_regions_are_outlined(single: PatchMap) -> None:
    outlined, boxes = [(1, 0), Region(0, 1, 1, 1)], [(0, 1, 1, 2), (1, 0, 2, 2)]
    edge, line = plot(single, outlined=outlined).layout.shapes
    assert edge.path == line.path == "M0,1H1V2H0ZM1,0H2V2H1Z"
    assert edge.line.width > line.line.width
    around = [
        (*each.get_xy(), each.get_xy()[0] + each.get_width(), each.get_xy()[1] + each.get_height())
        for each in draw(single, outlined=outlined).axes[0].patches
        if isinstance(each, Rectangle)
    ]
    # The edges of all lie below the lines of all.
    assert around == boxes * 2
    assert not draw(single).axes[0].patches
    assert not plot(single).layout.shapes


def test_a_unit_from_a_stranger_is_read_as_it_is_and_fits(single: PatchMap) -> None:
    long = "$\\nonsense$ of something that takes more room than the width of a narrow column has"
    drawn = draw(single, unit=long, width_in=3.25)
    check_sheet(drawn)
    assert long in [text.get_text().replace("\n", " ") for text in words(drawn)]


@pytest.mark.parametrize("show", [draw, plot])
@pytest.mark.parametrize(
    ("outlined", "told"),
    [
        ([(2, 0)], r"the patch \(2, 0\); expected a row of 0\.\.1 and a column of 0\.\.2"),
        ([(0, -1)], r"the patch \(0, -1\)"),
        ([Region(0, 0, 2, 1)], r"the patch \(2, 1\)"),
        ([Region(1, 1, 0, 0)], r"the region \(1, 1, 0, 0\)"),
        ([(1,)], r"\(1,\); expected the name of a special token, or a patch as \(row, column\)"),
        ((1, 0), r"type int as outlined; expected patches \(row, column\), and regions, in a list"),
        ("a", "type str as outlined"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_patch_is_not_outlined(
    single: PatchMap, show: Callable[..., object], outlined: object, told: str
) -> None:
    with pytest.raises(BadParameter, match=told):
        show(single, outlined=outlined)


def test_an_upright_map_stands_in_the_middle_of_the_sheet(single: PatchMap) -> None:
    upright = Photograph(
        "upright.png", np.zeros((60, 20, 3), np.uint8), (60, 20), Box(0, 0, 20, 60)
    )
    sheet = draw(replace(single, photographs=(upright,) * 2), width_in=6.9)
    for axes in sheet.axes:
        place = axes.get_position()
        assert place.x0 + place.x1 == pytest.approx(1)
    assert sheet.axes[0].get_position().width < 0.5
