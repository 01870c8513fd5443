"""Is CKA Song's unbiased estimate over minibatches, of the same places of the same photographs?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.held import WHOLE, holding, photograph
from tests.helpers.made import layout_of
from vit_inspect.analyses.layer_cka import same_places
from vit_inspect.layout import Box
from vit_inspect.records.base import join

Grid = tuple[int, int]


def hsic(one: np.ndarray, other: np.ndarray) -> float:
    """Song et al. (2012), equation 5, on explicit Gram matrices."""
    count = len(one)
    left, right = one @ one.T, other @ other.T
    np.fill_diagonal(left, 0)
    np.fill_diagonal(right, 0)
    ones = np.ones(count)
    total = np.trace(left @ right)
    total += (ones @ left @ ones) * (ones @ right @ ones) / ((count - 1) * (count - 2))
    total -= 2 / (count - 2) * (ones @ left @ right @ ones)
    return float(total / (count * (count - 3)))


def cka(first: np.ndarray, second: np.ndarray) -> float:
    """Nguyen et al. (2020), equation 3, of (image, patch, width)."""
    cross, own, other = (
        np.mean([hsic(a, b) for a, b in zip(left, right, strict=True)])
        for left, right in ((first, second), (first, first), (second, second))
    )
    return float(cross / np.sqrt(own * other))


def test_equals_the_plain_formula(random: np.random.Generator) -> None:
    layers = [random.normal(size=(3, 20, 4)) + 2 for _ in range(3)]
    layers[1] += layers[0]
    found = vi.layer_cka(holding(*layers))
    assert found.samples.tolist() == [20] * 3
    for i, j in np.ndindex(3, 3):
        for image in range(3):
            wanted = hsic(layers[i][image], layers[j][image])
            assert found.hsic[image, i, j] == pytest.approx(wanted, abs=1e-10)
        assert found.similarity[i, j] == pytest.approx(cka(layers[i], layers[j]), abs=1e-10)
    assert 0.2 < found.similarity[0, 1] < 0.9


def test_two_models_are_compared_layer_by_layer(random: np.random.Generator) -> None:
    first = [random.normal(size=(2, 20, 4)) for _ in range(2)]
    second = [random.normal(size=(2, 20, 9)) for _ in range(3)]
    second[2][..., :4] += first[1]
    found = vi.cka(holding(*first), holding(*second))
    assert found.similarity.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        assert found.similarity[i, j] == pytest.approx(cka(first[i], second[j]), abs=1e-10)


def test_itself_is_one_and_symmetric(random: np.random.Generator) -> None:
    found = vi.layer_cka(holding(*(random.normal(size=(2, 20, 4)) for _ in range(3)))).similarity
    np.testing.assert_allclose(np.diag(found), 1, rtol=1e-12)
    np.testing.assert_allclose(found, found.T, rtol=1e-12)
    assert found.max() <= 1 + 1e-12


def test_rotation_scale_and_shift_change_nothing(random: np.random.Generator) -> None:
    tokens = random.normal(size=(2, 20, 6))
    rotation, _ = np.linalg.qr(random.normal(size=(6, 6)))
    changed = 7 * tokens @ rotation + 1e8
    found = vi.cka(holding(tokens), holding(changed))
    assert found.similarity[0, 0] == pytest.approx(1, abs=1e-7)
    # A squeeze of one direction is no rotation.
    squeezed = vi.cka(holding(tokens), holding(tokens * [9, 1, 1, 1, 1, 1]))
    assert squeezed.similarity[0, 0] < 0.9


def test_unrelated_layers_are_near_zero_on_either_side(random: np.random.Generator) -> None:
    """The biased estimate of these is 0.75."""
    pairs = [
        vi.cka(*(holding(random.normal(size=(4, 20, 64))) for _ in range(2))).similarity[0, 0]
        for _ in range(40)
    ]
    assert min(pairs) < 0 < max(pairs)
    assert abs(np.mean(pairs)) < 0.02


def test_records_of_single_images_join_to_the_record_of_all(random: np.random.Generator) -> None:
    layers = [random.normal(size=(3, 20, 4)) for _ in range(2)]
    layers[1][0] += layers[0][0]
    whole = vi.layer_cka(holding(*layers))
    joined = join([whole.of_image(image) for image in range(3)])
    np.testing.assert_array_equal(joined.similarity, whole.similarity)
    # Which the mean of the images' own CKA is not.
    means = np.mean([whole.of_image(image).similarity for image in range(3)], axis=0)
    assert np.abs(means - whole.similarity).max() > 0.01


def centres(grid: Grid, seen: Box) -> np.ndarray:
    """Where each patch lies in the photograph, (image, patch, axis)."""
    down = seen.top + (np.arange(grid[0]) + 0.5) * (seen.bottom - seen.top) / grid[0]
    across = seen.left + (np.arange(grid[1]) + 0.5) * (seen.right - seen.left) / grid[1]
    return np.stack(np.meshgrid(down, across, indexing="ij"), axis=-1).reshape(1, -1, 2)


@pytest.mark.parametrize(
    ("grid", "seen", "samples"),
    [
        ((4, 5), WHOLE, 20),
        ((8, 10), WHOLE, 20),
        ((9, 7), WHOLE, 20),
        ((3, 11), WHOLE, 15),
        ((4, 5), Box(15, 10, 45, 30), 4),
        ((37, 37), Box(-10, -10, 70, 50), 20),
    ],
)
def test_models_of_other_grids_and_crops_are_compared_at_the_same_places(
    grid: Grid, seen: Box, samples: int
) -> None:
    subjects = ((4, 5), WHOLE), (grid, seen)
    for (one, first), (other, second) in (subjects, subjects[::-1]):
        chosen = same_places(
            photograph(0, first).picture_px,
            (layout_of("cls", grid=one), first),
            (layout_of("cls", grid=other), second),
        )
        assert [len(set(each.tolist())) for each in chosen] == [samples] * 2
        apart = centres(one, first)[0, chosen[0]] - centres(other, second)[0, chosen[1]]
        # Two patches that hold the same point are no farther from each other than that.
        for axis, (low, high) in enumerate((("top", "bottom"), ("left", "right"))):
            sizes = [
                (getattr(box, high) - getattr(box, low)) / count[axis]
                for count, box in ((one, first), (other, second))
            ]
            assert np.abs(apart[:, axis]).max() <= sum(sizes) / 2 + 1e-9
        found = vi.cka(
            holding(centres(one, first), grid=one, seen=first),
            holding(centres(other, second), grid=other, seen=second),
        )
        assert found.samples.tolist() == [samples]
        assert found.similarity[0, 0] > 0.8


def test_a_large_grid_is_sampled_evenly(random: np.random.Generator) -> None:
    place = centres((40, 24), WHOLE)
    found = vi.layer_cka(holding(place, grid=(40, 24)))
    assert found.samples.tolist() == [256]
    spread = centres((16, 16), WHOLE)[0]
    assert found.self_hsic[0, 0] == pytest.approx(hsic(spread, spread), rel=0.05)


def test_a_layer_of_equal_tokens_is_like_none(random: np.random.Generator) -> None:
    found = vi.layer_cka(holding(np.ones((1, 20, 4)), random.normal(size=(1, 20, 4))))
    np.testing.assert_allclose(found.similarity, [[0, 0], [0, 1]], atol=1e-12)


def test_models_that_crop_differently_are_compared(small: Callable[..., vi.Model]) -> None:
    image = noise((90, 60), 1)
    first, second = (
        vi.capture(small(name, size), image)
        for name, size in (("vit_tiny_patch16_224", (64, 96)), ("vit_small_patch14_dinov2", 84))
    )
    assert first.photographs[0].seen != second.photographs[0].seen
    found = vi.cka(first, second)
    assert (found.model, found.other_model) == (first.model.id, second.model.id)
    assert 4 <= found.samples[0] <= 24


def test_few_places_are_refused() -> None:
    with pytest.raises(vi.BadParameter, match="1 × 3 patches to compare; expected at least 4"):
        vi.layer_cka(holding(np.ones((1, 3, 2)), grid=(1, 3)))


def test_different_photographs_are_refused(random: np.random.Generator) -> None:
    capture = holding(random.normal(size=(2, 20, 4)))
    for others in ((photograph(0), photograph(5)), (photograph(0),), (photograph(1), photograph())):
        other = replace(capture, photographs=others)
        with pytest.raises(vi.BadParameter, match=r"different photographs \(0.png, 1.png and"):
            vi.cka(capture, other)


def test_a_model_without_rows_of_tokens_is_refused(random: np.random.Generator) -> None:
    capture = holding(random.normal(size=(1, 20, 4)))
    with pytest.raises(vi.UnsupportedModel, match="do not return one row for each token"):
        vi.cka(capture, replace(capture, tokens=()))
