"""Is the share of a map in a box that of plain counting, and is a planted patch found?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import vit_inspect as vi
from tests.helpers.made import capture_of, layout_of, peaked
from tests.helpers.planted import PATCH_PX, Planted, planted
from vit_inspect.layout import Box
from vit_inspect.recording.recorder import Capture

LAYOUT = layout_of("cls", grid=(2, 3), patch_px=(4, 6))
SEEN = Box(10, 20, 70, 100)
"""What the model saw of each photograph: patches of 20 x 40 of its pixels."""


def seen(random: np.random.Generator, images: int = 2) -> Capture:
    tokens = LAYOUT.token_count
    capture = capture_of(peaked(random, 2, images, 2, tokens, tokens), LAYOUT)
    pixels = np.zeros((120, 90, 3), np.uint8)
    photographs = (vi.Photograph("own.jpg", pixels, (120, 90), SEEN),) * images
    return replace(capture, photographs=photographs)


def counted(values: np.ndarray, box: Box) -> tuple[float, float, float, float]:
    """Inside, area, hit and centres of one map by counting small squares of the photograph."""
    inside = whole = area = hits = hit = centres = 0.0
    for down in np.arange(SEEN.top, SEEN.bottom, 0.5) + 0.25:
        for right in np.arange(SEEN.left, SEEN.right, 0.5) + 0.25:
            value = max(values[int((down - 20) // 40), int((right - 10) // 20)], 0)
            within = box.top <= down < box.bottom and box.left <= right < box.right
            inside, whole, area = inside + value * within, whole + value, area + within
    for row in range(2):
        for column in range(3):
            down, right = 20 + 40 * (row + 0.5), 10 + 20 * (column + 0.5)
            within = box.top <= down < box.bottom and box.left <= right < box.right
            largest = values[row, column] == values.max()
            hits, hit, centres = hits + largest, hit + largest * within, centres + within
    return inside / whole, area / 120 / 160, hit / hits, centres / 6


@pytest.mark.parametrize(
    "box", [Box(15, 31, 44.5, 77), Box(0, 0, 31, 61), Box(20, 40, 20.5, 40.5), SEEN]
)
def test_it_is_what_counting_small_squares_gives(random: np.random.Generator, box: Box) -> None:
    capture = seen(random)
    maps = {
        "signed": random.normal(size=(2, 2, 3)),
        "tied": random.integers(0, 2, (2, 2, 3)).clip([[[1], [0]]]),
    }
    other = Box(11, 22, 33, 44)
    found = vi.localisation(capture, [box, other], maps=maps)
    assert found.maps[:3] == ("signed", "tied", "centre")
    assert found.boxes == (box, other)
    for image, each in enumerate(found.boxes):
        for place, values in enumerate(maps.values()):
            wanted = counted(values[image], each)
            told = found.inside[image, place], found.area[image]
            told += found.hit[image, place], found.centres[image]
            np.testing.assert_allclose(told, wanted, rtol=1e-12)


def test_what_takes_all_holds_all_and_two_halves_hold_it_together(
    random: np.random.Generator,
) -> None:
    capture = seen(random)
    maps = {"own": random.normal(size=(2, 2, 3))}
    whole = vi.localisation(capture, [SEEN, Box(0, 0, 1000, 1000)], maps=maps)
    for array in whole.arrays().values():
        np.testing.assert_allclose(array, 1)
    left, right = (
        vi.localisation(capture, [box, box], maps=maps)
        for box in (SEEN._replace(right=33.3), SEEN._replace(left=33.3))
    )
    for name, array in left.arrays().items():
        np.testing.assert_allclose(array + right.arrays()[name], 1, rtol=1e-12)


def test_an_even_map_holds_its_share_of_the_area_and_an_empty_one_none(
    random: np.random.Generator,
) -> None:
    maps = {"even": np.full((2, 2, 3), 0.3), "none": np.full((2, 2, 3), -0.3)}
    found = vi.localisation(seen(random), [(15, 31, 44, 77), SEEN], maps=maps)
    np.testing.assert_allclose(found.inside[:, 0], found.area, rtol=1e-12)
    np.testing.assert_allclose(found.hit[:, 0], found.centres, rtol=1e-12)
    assert np.isnan(found.inside[:, 1]).all()


@pytest.mark.slow
def test_relevance_lies_on_the_planted_patch_and_knows_its_class() -> None:
    found: Planted = planted()
    capture = vi.capture(found.model, found.image)
    row, column = (PATCH_PX * place for place in found.patch)
    box = (column, row, column + PATCH_PX, row + PATCH_PX)
    told = vi.localisation(capture, [box], target=found.class_index)
    inside = dict(zip(told.maps, told.inside[0], strict=True))
    assert inside["relevance"] > 0.99
    assert abs(inside["random 1"] - told.area[0]) < 0.05
    assert told.hit[0, told.maps.index("relevance")] == 1
    assert told.targets == (found.model.labels[found.class_index],)  # type: ignore[index]
    assert set(told.maps) >= {"rollout", "attention", "input × gradient", "Grad-CAM", "centre"}


@pytest.mark.parametrize(
    ("boxes", "word"),
    [
        ([SEEN, Box(80, 20, 90, 40)], "saw nothing"),
        ([SEEN], "photographs"),
        ([SEEN, (30, 20, 10, 100)], "order"),
        ([SEEN, (10, 20, 30)], "order"),
        ([SEEN, (0, 0, 10, 20)], "saw nothing"),
        ([SEEN, (float("nan"), 0, 10, 20)], "order"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(
    random: np.random.Generator, boxes: list[Box], word: str
) -> None:
    with pytest.raises(vi.BadParameter, match=word):
        vi.localisation(seen(random), boxes, maps={"own": np.ones((2, 2, 3))})
