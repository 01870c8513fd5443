"""Are the colours' numbers the principal components of the tokens, and comparable when said so?"""

from __future__ import annotations

import numpy as np
import pytest

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.held import holding
from tests.helpers.made import capture_of, layout_of, peaked

GRID = (4, 5)


def test_equals_the_svd_of_the_centred_tokens_up_to_sign(random: np.random.Generator) -> None:
    tokens = random.normal(size=(2, 20, 6)) * [5, 4, 3, 2, 1, 1] + 10
    found = vi.feature_pca(holding(tokens))
    for image in range(2):
        left, values, _ = np.linalg.svd(tokens[image] - tokens[image].mean(axis=0))
        wanted = (left[:, :3] * values[:3]).reshape(*GRID, 3)
        scores = found.components[image]
        signs = np.sign((scores * wanted).sum(axis=(0, 1)))
        np.testing.assert_allclose(scores, signs * wanted, atol=1e-9)
        share = values[:3] ** 2 / (values**2).sum()
        np.testing.assert_allclose(found.explained_variance_ratio[image], share, rtol=1e-9)


def test_planted_directions_are_found(random: np.random.Generator) -> None:
    scores = random.normal(size=(20, 3)) * [9, 3, 1]
    scores = np.linalg.qr(scores - scores.mean(axis=0))[0] * [9, 3, 1]
    directions, _ = np.linalg.qr(random.normal(size=(8, 3)))
    peaks = directions[np.abs(directions).argmax(axis=0), range(3)]
    directions *= np.sign(peaks)
    tokens = scores @ directions.T + random.normal(size=8)
    found = vi.feature_pca(holding(tokens[None]))
    np.testing.assert_allclose(found.components[0].reshape(20, 3), scores, atol=1e-9)
    np.testing.assert_allclose(found.explained_variance_ratio[0], np.array([81, 9, 1]) / 91)


def test_the_sign_does_not_depend_on_the_order_of_patches(random: np.random.Generator) -> None:
    tokens = random.normal(size=(1, 20, 6))
    order = random.permutation(20)
    found, mixed = (
        vi.feature_pca(holding(each)).components[0].reshape(20, 3)
        for each in (tokens, tokens[:, order])
    )
    np.testing.assert_allclose(mixed, found[order], atol=1e-9)


def test_a_common_basis_of_two_copies_is_the_single_one(random: np.random.Generator) -> None:
    tokens = random.normal(size=(1, 20, 6))
    alone = vi.feature_pca(holding(tokens))
    twice = vi.feature_pca(holding(tokens.repeat(2, axis=0)), basis="common")
    assert (alone.basis, twice.basis) == ("each", "common")
    for name in ("components", "ends", "explained_variance_ratio"):
        for image in range(2):
            np.testing.assert_allclose(
                twice.arrays()[name][image], alone.arrays()[name][0], atol=1e-9
            )


def test_a_common_basis_keeps_what_sets_images_apart(random: np.random.Generator) -> None:
    tokens = random.normal(size=(2, 20, 6))
    tokens[1] += 50
    common = vi.feature_pca(holding(tokens), basis="common")
    first, second = common.components[..., 0]
    assert abs(first.mean() - second.mean()) > 100
    assert np.sign(first).max() == -np.sign(second).max()
    np.testing.assert_array_equal(common.ends[0], common.ends[1])
    # One image of the batch keeps the ends of both, so that its colours stay.
    np.testing.assert_array_equal(common.of_image(1).ends[0], common.ends[0])
    each = vi.feature_pca(holding(tokens))
    np.testing.assert_allclose(each.components.mean(axis=(1, 2)), 0, atol=1e-9)
    assert (each.ends[0] != each.ends[1]).all()


def test_colours_end_at_percentiles_and_scores_do_not(random: np.random.Generator) -> None:
    tokens = random.normal(size=(1, 100, 6))
    tokens[0, 7] = 100
    found = vi.feature_pca(holding(tokens, grid=(10, 10)))
    scores = found.components[0].reshape(100, 3)
    np.testing.assert_array_equal(found.ends[0], np.sort(scores, axis=0)[[1, 97]].T)
    assert np.abs(scores[7, 0]) > 100
    assert np.abs(found.ends[0]).max() < 10


@pytest.mark.parametrize(("grid", "rank"), [((1, 1), 0), ((1, 2), 1), ((1, 3), 2)])
def test_directions_that_are_not_there_have_no_scores(
    grid: tuple[int, int], rank: int, random: np.random.Generator
) -> None:
    tokens = random.normal(size=(1, grid[0] * grid[1], 6)) + 1e3
    found = vi.feature_pca(holding(tokens, grid=grid))
    shares = found.explained_variance_ratio[0]
    assert (shares[:rank] > 0).all()
    assert not shares[rank:].any()
    assert not found.components[..., rank:].any()
    narrow = vi.feature_pca(holding(tokens[..., :2], grid=grid))
    assert narrow.components.shape == (1, *grid, 3)
    assert not narrow.components[..., 2].any()


def test_the_bundled_models_colours_are_of_normed_tokens_unless_another_depth_is_asked(
    dinov2: vi.Model,
) -> None:
    capture = vi.capture(dinov2, noise((60, 40), 0))
    last, earlier = vi.feature_pca(capture), vi.feature_pca(capture, layer=4)
    assert (last.layer, last.state) == (11, "after the final norm")
    assert (earlier.layer, earlier.state) == (4, "as the block returned them")
    tokens = capture.tokens[4][0, 1:].double().numpy()
    variance = tokens.var(axis=0).sum()
    share = earlier.components[0].var(axis=(0, 1)) / variance
    np.testing.assert_allclose(share, earlier.explained_variance_ratio[0], rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_basis_is_refused(random: np.random.Generator) -> None:
    with pytest.raises(vi.BadParameter, match="the basis 'all'; expected 'each' or 'common'"):
        vi.feature_pca(holding(random.normal(size=(1, 20, 6))), basis="all")  # type: ignore[arg-type]


def test_a_model_without_rows_of_tokens_is_refused() -> None:
    capture = capture_of(peaked(np.random.default_rng(0), 1, 1, 1, 7, 7), layout_of("cls"))
    words = "toy, whose blocks do not return one row for each token of its 2 × 3 patches"
    with pytest.raises(vi.UnsupportedModel, match=words):
        vi.feature_pca(capture)
