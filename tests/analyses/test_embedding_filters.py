"""Are the filters' components principal, in the sense of the singular value decomposition?"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.helpers.made import layout_of, model_of
from vit_inspect.records.paper import EmbeddingFilters

SHAPE = (3, 2, 4)
"""Channels, rows and columns of a filter: all different."""


def result_of(filters: np.ndarray, **options: int) -> EmbeddingFilters:
    return vi.embedding_filters(model_of(layout_of("cls"), filters=filters), **options)


def channels_last(filters: np.ndarray) -> np.ndarray:
    return filters.transpose(0, 2, 3, 1).reshape(len(filters), -1)


def flat(result: EmbeddingFilters) -> np.ndarray:
    return result.components.reshape(len(result.components), -1)


@pytest.mark.parametrize("count", [10, 24, 60], ids=["few filters", "as many", "many filters"])
def test_equals_the_decomposition_of_the_centred_matrix(
    random: np.random.Generator, count: int
) -> None:
    filters = random.normal(size=(count, *SHAPE)) * np.linspace(0.5, 2, 4) + 3
    result = result_of(filters, count=count)
    samples = channels_last(filters)
    _, values, wanted = np.linalg.svd(samples - samples.mean(axis=0), full_matrices=False)
    rank = min(count - 1, 24)
    found = flat(result)
    assert found.shape == (rank, 24)
    signs = np.sign(np.sum(found * wanted[:rank], axis=1, keepdims=True))
    np.testing.assert_allclose(signs * found, wanted[:rank], rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        result.explained_variance_ratio, (values**2 / np.sum(values**2))[:rank], rtol=1e-6
    )
    np.testing.assert_allclose(found @ found.T, np.eye(rank), rtol=0, atol=1e-5)
    assert np.all(np.diff(result.explained_variance_ratio) <= 0)
    assert result.explained_variance_ratio.sum() == pytest.approx(1)


def test_signs_are_fixed_by_the_largest_weight(random: np.random.Generator) -> None:
    filters = random.normal(size=(30, *SHAPE))
    components = flat(result_of(filters))
    peaks = np.abs(components).argmax(axis=1)
    assert np.all(components[np.arange(len(components)), peaks] > 0)


def test_all_components_reconstruct_the_filters(random: np.random.Generator) -> None:
    filters = random.normal(size=(30, *SHAPE))
    components = flat(result_of(filters))
    centred = channels_last(filters) - channels_last(filters).mean(axis=0)
    np.testing.assert_allclose(centred @ components.T @ components, centred, rtol=0, atol=1e-5)


def test_planted_patterns_are_recovered_strongest_first(random: np.random.Generator) -> None:
    planted = np.linalg.qr(random.normal(size=(24, 3)))[0].T
    strengths = random.normal(size=(200, 3)) * [9, 3, 1]
    samples = strengths @ planted + 1e-6 * random.normal(size=(200, 24))
    filters = samples.reshape(200, 2, 4, 3).transpose(0, 3, 1, 2)
    components = flat(result_of(filters, count=3))
    overlap = np.abs(components @ planted.T)
    # The mix of the drawn strengths rotates the components within the planted space by a little.
    np.testing.assert_allclose(np.linalg.norm(overlap, axis=1), 1, rtol=0, atol=1e-6)
    assert np.all(overlap.argmax(axis=1) == [0, 1, 2])


def test_the_order_of_the_filters_does_not_matter(random: np.random.Generator) -> None:
    filters = random.normal(size=(30, *SHAPE))
    shuffled = filters[random.permutation(30)]
    np.testing.assert_allclose(
        flat(result_of(shuffled)), flat(result_of(filters)), rtol=0, atol=1e-5
    )


def test_the_mean_filter_does_not_matter(random: np.random.Generator) -> None:
    filters = random.normal(size=(30, *SHAPE))
    moved = filters + random.normal(size=SHAPE)
    np.testing.assert_allclose(flat(result_of(moved)), flat(result_of(filters)), rtol=0, atol=1e-5)


def test_weights_keep_their_place_and_channel() -> None:
    """One weight differs between two filters: row 1, column 2, green."""
    filters = np.zeros((2, *SHAPE))
    filters[1, 1, 1, 2] = 1
    components = result_of(filters).components
    assert components.shape == (1, 2, 4, 3)
    assert np.argwhere(components[0]).tolist() == [[1, 2, 1]]


def test_28_by_default_and_a_name(random: np.random.Generator) -> None:
    result = result_of(random.normal(size=(60, 3, 4, 4)))
    assert len(result.components) == 28
    assert len(result.explained_variance_ratio) == 48
    assert result.source == "patch embedding, 60 filters of 4 × 4 px"


def test_a_hybrid_has_the_filters_that_its_stem_applies() -> None:
    """What the stem makes of one window is that window times the filters."""
    torch.manual_seed(0)
    model = vi.load("vit_tiny_r_s16_p8_224", pretrained=False, device="cpu", dtype=torch.float64)
    stem = next(each for each in model.module.modules() if isinstance(each, torch.nn.Conv2d))
    pixels = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    # Steps of 2 px over a border of 2 px: the second window starts at the first pixel.
    wanted = stem(pixels)[0, :, 1, 1]
    found = (model.filters * pixels[:, :, :7, :7]).sum(dim=(1, 2, 3))
    torch.testing.assert_close(found, wanted)


def test_the_bundled_model_has_the_filters_of_its_patch_embedding(dinov2: vi.Model) -> None:
    result = vi.embedding_filters(dinov2)
    samples = channels_last(dinov2.filters.numpy().astype(np.float64))
    _, values, wanted = np.linalg.svd(samples - samples.mean(axis=0), full_matrices=False)
    overlap = np.abs(np.sum(flat(result) * wanted[:28], axis=1))
    np.testing.assert_allclose(overlap, 1, rtol=0, atol=1e-5)
    ratio = values[:383] ** 2 / np.sum(values**2)
    np.testing.assert_allclose(result.explained_variance_ratio, ratio, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_all_channels_of_a_filter_are_one_sample(
    random: np.random.Generator, channels: int
) -> None:
    filters = random.normal(size=(40, channels, 2, 4)) * np.linspace(0.5, 2, 4)
    result = result_of(filters, count=5)
    assert result.components.shape == (5, 2, 4, channels)
    samples = channels_last(filters)
    _, values, wanted = np.linalg.svd(samples - samples.mean(axis=0), full_matrices=False)
    signs = np.sign(np.sum(flat(result) * wanted[:5], axis=1, keepdims=True))
    np.testing.assert_allclose(signs * flat(result), wanted[:5], rtol=0, atol=1e-5)
    rank = min(39, 8 * channels)
    ratio = values[:rank] ** 2 / np.sum(values**2)
    np.testing.assert_allclose(result.explained_variance_ratio, ratio, rtol=1e-6)


def test_weights_keep_their_place_among_thirteen_channels() -> None:
    filters = np.zeros((2, 13, 2, 4))
    filters[1, 11, 1, 2] = 1
    assert np.argwhere(result_of(filters).components[0]).tolist() == [[1, 2, 11]]
