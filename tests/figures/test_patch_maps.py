"""Is each of many maps the picture that it is alone, on the scale that is told?"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.figures.test_patch_map import bar_of
from tests.helpers.printed import check_sheet, words
from tests.helpers.records import Size, all_made, made
from vit_inspect.figures import lit, looks
from vit_inspect.figures.patch_maps import draw, plot
from vit_inspect.figures.print_sheet import PRINT_DPI, size_in
from vit_inspect.figures.screen_sheet import LETTER_EM, TEXT_PX
from vit_inspect.layout import Box
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import PatchMaps

NAMED = [each for each in all_made(PatchMaps) if 1 in each.values.shape[1:3]]


@pytest.mark.parametrize("maps", NAMED, ids=lambda each: each.kind)
@pytest.mark.parametrize(
    ("limits", "from_least"), [(None, False), (None, True), ((0.0, 2.0), False)]
)
def test_each_is_the_picture_of_its_map_below_its_name(
    maps: PatchMaps, limits: tuple[float, float] | None, from_least: bool
) -> None:
    look: dict[str, Any] = {"look": "spotlight", "edges": "blocks", "limits": limits}
    drawn = draw(maps, width_in=3.25, clip=95.0, from_least=from_least, **look)
    values = maps.values[0].reshape(-1, *maps.values.shape[-2:])
    *panels, _ = drawn.axes
    assert len(panels) == len(values)
    for panel, each in zip(panels, values, strict=True):
        picture = np.asarray(panel.images[0].get_array())[..., :3]
        wanted = lit.covered(
            maps.photographs[0],
            each,
            limits or looks.ends_of(each, 95.0, from_zero=not from_least),
            "spotlight",
            "blocks",
            long_side_px=max(picture.shape),
        )
        np.testing.assert_array_equal(picture, wanted)
    names = [panel.get_title(loc="left") for panel in panels]
    wanted_names = [f"From layer {layer}" for layer in maps.rows]
    assert names == (wanted_names if maps.kind == "rollout" else list(maps.columns))


@pytest.mark.parametrize("lit_one", [(0, 0), (1, 3), (2, 1)])
def test_maps_in_rows_and_columns_stand_in_their_places(lit_one: tuple[int, int]) -> None:
    maps = made(PatchMaps)
    values = np.zeros_like(maps.values)
    values[(0, *lit_one)] = 3.0
    drawn = draw(replace(maps, values=values), width_in=5.5, look="spotlight", limits=(0.0, 3.0))
    panel = drawn.axes[0]
    whole = np.asarray(panel.images[0].get_array())
    left, right, bottom, top = panel.images[0].get_extent()
    rows, columns = values.shape[1:3]
    light = np.zeros((rows, columns))
    for row, column in np.ndindex(rows, columns):
        down = [round((row + end - top) / (bottom - top) * whole.shape[0]) for end in (-0.3, 0.3)]
        across = [
            round((column + end - left) / (right - left) * whole.shape[1]) for end in (-0.3, 0.3)
        ]
        light[row, column] = whole[slice(*down), slice(*across), :3].mean()
    assert np.unravel_index(light.argmax(), light.shape) == lit_one
    assert np.sort(light, axis=None)[-2] < light.max() / 2
    assert [each.get_text() for each in panel.get_xticklabels()] == list(maps.columns)
    assert [each.get_text() for each in panel.get_yticklabels()] == list(maps.rows)


@pytest.mark.slow
@pytest.mark.parametrize("width_in", [3.25, 6.9])
def test_many_maps_fit_below_their_names(width_in: float) -> None:
    [maps] = (each for each in all_made(PatchMaps, Size(layers=24)) if each.kind == "rollout")
    drawn = draw(maps, width_in=width_in)
    check_sheet(drawn)
    assert drawn.get_size_inches()[1] <= 9.2
    across = {round(axes.get_position().x0, 3) for axes in drawn.axes[:-1]}
    assert len(across) == (3 if width_in == 3.25 else 5)


def seen_upright(maps: PatchMaps) -> PatchMaps:
    upright = Photograph(
        "upright.png", np.zeros((60, 20, 3), np.uint8), (60, 20), Box(0, 0, 20, 60)
    )
    return replace(maps, photographs=(upright,) * len(maps.photographs))


@pytest.mark.parametrize("maps", NAMED, ids=lambda each: each.kind)
def test_names_that_are_longer_than_their_maps_are_not_cut_off(maps: PatchMaps) -> None:
    drawn = draw(seen_upright(maps))
    check_sheet(drawn)
    assert drawn.get_size_inches()[0] < 4.5


@pytest.mark.parametrize(("layers", "heads", "width_in"), [(12, 3, 6.9), (24, 1, 12.0)])
def test_maps_in_rows_and_columns_have_the_pixels_that_their_print_shows(
    layers: int, heads: int, width_in: float
) -> None:
    maps = seen_upright(made(PatchMaps, Size(layers=layers, heads=heads)))
    panel = draw(maps, width_in=width_in).axes[0]
    pixels = np.asarray(panel.images[0].get_array()).shape[0]
    assert pixels / size_in(panel)[1] == pytest.approx(PRINT_DPI, rel=0.05)


FORMULA, LONG = "$\\nonsense$", "a name so long that nobody would ever print the whole of it"


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("width_in", [3.25, 6.9])
def test_names_and_units_from_strangers_are_read_as_they_are_and_lie_on_nothing(
    single: bool, width_in: float
) -> None:
    size = Size(layers=1 if single else 3, heads=1)
    maps = replace(
        made(PatchMaps, size),
        row_name=FORMULA,
        column_name=FORMULA,
        rows=(FORMULA, LONG, "2")[: size.layers],
        columns=(FORMULA, LONG, "2"),
    )
    drawn = draw(maps, width_in=width_in, unit=f"{FORMULA} of {LONG}, or of {LONG}")
    check_sheet(drawn)
    assert drawn.get_size_inches()[1] <= 9.2
    told = [text.get_text() for text in words(drawn)]
    assert told.count(FORMULA) == (1 if single else 4)
    assert looks.short(LONG) in told
    assert f"{FORMULA} of a name" in " ".join(told)


@pytest.mark.slow
def test_it_tells_whether_maps_share_a_scale() -> None:
    maps = made(PatchMaps)
    ends, labels = bar_of(draw(maps, from_least=True, clip=95.0))
    assert labels == ["least", "≥ percentile 95"]
    assert bar_of(draw(maps, clip=100.0))[1] == ["0", "largest"]
    ends, labels = bar_of(draw(maps, limits=(0.0, 2.0)))
    assert (ends, labels) == ((0, 2), ["0", "1", "≥ 2"])
    shown = plot(maps, limits=(0.0, 2.0), unit="weight")
    assert shown.data[-1].marker.colorbar.ticktext == ("0", "1", "≥ 2")
    own = plot(maps, clip=95.0).data[-1].marker.colorbar
    assert own.ticktext == ("0", "≥ percentile 95")
    assert shown.layout.meta[1] == "One scale for all maps, 0 to 2. Largest weight 3."
    far = plot(maps, limits=(0.0, 0.25), unit="weight")
    assert far.layout.meta[1].endswith("Largest weight 3, 12 × the end of the scale.")
    own = plot(maps, from_least=True)
    assert own.layout.meta[1].endswith("from its least value to its percentile 98.5.")


def test_numbers_of_layers_and_heads_stand_below_their_names() -> None:
    maps = made(PatchMaps)
    for width_in in (3.25, 6.9):
        panel = draw(maps, width_in=width_in).axes[0]
        assert (panel.get_xlabel(), panel.get_ylabel()) == ("Head", "Layer")
    screen = plot(maps).layout
    assert {"Head", "Layer"} <= {each.text for each in screen.annotations}
    # Numbers stand clear of the maps.
    assert min(screen.xaxis.ticklabelstandoff, screen.yaxis.ticklabelstandoff) > 0


def test_on_a_screen_each_map_says_which_it_is_and_its_ends() -> None:
    maps = made(PatchMaps)
    squares = plot(maps).data[0]
    places = [tuple(place) for place in squares.customdata]
    assert places == list(np.ndindex(maps.values.shape[1:3]))
    for place, told in zip(places, squares.text, strict=True):
        own = maps.values[0][place]
        assert told.endswith(f"least {own.min():.3g}, most {own.max():.3g}")
    names = [re.findall("<b>(.*)</b>", told)[0] for told in squares.text]
    assert names[:4] == ["Layer 0, Head 0", "Layer 0, Head 1", "Layer 0, mean", "Layer 0, max"]


@pytest.mark.slow
@pytest.mark.parametrize("layers", [2, 24, 48, 200])
@pytest.mark.parametrize("upright", [False, True])
def test_names_on_a_screen_lie_on_no_picture_and_on_no_other_name(
    layers: int, upright: bool
) -> None:
    [maps] = (each for each in all_made(PatchMaps, Size(layers=layers)) if each.kind == "rollout")
    shown = plot(seen_upright(maps) if upright else maps)
    image, names = shown.layout.images[0], shown.layout.annotations[1:]
    packed = base64.b64decode(image.source.removeprefix("data:image/png;base64,"))
    picture = np.asarray(Image.open(io.BytesIO(packed)))[..., 3] > 0
    # All that is beside the picture has 210 px.
    per_px = len(picture) / (shown.layout.height - 210)
    pitch = picture.shape[1] / image.sizex
    assert len(names) == layers
    for name in names:
        assert name.yanchor == "bottom"
        row, column = round((name.y - image.y) / image.sizey * len(picture)), name.x - image.x
        middle = round(column * pitch)
        half = len(name.text) * LETTER_EM * TEXT_PX * per_px / 2
        assert half <= pitch / 2
        behind = picture[:, max(0, round(middle - half)) : round(middle + half)]
        assert not behind[max(0, row - round(16 * per_px)) : row].any(), name.text
        assert picture[row + 1, middle], name.text


@pytest.mark.parametrize("single", [True, False])
def test_maps_as_high_as_the_page_stand_in_the_middle_of_a_given_width(single: bool) -> None:
    maps = made(PatchMaps, Size(layers=12, heads=1 if single else 3))
    drawn = draw(seen_upright(maps) if single else maps, width_in=6.9)
    drawn.set_dpi(100)
    boxes = [axes.get_tightbbox() for axes in drawn.axes[:-1]]
    left, right = min(box.x0 for box in boxes), 690 - max(box.x1 for box in boxes)
    assert left > 40
    assert left == pytest.approx(right, abs=30)
