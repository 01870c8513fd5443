"""Is a map the row of the query that was asked for, whole, with nothing normalised away?"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import vit_inspect as vi
from tests.helpers.made import capture_of, layout_of, peaked
from vit_inspect.analyses.attention_maps import telling_head
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
    """Three layers of two images, four heads, two prefix tokens and 2 × 3 patches."""
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


def maps_of(weights: np.ndarray) -> AttentionMaps:
    """The maps (layer, head, row, column) of one image, whose rest goes to the class token."""
    layout = layout_of("cls", grid=weights.shape[2:])
    rest = 1 - weights.sum(axis=(2, 3))
    return AttentionMaps(
        model="toy",
        layout=layout,
        photographs=(),
        query="class token (CLS)",
        patch=None,
        weights=weights[None].astype(np.float32),
        prefix_mass=rest[None, :, :, None].astype(np.float32),
    )


def telling_by_hand(values: np.ndarray) -> float:
    """The score of a map (row, column): Moran's I, share left alone, and sum, written out."""
    rows, columns = values.shape
    ordered = sorted(float(each) for each in values.flat)
    place = 0.985 * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    limit = ordered[below] + (place - below) * (ordered[above] - ordered[below])
    clipped = [[min(float(each), limit) for each in line] for line in values]
    flat = [each for line in clipped for each in line]
    mean = sum(flat) / len(flat)
    products = []
    for row in range(rows):
        for column in range(columns):
            here = clipped[row][column] - mean
            if row + 1 < rows:
                products.append(here * (clipped[row + 1][column] - mean))
            if column + 1 < columns:
                products.append(here * (clipped[row][column + 1] - mean))
    variance = sum((each - mean) ** 2 for each in flat) / len(flat)
    if variance == 0 or not products:
        return 0.0
    alike = max(sum(products) / len(products) / variance, 0.0)
    shares = [each / sum(flat) for each in flat]
    effective = math.exp(-sum(each * math.log(each) for each in shares if each > 0))
    return alike * (1 - effective / len(flat)) * float(values.sum())


@pytest.mark.parametrize("grid", [(4, 5), (1, 7), (6, 1), (9, 9)])
@pytest.mark.parametrize("seed", range(5))
def test_the_telling_head_has_the_largest_score(grid: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    # Between noise and a ramp, so that neighbours are alike by a different degree in each head.
    flat = random.dirichlet(np.full(math.prod(grid), 0.5), (3, 4)).reshape(3, 4, *grid)
    ramp = np.sort(flat.reshape(3, 4, -1), axis=2).reshape(flat.shape)
    mix = random.uniform(size=(3, 4, 1, 1))
    maps = maps_of((mix * ramp + (1 - mix) * flat) * random.uniform(0.2, 1, size=(3, 4, 1, 1)))
    scores = [[telling_by_hand(head) for head in layer] for layer in maps.weights[0]]
    found = telling_head(maps)
    assert found == np.unravel_index(np.argmax(scores), (3, 4))
    assert found == telling_head(maps)
    assert all(type(each) is int for each in found)


def blob(grid: tuple[int, int] = (8, 8)) -> np.ndarray:
    """A bright square of neighbours, which has all the attention on patches."""
    values = np.zeros(grid)
    values[2:5, 2:5] = 1 / 9
    return values


def test_an_object_tells_more_than_noise_single_patches_and_an_even_map() -> None:
    random = np.random.default_rng(0)
    noise = random.permutation(blob().ravel()).reshape(8, 8)
    single = np.zeros((8, 8))
    single[3, 3] = 1
    even = np.full((8, 8), 1 / 64)
    board = np.indices((8, 8)).sum(axis=0) % 2 / 32
    maps = np.stack([[noise, single, even], [board, blob(), 0.5 * blob()]])
    assert telling_head(maps_of(maps)) == (1, 1)


def test_of_equal_maps_the_first_tells() -> None:
    even = np.full((8, 8), 1 / 64)
    assert telling_head(maps_of(np.stack([[even, blob()], [blob(), blob()]]))) == (0, 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, 1 / 64, 1 / 70, 0.1 / 64])
@pytest.mark.parametrize("grid", [(8, 8), (1, 1), (1, 5)])
def test_of_maps_that_show_nothing_it_is_the_first(value: float, grid: tuple[int, int]) -> None:
    assert telling_head(maps_of(np.full((2, 3, *grid), value))) == (0, 0)


def test_each_image_has_a_telling_head_of_its_own() -> None:
    even = np.full((8, 8), 1 / 64)
    images = [np.stack([[blob(), even]]), np.stack([[even, blob()]])]
    maps = maps_of(images[0])
    both = replace(
        maps,
        weights=np.stack(images).astype(np.float32),
        prefix_mass=np.repeat(maps.prefix_mass, 2, axis=0),
    )
    assert [telling_head(both, image=image) for image in (0, 1)] == [(0, 0), (0, 1)]
