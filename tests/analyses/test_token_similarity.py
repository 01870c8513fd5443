"""Is it the cosine of two tokens, of the patches that were asked for?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.helpers.held import holding
from vit_inspect.analyses.token_similarity import similarities
from vit_inspect.recording.recorder import Capture

GRID = (3, 4)


@pytest.fixture
def tokens(random: np.random.Generator) -> np.ndarray:
    """Of two images; patch (2, 3) of the second is three times patch (0, 1) of the first."""
    made = random.normal(size=(2, 12, 5))
    made[1, 11] = 3 * made[0, 1]
    made[0, 6] = -made[0, 1]
    return made


@pytest.fixture
def capture(tokens: np.ndarray) -> Capture:
    return holding(tokens, grid=GRID)


def test_equals_the_cosine_of_every_pair(capture: Capture, tokens: np.ndarray) -> None:
    found = vi.token_similarity(capture, patch=(1, 2), image=1)
    chosen = tokens[1, 6]
    for image, row, column in np.ndindex(2, *GRID):
        token = tokens[image, row * 4 + column]
        wanted = token @ chosen / np.linalg.norm(token) / np.linalg.norm(chosen)
        assert found.similarity[image, row, column] == pytest.approx(wanted, abs=1e-12)
    assert found.origins == (capture.photographs[1],) * 2
    assert found.photographs == capture.photographs


def test_planted_duplicates_are_found_in_every_image(capture: Capture) -> None:
    found = vi.token_similarity(capture, patch=(0, 1), image=0).similarity
    assert found[0, 0, 1] == pytest.approx(1, abs=1e-12)
    assert found[1, 2, 3] == pytest.approx(1, abs=1e-12)
    assert found[0, 1, 2] == pytest.approx(-1, abs=1e-12)
    assert (np.abs(found) > 0.999999).sum() == 3
    assert np.abs(found).max() <= 1


def test_symmetric(capture: Capture) -> None:
    one = vi.token_similarity(capture, patch=(0, 1), image=0).similarity[1, 2, 2]
    other = vi.token_similarity(capture, patch=(2, 2), image=1).similarity[0, 0, 1]
    assert one == pytest.approx(other, abs=1e-12)


def test_each_image_is_compared_with_its_own_patch_unless_one_is_named(capture: Capture) -> None:
    found = vi.token_similarity(capture)
    assert found.patch == (1, 2)
    np.testing.assert_allclose(found.similarity[:, 1, 2], 1, rtol=1e-12)
    assert found.origins == capture.photographs
    alone = found.of_image(1)
    assert alone.origins == alone.photographs == capture.photographs[1:]
    np.testing.assert_array_equal(alone.similarity[0], found.similarity[1])


def test_of_one_image_of_a_batch_stays_whose_patch_it_was(capture: Capture) -> None:
    alone = vi.token_similarity(capture, image=0).of_image(1)
    assert alone.photographs == capture.photographs[1:]
    assert alone.origins == capture.photographs[:1]


def test_a_token_of_zeros_is_similar_to_none(tokens: np.ndarray) -> None:
    tokens[0, 3] = 0
    found = vi.token_similarity(holding(tokens[:1], grid=GRID), patch=(0, 3), image=None)
    np.testing.assert_array_equal(found.similarity, 0)


@pytest.mark.parametrize("width", [33, 100, 384])
def test_rounding_takes_no_value_beyond_one(random: np.random.Generator, width: int) -> None:
    """The same direction in many lengths."""
    made = random.normal(size=(4, 1, width)) * random.uniform(0.1, 9, (4, 400, 1))
    for kind in (np.float32, np.float64):
        found = vi.token_similarity(holding(made.astype(kind), grid=(20, 20))).similarity
        assert found.max() <= 1
        assert found.min() > 0.999999


def test_half_precision_is_compared_in_a_wider_type(capture: Capture) -> None:
    half = replace(capture, tokens=(capture.tokens[0].to(torch.bfloat16),))
    wide = replace(capture, tokens=(half.tokens[0].double(),))
    np.testing.assert_allclose(
        vi.token_similarity(half).similarity, vi.token_similarity(wide).similarity, atol=1e-6
    )


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"image": 2}, r"the image 2; expected an image of 0\.\.1"),
        ({"image": -1}, "the image -1"),
        ({"patch": (3, 0)}, r"the patch \(3, 0\); expected a row of 0\.\.2"),
        ({"layer": 1}, r"the layer 1; expected a layer of 0\.\.0"),
        ({"patch": "cls"}, r"the token 'cls'; expected a patch as \(row, column\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_not_there_is_refused(
    capture: Capture, parameters: dict[str, object], words: str
) -> None:
    with pytest.raises(vi.BadParameter, match=words):
        vi.token_similarity(capture, **parameters)  # type: ignore[arg-type]


def test_many_patches_at_once_are_as_each_alone(capture: Capture) -> None:
    patches = list(np.ndindex(GRID))
    found = similarities(capture, patches)
    assert found.shape == (2, 12, *GRID)
    for index, patch in enumerate(patches):
        alone = vi.token_similarity(capture, patch=patch).similarity
        np.testing.assert_allclose(found[:, index], alone, atol=1e-6)


def test_some_patches_are_in_the_order_in_which_they_were_asked(capture: Capture) -> None:
    found = similarities(capture, [(2, 3), (0, 1)], layer=0)
    for index, patch in enumerate([(2, 3), (0, 1)]):
        alone = vi.token_similarity(capture, patch=patch, layer=0).similarity
        np.testing.assert_allclose(found[:, index], alone, atol=1e-6)
    assert np.abs(found).max() <= 1
    with pytest.raises(vi.BadParameter):
        similarities(capture, [(3, 0)])


def test_similarities_are_those_of_the_layer_that_is_asked_for(tokens: np.ndarray) -> None:
    layers = holding(tokens, tokens[:, ::-1].copy(), grid=GRID)
    layers = replace(layers, model=replace(layers.model, blocks=layers.model.blocks * 2))
    each = [similarities(layers, [(0, 1)], layer=layer) for layer in (0, 1)]
    for layer, found in enumerate(each):
        alone = vi.token_similarity(layers, patch=(0, 1), layer=layer).similarity
        np.testing.assert_allclose(found[:, 0], alone, atol=1e-6)
    np.testing.assert_array_equal(similarities(layers, [(0, 1)]), each[1])
    assert np.abs(each[0] - each[1]).max() > 0.1


def test_a_token_of_zeros_is_like_none() -> None:
    tokens = np.ones((1, 12, 5))
    tokens[0, 3] = 0
    found = similarities(holding(tokens, grid=GRID), [(0, 3), (0, 0)])
    assert not found[0, 0].any()
    assert found[0, 1, 0, 3] == 0
    assert found[0, 1, 1, 1] == pytest.approx(1)
