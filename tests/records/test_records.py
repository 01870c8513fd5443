"""Are records safe to cache and share, and do they say what their axes are?"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import capture_of, layout_of, peaked
from tests.helpers.records import made
from vit_inspect.records.base import join
from vit_inspect.records.evidence import PatchMap, PatchMaps
from vit_inspect.records.paper import AttentionDistance, AttentionMaps


@pytest.fixture
def attention() -> np.ndarray:
    """Two layers of three images, four heads, one prefix token and 2 × 3 patches."""
    return peaked(np.random.default_rng(0), 2, 3, 4, 7, 7)


@pytest.fixture
def distance(attention: np.ndarray) -> AttentionDistance:
    return vi.attention_distance(capture_of(attention, layout_of("cls")))


def test_arrays_cannot_be_changed(distance: AttentionDistance) -> None:
    with pytest.raises(ValueError, match="read-only"):
        distance.distance_px[0] = 0


@pytest.mark.parametrize("copied", [deepcopy, lambda record: pickle.loads(pickle.dumps(record))])
def test_arrays_of_a_copy_cannot_be_changed(
    copied: Callable[[AttentionMaps], AttentionMaps],
) -> None:
    record = made(AttentionMaps)
    copy = copied(record)
    np.testing.assert_array_equal(copy.weights, record.weights)
    for array in (copy.weights, copy.photographs[0].pixels):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0


def test_axes_name_every_dimension(distance: AttentionDistance) -> None:
    assert distance.axes() == {
        "distance_px": ("image", "layer", "head"),
        "prefix_mass": ("image", "layer", "head"),
    }
    arrays = distance.arrays()
    assert {name: len(axes) for name, axes in distance.axes().items()} == {
        name: array.ndim for name, array in arrays.items()
    }


def test_batches_join_to_the_record_of_all(
    attention: np.ndarray, distance: AttentionDistance
) -> None:
    layout = layout_of("cls")
    parts = [
        vi.attention_distance(capture_of(attention[:, chosen], layout))
        for chosen in (slice(0, 1), slice(1, 3))
    ]
    joined = join(parts)
    np.testing.assert_allclose(joined.distance_px, distance.distance_px, rtol=1e-12)
    np.testing.assert_allclose(joined.prefix_mass, distance.prefix_mass, rtol=1e-12)
    assert joined.layout == layout


def test_one_image_of_a_batch_is_what_it_gives_alone(
    attention: np.ndarray, distance: AttentionDistance
) -> None:
    alone = vi.attention_distance(capture_of(attention[:, 1:2], layout_of("cls")))
    np.testing.assert_allclose(distance.of_image(1).distance_px, alone.distance_px, rtol=1e-12)
    np.testing.assert_allclose(distance.of_image(1).prefix_mass, alone.prefix_mass, rtol=1e-12)


def test_one_image_of_a_batch_keeps_its_own_photograph(chelsea: Image.Image) -> None:
    model = vi.load("vit_tiny_patch16_224", img_size=32, pretrained=False, device="cpu")
    maps = vi.attention_maps(vi.capture(model, [noise((40, 60), 0), chelsea]))
    alone = maps.of_image(1)
    assert [each.name for each in alone.photographs] == ["chelsea.png"]
    np.testing.assert_array_equal(alone.weights, maps.weights[[1]])


def test_joined_batches_keep_the_words_of_every_image() -> None:
    model = vi.load("vit_tiny_patch16_224", img_size=32, pretrained=False, device="cpu")
    images = [noise((40, 60), seed) for seed in range(3)]
    whole = vi.faithfulness(vi.capture(model, images), steps=2)
    joined = join([vi.faithfulness(vi.capture(model, each), steps=2) for each in images])
    assert len(set(whole.targets)) > 1
    assert joined.targets == whole.targets
    assert [each.sha256 for each in joined.photographs] == [
        each.sha256 for each in whole.photographs
    ]
    assert joined.words() == whole.words()


def test_words_hold_all_but_arrays_and_geometry() -> None:
    model = vi.load("vit_tiny_patch16_224", img_size=32, pretrained=False, device="cpu")
    found = vi.token_similarity(vi.capture(model, [noise((40, 60), 0)]), patch=(0, 1))
    assert found.words() == {
        "model": "vit_tiny_patch16_224",
        "photographs": (found.photographs[0].name,),
        "layer": 11,
        "state": found.state,
        "patch": (0, 1),
        "origins": (found.photographs[0].name,),
    }


ONE, MANY = made(PatchMap), made(PatchMaps)
WANTED_ONE = r"expected finite floats of shape (2, 2, 3) (photograph, row, column)"
WANTED = (
    "expected finite floats of shape (2, 3, 4, 2, 3) "
    "(photograph, row of maps, column of maps, row, column)"
)
WRONG_MAPS: dict[str, tuple[PatchMap | PatchMaps, dict[str, Any], str]] = {
    "transposed": (ONE, {"values": ONE.values.swapaxes(1, 2)}, f"shape (2, 3, 2); {WANTED_ONE}"),
    "no image": (ONE, {"values": ONE.values[0]}, f"values of shape (2, 3); {WANTED_ONE}"),
    "one value": (ONE, {"values": np.ones((1, 1))}, f"values of shape (1, 1); {WANTED_ONE}"),
    "NaN": (
        ONE,
        {"values": ONE.values * np.nan},
        f"values with infinite or NaN ones of shape (2, 2, 3); {WANTED_ONE}",
    ),
    "mask": (ONE, {"values": ONE.values > 1}, "values of type bool of shape (2, 2, 3)"),
    "list": (ONE, {"values": ONE.values.tolist()}, "type list as values; expected an array"),
    "a photograph fewer": (ONE, {"photographs": ONE.photographs[:1]}, "of shape (1, 2, 3)"),
    "no tuple": (ONE, {"photographs": ONE.photographs[0]}, "expected a list"),
    "a name fewer": (MANY, {"columns": ("0", "1", "mean")}, "shape (2, 3, 3, 2, 3)"),
    "maps transposed": (MANY, {"values": MANY.values.swapaxes(1, 2)}, WANTED),
    "numbers as names": (MANY, {"rows": (0, 1, 2)}, "int as the name of a row of maps"),
    "a single name": (MANY, {"columns": "head"}, "the names of each column of maps='head'"),
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("case", WRONG_MAPS)
def test_maps_made_by_hand_have_a_value_for_each_patch_and_a_name_for_each_map(case: str) -> None:
    record, wrong, told = WRONG_MAPS[case]
    with pytest.raises(vi.BadParameter) as refused:
        replace(record, **wrong)
    assert told in str(refused.value)
