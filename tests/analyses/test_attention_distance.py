"""Is mean attention distance the paper's, to the digits of the reference patterns?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.helpers.made import capture_of, layout_of, peaked
from tests.helpers.oracle import mean_distance, pair_distances
from vit_inspect.layout import MEAN, TokenLayout

ROWS, COLUMNS = (index.ravel() for index in np.indices((14, 14)))
DOWN, RIGHT = ROWS[None] - ROWS[:, None], COLUMNS[None] - COLUMNS[:, None]
SQUARED = DOWN**2 + RIGHT**2
INDEX = np.arange(196)


def normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(axis=-1, keepdims=True)


def to(key: np.ndarray) -> np.ndarray:
    """Each query attends to one key."""
    return np.eye(196)[key]


def gaussian(width: float) -> np.ndarray:
    return normalised(np.exp(-SQUARED / (2 * width**2)))


VECTORS = (
    ("uniform", np.full((196, 196), 1 / 196), 116.492227),
    ("itself", to(INDEX), 0),
    ("4 neighbours", normalised(1.0 * (SQUARED == 1)), 16),
    ("3x3 box", normalised(1.0 * (np.maximum(abs(DOWN), abs(RIGHT)) <= 1)), 16.698065),
    ("5x5 box", normalised(1.0 * (np.maximum(abs(DOWN), abs(RIGHT)) <= 2)), 28.831248),
    ("one to the right", to(ROWS * 14 + np.minimum(COLUMNS + 1, 13)), 208 / 14),
    ("own row", normalised(1.0 * (DOWN == 0)), 16 * (14**2 - 1) / (3 * 14)),
    ("corner", to(0 * INDEX), 161.030167),
    ("point reflection", to(195 - INDEX), 171.078884),
    ("gaussian 0.5", gaussian(0.5), 6.038515),
    ("gaussian 1", gaussian(1), 18.431363),
    ("gaussian 2", gaussian(2), 36.679733),
    ("gaussian 4", gaussian(4), 67.156148),
    ("gaussian 8", gaussian(8), 98.604357),
    ("farthest", to(np.argmax(SQUARED, axis=1)), 228.527635),
)


def distance_of(
    attention: np.ndarray, layout: TokenLayout, *, definition: str = "paper"
) -> np.ndarray:
    return vi.attention_distance(capture_of(attention, layout), definition=definition).distance_px


@pytest.mark.parametrize(("name", "pattern", "wanted"), VECTORS, ids=[case[0] for case in VECTORS])
def test_reference_patterns(name: str, pattern: np.ndarray, wanted: float) -> None:
    layout = layout_of(grid=(14, 14), patch_px=(16, 16), readout=MEAN)
    distance = distance_of(pattern[None, None, None], layout)
    np.testing.assert_allclose(distance, [[[wanted]]], rtol=0, atol=1e-6)


def test_mass_on_the_class_token_counts_as_distance_zero_unless_renormalised() -> None:
    layout = layout_of("cls", grid=(14, 14), patch_px=(16, 16))
    capture = capture_of(np.full((1, 1, 1, 197, 197), 1 / 197), layout)
    paper = vi.attention_distance(capture)
    renormalised = vi.attention_distance(capture, definition="renormalised")
    assert paper.distance_px.item() == pytest.approx(115.900896, abs=5e-7)
    assert renormalised.distance_px.item() == pytest.approx(116.492227, abs=5e-7)
    assert paper.prefix_mass.item() == pytest.approx(1 / 197)


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("definition", ["paper", "renormalised"])
@pytest.mark.parametrize("prefix", [(), ("cls",), ("cls", "dist"), ("cls", "r1", "r2", "r3", "r4")])
@pytest.mark.parametrize("grid", [(2, 3), (3, 2), (1, 4)])
def test_equals_the_double_loop(
    random: np.random.Generator, grid: tuple[int, int], prefix: tuple[str, ...], definition: str
) -> None:
    layout = layout_of(*prefix, grid=grid, readout=MEAN)
    size = layout.token_count
    attention = peaked(random, 2, 3, 4, size, size)
    capture = capture_of(attention, layout)
    result = vi.attention_distance(capture, definition=definition)
    distances = pair_distances(grid, layout.patch_px)
    wanted = mean_distance(
        attention, distances, len(prefix), renormalised=definition == "renormalised"
    )
    np.testing.assert_allclose(result.distance_px, wanted.swapaxes(0, 1), rtol=1e-9)
    mass = attention[..., len(prefix) :, : len(prefix)].sum(axis=-1).mean(axis=-1)
    np.testing.assert_allclose(result.prefix_mass, mass.swapaxes(0, 1), rtol=1e-9)
    assert result.definition == definition


def test_the_definitions_differ_exactly_by_each_querys_prefix_mass(
    random: np.random.Generator,
) -> None:
    """d_paper = mean over q of (1 - prefix mass of q) * d_renormalised of q, query by query."""
    layout = layout_of("cls", "reg1")
    attention = peaked(random, 1, 1, 1, 8, 8)
    share = 1 - attention[..., 2:, :2].sum(axis=-1)
    single = []
    for query in range(2, 8):
        # All queries look like this one's row moved to all places: the mean is that query's own.
        only = np.tile(np.eye(8)[0], (1, 1, 1, 8, 1))
        only[..., query, :] = attention[..., query, :]
        single.append(distance_of(only, layout, definition="renormalised").item() * 6)
    paper = distance_of(attention, layout).item()
    assert paper == pytest.approx(np.mean(share.ravel() * single), rel=1e-12)


def test_a_sink_that_takes_almost_everything_leaves_the_distance_of_the_rest() -> None:
    """In float32, 1 - mass is rounded to nothing where a class token takes all but 1e-9."""
    layout = layout_of("cls", grid=(14, 14), patch_px=(16, 16))
    rest = np.full((197, 197), 1e-9 / 196)
    rest[:, 0] = 1 - 1e-9
    capture = capture_of(rest[None, None, None], layout, dtype=torch.float32)
    result = vi.attention_distance(capture, definition="renormalised")
    assert result.distance_px.item() == pytest.approx(116.492227, rel=1e-5)


def test_without_any_mass_on_patches_the_distance_is_zero() -> None:
    everything_on_cls = np.tile(np.eye(7)[0], (1, 1, 1, 7, 1))
    for definition in ("paper", "renormalised"):
        distance = distance_of(everything_on_cls, layout_of("cls"), definition=definition)
        np.testing.assert_array_equal(distance, [[[0]]])


def test_linear_in_the_attention(random: np.random.Generator) -> None:
    layout = layout_of("cls")
    first, second = peaked(random, 2, 1, 1, 1, 7, 7)
    mixed = distance_of(0.25 * first + 0.75 * second, layout)
    parts = 0.25 * distance_of(first, layout) + 0.75 * distance_of(second, layout)
    np.testing.assert_allclose(mixed, parts, rtol=1e-12)


FLIPS = (lambda index: index[::-1], lambda index: index[:, ::-1], lambda index: index[::-1, ::-1])


@pytest.mark.parametrize("flip", FLIPS)
def test_mirrors_leave_it_equal(
    random: np.random.Generator, flip: Callable[[np.ndarray], np.ndarray]
) -> None:
    layout = layout_of(readout=MEAN)
    attention = peaked(random, 1, 1, 1, 6, 6)
    order = flip(np.arange(6).reshape(2, 3)).ravel()
    mirrored = attention[..., order, :][..., order]
    np.testing.assert_allclose(
        distance_of(mirrored, layout), distance_of(attention, layout), rtol=1e-12
    )


def test_transposition_of_the_picture_leaves_it_equal(random: np.random.Generator) -> None:
    attention = peaked(random, 1, 1, 1, 6, 6)
    order = np.arange(6).reshape(2, 3).T.ravel()
    transposed = attention[..., order, :][..., order]
    tall = layout_of(grid=(3, 2), patch_px=(6, 4), readout=MEAN)
    wide = layout_of(grid=(2, 3), patch_px=(4, 6), readout=MEAN)
    np.testing.assert_allclose(distance_of(transposed, tall), distance_of(attention, wide))


def test_scales_with_the_patch(random: np.random.Generator) -> None:
    attention = peaked(random, 1, 1, 1, 6, 6)
    single = distance_of(attention, layout_of(patch_px=(4, 6), readout=MEAN))
    triple = distance_of(attention, layout_of(patch_px=(12, 18), readout=MEAN))
    np.testing.assert_allclose(triple, 3 * single, rtol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_definition_is_refused() -> None:
    capture = capture_of(np.full((1, 1, 1, 7, 7), 1 / 7), layout_of("cls"))
    with pytest.raises(vi.BadParameter, match="'median'; expected 'paper' or 'renormalised'"):
        vi.attention_distance(capture, definition="median")


@pytest.mark.parametrize("kept_bytes", [0, 10**9], ids=["made each time", "kept"])
@pytest.mark.parametrize("block_bytes", [1, 3000, 10**9])
def test_tables_of_every_block_are_the_distances(
    kept_bytes: int, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that begin and end inside a row of the grid, or among the prefix tokens."""
    monkeypatch.setattr("vit_inspect.analyses.attention_distance.KEPT_BYTES", kept_bytes)
    monkeypatch.setattr("vit_inspect.attention.blocks.CPU_BLOCK_BYTES", block_bytes)
    layout = layout_of("cls", "reg1", grid=(5, 4), patch_px=(3, 7))
    attention = np.random.default_rng(0).dirichlet(np.ones(22), (2, 3, 2, 22))
    expected = mean_distance(attention, pair_distances((5, 4), (3, 7)), 2, renormalised=False)
    found = distance_of(attention, layout)
    np.testing.assert_allclose(found, expected.transpose(1, 0, 2), rtol=1e-12)
