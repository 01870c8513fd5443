"""Does rollout obey the laws that wrong implementations break one by one?"""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.helpers.made import capture_of, layout_of, peaked
from tests.helpers.oracle import rollout_matrix
from vit_inspect.analyses.attention_rollout import RolloutReduction
from vit_inspect.attention.sweep import sweep
from vit_inspect.layout import MEAN, MEAN_ALL, NONLINEAR, POOL, TokenLayout

IDENTITY = np.eye(7)
FUSIONS = {"mean": np.mean, "max": np.max, "min": np.min}


def row_of(attention: np.ndarray, layout: TokenLayout, **options: object) -> np.ndarray:
    """(image, token): the map and the prefix masses as one row."""
    result = vi.attention_rollout(capture_of(attention, layout), **options)
    flat = result.relevance.reshape(len(result.relevance), -1)
    return np.concatenate([result.prefix_mass, flat], axis=1)


def in_all_layers(matrix: np.ndarray, depth: int) -> np.ndarray:
    return np.tile(matrix, (depth, 1, 1, 1, 1))


def fused_matrices(
    attention: np.ndarray, prefix: int, *, fusion: str, discard: float
) -> np.ndarray:
    """(image, layer, token, token), by plain loops: fuse, drop the weakest, divide by the sum."""
    fused = FUSIONS[fusion](attention, axis=2).swapaxes(0, 1).copy()
    dropped = int(discard * (fused.shape[-1] - prefix))
    for image in fused:
        for layer in image:
            for query, row in enumerate(layer):
                if query >= prefix:
                    row[prefix + np.argsort(row[prefix:])[:dropped]] = 0
                if row.sum() == 0:
                    row[query] = 1
                row /= row.sum()
    return fused


def test_identity_keeps_everything_on_the_readout() -> None:
    np.testing.assert_array_equal(
        row_of(in_all_layers(IDENTITY, 5), layout_of("cls")), IDENTITY[:1]
    )


def test_a_cyclic_shift_gives_binomial_shares() -> None:
    """R[0, k] = C(L, k) / 2^L, to the bit."""
    shift = np.roll(IDENTITY, 1, axis=1)
    depth = 5
    row = row_of(in_all_layers(shift, depth), layout_of("cls"))
    wanted = [comb(depth, k) / 2**depth if k <= depth else 0 for k in range(7)]
    np.testing.assert_array_equal(row, [wanted])


def test_uniform_attention_spreads_evenly() -> None:
    depth = 4
    row = row_of(in_all_layers(np.full((7, 7), 1 / 7), depth), layout_of("cls"))
    np.testing.assert_allclose(row[0, 1:], (1 - 2**-depth) / 7, rtol=1e-12)


def test_everyone_attends_to_the_class_token_gives_an_empty_map() -> None:
    everyone = np.tile(IDENTITY[0], (7, 1))
    result = vi.attention_rollout(capture_of(in_all_layers(everyone, 3), layout_of("cls")))
    np.testing.assert_array_equal(result.relevance, np.zeros((1, 2, 3)))
    np.testing.assert_array_equal(result.prefix_mass, [[1]])


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("discard", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("prefix", [(), ("cls",), ("cls", "dist"), ("cls", "r1", "r2", "r3", "r4")])
def test_the_row_is_that_of_the_product_of_matrices(
    random: np.random.Generator, prefix: tuple[str, ...], fusion: str, discard: float
) -> None:
    layout = layout_of(*prefix, readout="cls" if prefix else MEAN)
    size = layout.token_count
    attention = peaked(random, 3, 2, 4, size, size)
    row = row_of(attention, layout, fusion=fusion, discard=discard)
    fused = fused_matrices(attention, len(prefix), fusion=fusion, discard=discard)
    start = layout.readout_weights()
    wanted = [start @ rollout_matrix(layers) for layers in fused]
    np.testing.assert_allclose(row, wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(row.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("discard", [0.0, 0.5])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_readout_keeps_at_least_half_of_itself_per_layer(
    random: np.random.Generator, fusion: str, discard: float
) -> None:
    attention = peaked(random, 4, 3, 2, 7, 7)
    row = row_of(attention, layout_of("cls"), fusion=fusion, discard=discard)
    assert np.all(row[:, 0] >= 2**-4)


def test_rows_that_minimum_fusion_leaves_empty_keep_their_token() -> None:
    """Two heads that share no key: nothing is left, and no division by zero."""
    heads = np.stack([np.roll(IDENTITY, 1, axis=1), np.roll(IDENTITY, 2, axis=1)])
    row = row_of(heads[None, None], layout_of("cls"), fusion="min")
    np.testing.assert_array_equal(row, IDENTITY[:1])


def test_the_order_of_the_layers_matters(random: np.random.Generator) -> None:
    attention = peaked(random, 2, 1, 1, 7, 7)
    forth, back = row_of(attention, layout_of("cls")), row_of(attention[::-1], layout_of("cls"))
    assert np.abs(forth - back).max() > 0.01


def test_later_layers_multiply_on_the_left() -> None:
    """CLS looks at patch 0 in the last layer, which looked at patch 1 in the first one."""
    first, last = IDENTITY.copy(), IDENTITY.copy()
    first[1], last[0] = IDENTITY[2], IDENTITY[1]
    row = row_of(np.stack([first, last])[:, None, None], layout_of("cls"))
    np.testing.assert_array_equal(row, [[0.5, 0.25, 0.25, 0, 0, 0, 0]])


def test_discarding_protects_prefix_tokens_as_queries_and_as_keys() -> None:
    weak_prefix = np.array([0.01, 0.02, 0.1, 0.12, 0.15, 0.18, 0.2, 0.22])
    attention = np.tile(weak_prefix, (1, 1, 1, 8, 1))
    layout = layout_of("cls", "reg1", readout="cls")
    of_cls = row_of(attention, layout, discard=0.5)
    np.testing.assert_allclose(of_cls, [(np.eye(8)[0] + weak_prefix) / 2], rtol=1e-12)
    of_patches = row_of(attention, layout_of("cls", "reg1", readout=MEAN), discard=0.5)
    kept = np.where([1, 1, 0, 0, 0, 1, 1, 1], weak_prefix, 0)
    average = np.array([0, 0, *[1 / 6] * 6])
    np.testing.assert_allclose(of_patches, [(average + kept / kept.sum()) / 2], rtol=1e-12)


@pytest.mark.parametrize("start_layer", [0, 1, 2])
def test_the_start_layer_leaves_earlier_ones_out(
    random: np.random.Generator, start_layer: int
) -> None:
    attention = peaked(random, 3, 2, 2, 7, 7)
    row = row_of(attention, layout_of("cls"), start_layer=start_layer)
    np.testing.assert_array_equal(row, row_of(attention[start_layer:], layout_of("cls")))
    result = vi.attention_rollout(capture_of(attention, layout_of("cls")), start_layer=start_layer)
    assert result.start_layer == start_layer


@pytest.mark.slow
@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("discard", [0.0, 0.5])
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("readout", ["cls", MEAN])
def test_the_growth_is_what_every_start_layer_gives(
    random: np.random.Generator, readout: str, fusion: str, discard: float
) -> None:
    layout = layout_of("cls", "reg1", readout=readout)
    capture = capture_of(peaked(random, 4, 3, 2, 8, 8), layout)
    options = {"fusion": fusion, "discard": discard}
    growth = vi.attention_rollout(capture, **options).growth
    assert growth.shape == (3, 4, 2, 3)
    for start_layer in range(4):
        later = vi.attention_rollout(capture, start_layer=start_layer, **options)
        np.testing.assert_array_equal(growth[:, start_layer], later.relevance)
        np.testing.assert_array_equal(growth[:, start_layer:], later.growth)
    assert len(np.unique(growth[0], axis=0)) == 4


@pytest.mark.parametrize(
    ("readout", "start"),
    [("cls", [1, 0, 0, 0, 0, 0, 0]), (MEAN, [0, *[1 / 6] * 6]), (MEAN_ALL, [1 / 7] * 7)],
)
def test_the_readout_is_the_models_own(
    random: np.random.Generator, readout: str, start: list[float]
) -> None:
    attention = peaked(random, 2, 1, 1, 7, 7)
    row = row_of(attention, layout_of("cls", readout=readout))
    wanted = start @ rollout_matrix(attention[:, 0, 0])
    np.testing.assert_allclose(row, [wanted], rtol=1e-12)


@pytest.mark.parametrize("skipped", [0, 1], ids=["pools all", "leaves prefix tokens out"])
def test_an_attention_pool_starts_from_its_own_row(
    random: np.random.Generator, skipped: int
) -> None:
    attention = peaked(random, 2, 3, 1, 7, 7)
    pool = peaked(random, 3, 2, 1, 7 - skipped)
    layout = layout_of("cls", readout=POOL)
    result = vi.attention_rollout(capture_of(attention, layout, pool=pool))
    start = np.pad(pool.mean(axis=(1, 2)), ((0, 0), (skipped, 0)))
    for image in range(3):
        wanted = start[image] @ rollout_matrix(attention[:, image, 0])
        np.testing.assert_allclose(result.relevance[image].ravel(), wanted[1:], rtol=1e-12)
        np.testing.assert_allclose(result.prefix_mass[image], wanted[:1], rtol=1e-12)


def test_a_readout_that_no_weights_describe_is_refused(random: np.random.Generator) -> None:
    capture = capture_of(peaked(random, 1, 1, 1, 7, 7), layout_of("cls", readout=NONLINEAR))
    with pytest.raises(vi.UnsupportedModel, match="takes maxima over tokens"):
        vi.attention_rollout(capture)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "found", "expected"),
    [
        ({"fusion": "median"}, "the fusion 'median'", "'mean', 'max' or 'min'"),
        ({"discard": 1.0}, "the discard share 1.0", "a share from 0 to below 1"),
        ({"discard": -0.1}, "the discard share -0.1", "a share from 0 to below 1"),
        ({"start_layer": 2}, "the start layer 2", "a start layer of 0..1"),
        ({"start_layer": -1}, "the start layer -1", "a start layer of 0..1"),
    ],
)
def test_what_makes_no_sense_is_refused(
    random: np.random.Generator, options: dict[str, object], found: str, expected: str
) -> None:
    capture = capture_of(peaked(random, 2, 1, 1, 7, 7), layout_of("cls"))
    with pytest.raises(vi.BadParameter) as refusal:
        vi.attention_rollout(capture, **options)
    assert (refusal.value.found, refusal.value.expected) == (found, expected)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("readout", ["cls", MEAN])
def test_tokens_left_out_are_neither_keys_nor_read(
    random: np.random.Generator, readout: str, fusion: str
) -> None:
    layout = layout_of("cls", "reg1", readout=readout)
    attention = peaked(random, 3, 2, 4, 8, 8)
    without = np.zeros((2, 8), bool)
    without[0, [2, 5]] = without[1, 7] = True
    capture = capture_of(attention, layout)
    rollout = RolloutReduction(capture, fusion=fusion, without=torch.from_numpy(without))
    sweep(capture.layers, rollout)
    result = rollout.result()
    row = np.concatenate([result.prefix_mass, result.relevance.reshape(2, -1)], axis=1)
    for image in range(2):
        start = layout.readout_weights() * ~without[image]
        kept = FUSIONS[fusion](attention[:, image], axis=1) * ~without[image]
        kept /= kept.sum(axis=-1, keepdims=True)
        wanted = start / start.sum() @ rollout_matrix(kept)
        np.testing.assert_allclose(row[image], wanted, rtol=0, atol=1e-12)
    np.testing.assert_allclose(row.sum(axis=1), 1, rtol=1e-12)
    assert not row[without].any()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_rows_that_rest_on_tokens_left_out_keep_their_own(fusion: str) -> None:
    everyone = np.tile(np.eye(7)[3], (2, 1, 1, 7, 1))
    without = torch.zeros(1, 7, dtype=torch.bool)
    without[0, 3] = True
    capture = capture_of(everyone, layout_of("cls"))
    rollout = RolloutReduction(capture, fusion=fusion, without=without)
    sweep(capture.layers, rollout)
    result = rollout.result()
    np.testing.assert_array_equal(result.prefix_mass, [[1]])
    assert not result.relevance.any()
