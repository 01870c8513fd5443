"""Is a map the row of the query that was asked for, whole, with nothing normalised away?"""

from __future__ import annotations

import numpy as np
import pytest

import vit_inspect as vi
from tests.helpers.made import capture_of, layout_of, peaked
from vit_inspect.errors import BadParameter
from vit_inspect.layout import MEAN, NONLINEAR, POOL, TokenLayout
from vit_inspect.records.paper import AttentionMaps


def as_rows(maps: AttentionMaps) -> np.ndarray:
    """(image, layer, head, token): the maps and the prefix masses as whole rows."""
    flat = maps.weights.reshape(*maps.weights.shape[:3], -1)
    return np.concatenate([maps.prefix_mass, flat], axis=-1)


@pytest.fixture
def layout() -> TokenLayout:
    return layout_of("cls", "reg1")


@pytest.fixture
def attention(random: np.random.Generator) -> np.ndarray:
    """Three layers of two images, four heads, two prefix tokens and 2 x 3 patches."""
    return peaked(random, 3, 2, 4, 8, 8)


@pytest.mark.parametrize(
    ("query", "token", "words"),
    [
        ("readout", 0, "class token (CLS)"),
        ("cls", 0, "class token (CLS)"),
        ("reg1", 1, "token reg1"),
        ((0, 0), 2, "patch (0, 0)"),
        ((0, 2), 4, "patch (0, 2)"),
        ((1, 0), 5, "patch (1, 0)"),
    ],
)
def test_a_querys_maps_are_its_rows(
    attention: np.ndarray,
    layout: TokenLayout,
    query: str | tuple[int, int],
    token: int,
    words: str,
) -> None:
    maps = vi.attention_maps(capture_of(attention, layout), query=query)
    wanted = attention[:, :, :, token].swapaxes(0, 1)
    np.testing.assert_allclose(as_rows(maps), wanted, rtol=1e-12)
    assert maps.weights.shape == (2, 3, 4, 2, 3)
    assert maps.query == words
    assert maps.patch == (None if isinstance(query, str) else query)


@pytest.mark.parametrize("rows", [128, 1])
def test_a_region_attends_as_its_patches_on_average(
    attention: np.ndarray, layout: TokenLayout, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_inspect.analyses.attention_maps.ROWS", rows)
    maps = vi.attention_maps(capture_of(attention, layout), query=vi.Region(0, 1, 1, 2))
    patches = [3, 4, 6, 7]  # (0, 1), (0, 2), (1, 1), (1, 2), after two special tokens
    wanted = attention[:, :, :, patches].mean(axis=3).swapaxes(0, 1)
    np.testing.assert_allclose(as_rows(maps), wanted, rtol=1e-12)
    assert (maps.query, maps.patch) == ("region (0, 1) to (1, 2)", None)


@pytest.mark.parametrize("region", [(1, 0, 0, 2), (0, 2, 1, 1), (0, 0, 2, 2), (-1, 0, 0, 0)])
def test_a_region_that_is_none_is_refused(
    attention: np.ndarray, layout: TokenLayout, region: tuple[int, int, int, int]
) -> None:
    with pytest.raises(BadParameter, match=r"Found the (region|patch)"):
        vi.attention_maps(capture_of(attention, layout), query=vi.Region(*region))


@pytest.mark.usefixtures("unchecked")
def test_a_patch_may_be_given_as_numpy_gives_it(attention: np.ndarray, layout: TokenLayout) -> None:
    maps = vi.attention_maps(capture_of(attention, layout), query=np.unravel_index(4, (2, 3)))
    assert maps.patch == (1, 1)
    assert maps.query == "patch (1, 1)"


@pytest.mark.usefixtures("block_bytes")
def test_an_average_looks_where_its_tokens_look_on_average(attention: np.ndarray) -> None:
    maps = vi.attention_maps(capture_of(attention, layout_of("cls", "reg1", readout=MEAN)))
    wanted = attention[:, :, :, 2:].mean(axis=3).swapaxes(0, 1)
    np.testing.assert_allclose(as_rows(maps), wanted, rtol=1e-12)
    assert maps.query == "mean of the patches"


def test_a_pool_looks_where_its_tokens_look_by_its_own_weights(
    random: np.random.Generator, attention: np.ndarray
) -> None:
    pool = peaked(random, 2, 5, 1, 8)
    capture = capture_of(attention, layout_of("cls", "reg1", readout=POOL), pool=pool)
    wanted = np.einsum("iq,lihqk->ilhk", pool.mean(axis=(1, 2)), attention)
    np.testing.assert_allclose(as_rows(vi.attention_maps(capture)), wanted, rtol=1e-12)


def test_maxima_refuse_the_readout_and_allow_the_rest(attention: np.ndarray) -> None:
    capture = capture_of(attention, layout_of("cls", "reg1", readout=NONLINEAR))
    with pytest.raises(vi.UnsupportedModel, match="choose a patch or a special token"):
        vi.attention_maps(capture)
    np.testing.assert_allclose(
        as_rows(vi.attention_maps(capture, query="cls")), attention[..., 0, :].swapaxes(0, 1)
    )


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("dist", "the token name 'dist'; expected a special token of this model ('cls', 'reg1')"),
        ((2, 0), "the patch (2, 0); expected a row of 0..1 and a column of 0..2"),
        ((0, -1), "the patch (0, -1); expected a row of 0..1 and a column of 0..2"),
    ],
)
def test_a_query_that_is_not_there_is_refused(
    attention: np.ndarray, layout: TokenLayout, query: str | tuple[int, int], words: str
) -> None:
    with pytest.raises(vi.BadParameter) as refusal:
        vi.attention_maps(capture_of(attention, layout), query=query)
    assert words in str(refusal.value)


@pytest.mark.parametrize("mass", [0.05, 0.3, 0.6, 0.95])
def test_a_mask_is_the_smallest_set_that_holds_the_mass(
    random: np.random.Generator, mass: float
) -> None:
    weights = 0.3 * peaked(random, 5, 4, 12).reshape(5, 4, 3, 4)
    mask = vi.mass_mask(weights, mass=mass)
    assert mask.shape == weights.shape
    total = weights.sum(axis=(-2, -1))
    kept = np.where(mask, weights, 0).sum(axis=(-2, -1))
    least = np.where(mask, weights, np.inf).min(axis=(-2, -1))
    assert np.all(kept >= mass * total)
    assert np.all(kept - least < mass * total)
    assert np.all(np.where(mask, np.inf, weights).min() <= least)
    strongest_left_out = np.where(mask, -np.inf, weights).max(axis=(-2, -1))
    assert np.all(strongest_left_out <= least)


def test_a_mask_of_all_the_mass_leaves_only_zeros_out() -> None:
    weights = np.array([[0.5, 0.0], [0.25, 0.0]])
    np.testing.assert_array_equal(vi.mass_mask(weights, mass=1), weights > 0)


@pytest.mark.parametrize("mass", [0, -0.5, 1.5])
def test_a_mass_that_is_no_share_is_refused(mass: float) -> None:
    with pytest.raises(vi.BadParameter, match=f"the mass {mass}; expected a share above 0"):
        vi.mass_mask(np.ones((2, 2)), mass=mass)
