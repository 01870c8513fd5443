"""Are artefacts found where they were planted, nowhere else, and left out of rollout exactly?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import capture_of, layout_of, peaked
from tests.helpers.oracle import rollout_matrix
from vit_inspect.analyses import token_norms
from vit_inspect.layout import MEAN, NONLINEAR, POOL, TokenLayout
from vit_inspect.recording.recorder import Capture
from vit_inspect.records.evidence import TokenNorms

pytestmark = pytest.mark.filterwarnings("error")
"""A mixture that did not converge warns."""

PLANTED = (2, 3), (7, 11)


def with_norms(capture: Capture, norms: np.ndarray) -> Capture:
    """The capture with tokens of these norms (image, layer, token), in random directions."""
    directions = np.random.default_rng(1).normal(size=(*norms.shape, 5))
    tokens = directions * (norms / np.linalg.norm(directions, axis=-1))[..., None]
    return replace(
        capture, tokens=tuple(torch.from_numpy(tokens[:, layer]) for layer in range(norms.shape[1]))
    )


def of_norms(norms: np.ndarray, *prefix: str, grid: tuple[int, int]) -> TokenNorms:
    """What is found for tokens of these norms (image, layer, token); attention is uniform."""
    layout = layout_of(*prefix, grid=grid, readout=prefix[0] if prefix else MEAN)
    images, layers, tokens = norms.shape
    attention = np.full((layers, images, 1, tokens, tokens), 1 / tokens)
    return vi.token_norms(with_norms(capture_of(attention, layout), norms))


def found_in(norms: np.ndarray) -> np.ndarray:
    """The places of the artefacts among norms (token,)."""
    groups = token_norms.find_artefacts(norms)
    assert bool(groups.reason) == np.isinf(groups.threshold)
    return np.flatnonzero(norms > groups.threshold)


def ordinary(random: np.random.Generator, count: int, *, spread: float = 0.15) -> np.ndarray:
    return 40 * np.exp(random.normal(0, spread, count))


def test_norms_are_those_of_the_rows_split_into_patches_and_prefix() -> None:
    norms = np.random.default_rng(0).uniform(1, 9, (2, 3, 8))
    result = of_norms(norms, "cls", "reg1", grid=(2, 3))
    np.testing.assert_allclose(result.prefix_norm, norms[..., :2], rtol=1e-12)
    np.testing.assert_allclose(result.norm.reshape(2, 3, 6), norms[..., 2:], rtol=1e-12)
    assert (result.layer, result.norm.shape) == (2, (2, 3, 2, 3))


def test_norms_of_half_precision_do_not_overflow() -> None:
    capture = capture_of(np.full((1, 1, 1, 7, 7), 1 / 7), layout_of("cls"), dtype=torch.float16)
    capture = replace(capture, tokens=(torch.full((1, 7, 100), 30_000.0, dtype=torch.float16),))
    result = vi.token_norms(capture)
    np.testing.assert_allclose(result.norm, 300_000, rtol=1e-3)


@pytest.mark.parametrize(
    ("count", "planted", "ratio", "wide"),
    [
        (16, 1, (5, 5), 0.15),
        (49, 1, (4, 4), 0.1),
        (196, 5, (4, 5), 0.15),
        (256, 24, (3, 3), 0.1),
        (1369, 1, (3, 3), 0.1),
        (1369, 33, (4, 12), 0.2),
        (5329, 200, (6, 10), 0.25),
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_planted_artefacts_are_found_exactly(
    seed: int, count: int, planted: int, ratio: tuple[float, float], wide: float
) -> None:
    random = np.random.default_rng(seed)
    norms = ordinary(random, count, spread=wide)
    places = np.sort(random.choice(count, planted, replace=False))
    norms[places] = 40 * random.uniform(*ratio, planted)
    np.testing.assert_array_equal(found_in(norms), places)


@pytest.mark.parametrize("seed", range(5))
def test_artefacts_are_found_beside_ordinary_tokens_of_two_kinds(seed: int) -> None:
    """As where foreground and background differ: a free start would part those two instead."""
    random = np.random.default_rng(seed)
    norms = ordinary(random, 1369, spread=0.06) * np.where(random.random(1369) < 0.3, 1.4, 1)
    norms[[3, 700, 1200]] = 200
    np.testing.assert_array_equal(found_in(norms), [3, 700, 1200])


def test_a_few_small_norms_hide_no_artefact(random: np.random.Generator) -> None:
    norms = ordinary(random, 196)
    norms[:4], norms[100], norms[150] = 12, 250, 0
    np.testing.assert_array_equal(found_in(norms), [100])


UNIMODAL: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda random, count: random.normal(40, 8, count).clip(1),
    "log-normal": lambda random, count: 40 * np.exp(random.normal(0, 0.3, count)),
    "wide log-normal": lambda random, count: 40 * np.exp(random.normal(0, 0.6, count)),
    "uniform": lambda random, count: random.uniform(1, 2, count),
    "uniform from zero": lambda random, count: random.uniform(0, 1, count),
    "exponential": lambda random, count: 1 + random.exponential(1, count),
    "two large groups": lambda random, count: (
        40 * np.exp(random.normal(0, 0.05, count)) * np.where(random.random(count) < 0.3, 1.4, 1)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("count", [49, 196, 1369])
@pytest.mark.parametrize("kind", UNIMODAL)
def test_norms_without_a_group_far_above_find_nothing(kind: str, count: int) -> None:
    for seed in range(8):
        norms = UNIMODAL[kind](np.random.default_rng(seed), count)
        groups = token_norms.find_artefacts(norms)
        assert groups.threshold == np.inf
        assert groups.reason


def test_a_mild_heavy_tail_seldom_passes_for_artefacts() -> None:
    """A norm of chance that lies far beyond all others cannot be told from an artefact."""
    draws = [40 * np.exp(np.random.default_rng(s).laplace(0, 0.1, 1369)) for s in range(60)]
    assert sum(found_in(norms).size > 0 for norms in draws) <= 1


def test_a_grid_of_few_patches_has_no_small_group() -> None:
    norms = np.full((1, 1, 6), 40.0)
    norms[..., 2] = 4000
    result = of_norms(norms, grid=(2, 3))
    assert not result.found.any()
    assert result.reason == ("6 norms above 0 are too few to find a small group",)


@pytest.mark.parametrize("norm", [0.0, 1e-20, 1.0, 1e20])
def test_constant_norms_hold_no_artefact_until_one_is_planted(norm: float) -> None:
    norms = np.full(64, norm)
    assert not found_in(norms).size
    norms[9] = 3 * norm
    assert found_in(norms).tolist() == ([9] if norm else [])


def gate_norms(name: str) -> np.ndarray:
    """Norms that pass every gate but the one of this name."""
    random = np.random.default_rng(0)
    if name == "RATIO":
        norms = ordinary(random, 196, spread=0.05)
        norms[:5] = 70
    elif name == "SEPARATION":
        norms = ordinary(random, 196, spread=0.2)
        norms[0] = 104
    elif name == "SHARE":
        norms = ordinary(random, 196, spread=0.05)
        norms[:25] = 200
    else:
        norms = 40 * np.exp(np.random.default_rng(36).laplace(0, 0.15, 1369))
    return norms


GATES = {
    "RATIO": (
        1.5,
        "the two groups that the norms fall into differ by a factor of 1.75; "
        "artefacts would differ by 2 or more",
    ),
    "SEPARATION": (
        3.0,
        "the two groups that the norms fall into are 4.92 standard deviations apart; "
        "artefacts would be 5 or more apart",
    ),
    "SHARE": (
        0.2,
        "13% of the patches are in the group of larger norms; artefacts would be 10% at most",
    ),
    "BORDERLINE": (3.0, "no gap separates the norms: 14 near the threshold, 5 above it"),
}


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_alone_keeps_tokens_from_being_called_artefacts(
    gate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms, (loose, reason) = gate_norms(gate), GATES[gate]
    assert token_norms.find_artefacts(norms).reason == reason
    monkeypatch.setattr(token_norms, gate, loose)
    assert token_norms.find_artefacts(norms).reason == ""


@pytest.mark.parametrize("spread", [0.05, 0.1, 0.2])
def test_artefacts_are_counted_as_they_are_found(
    spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(3)
    norms = np.exp(random.normal(3, spread, 200))
    norms[0] = 0
    ratio = norms.max() / norms[1:].min()
    plain = int((norms > token_norms.find_artefacts(norms).threshold).sum())
    assert (token_norms.count_artefacts(norms), plain) == (0, 0)
    assert token_norms.count_artefacts(np.append(norms, [300, 310])) == 2
    assert token_norms.count_artefacts(np.zeros(200)) == 0
    monkeypatch.setattr(token_norms, "find_artefacts", None)
    if ratio < token_norms.RATIO:
        assert token_norms.count_artefacts(norms) == 0
    else:
        with pytest.raises(TypeError):
            token_norms.count_artefacts(norms)


def test_each_image_has_its_own_threshold_above_which_its_artefacts_lie(
    random: np.random.Generator,
) -> None:
    norms = np.stack([ordinary(random, 197) for _ in range(3)])[:, None]
    norms[:, :, 0] = 4000
    norms[1] *= 20
    norms[0, 0, 1 + 2 * 14 + 3] = 300
    norms[1, 0, 1 + 7 * 14 + 11] = 6000
    result = of_norms(norms, "cls", grid=(14, 14))
    assert result.found.tolist() == [True, True, False]
    for image, place in enumerate(PLANTED):
        assert np.argwhere(result.artefact[image]).tolist() == [list(place)]
    np.testing.assert_array_equal(
        result.artefact, result.norm[:, 0] > result.threshold[:, None, None]
    )
    assert [bool(reason) for reason in result.reason] == [False, False, True]
    assert result.ratio[0] == pytest.approx(300 / 40, rel=0.1)


def test_artefacts_are_told_by_the_layer_that_is_asked_for(random: np.random.Generator) -> None:
    norms = np.stack([ordinary(random, 64) for _ in range(3)])[None]
    norms[0, 1, 20] = 400
    layout = layout_of(grid=(8, 8), readout=MEAN)
    capture = with_norms(capture_of(np.full((3, 1, 1, 64, 64), 1 / 64), layout), norms)
    assert not vi.token_norms(capture).found[0]
    middle = vi.token_norms(capture, layer=1)
    assert (middle.layer, np.argwhere(middle.artefact[0]).tolist()) == (1, [[2, 4]])
    for layer in (3, -1):
        with pytest.raises(vi.BadParameter, match=rf"the layer {layer}; expected a layer of 0..2"):
            vi.token_norms(capture, layer=layer)


def planted_capture(
    random: np.random.Generator, layout: TokenLayout, *, images: int = 3, pool: bool = False
) -> tuple[Capture, np.ndarray, np.ndarray]:
    """Attention (layer, image, head, ...) that rests on artefacts; (image, token) of those.

    The last image has none.
    """
    size, prefix = layout.token_count, layout.prefix_count
    marked = np.zeros((images, size), bool)
    for image in range(images - 1):
        marked[image, prefix + 2 + 5 * image] = marked[image, -1] = True
    attention = peaked(random, 3, images, 2, size, size)
    attention += 2 * marked[None, :, None, None]
    attention /= attention.sum(axis=-1, keepdims=True)
    weights = peaked(random, images, 2, 1, size) if pool else None
    norms = np.stack([ordinary(random, size, spread=0.1) for _ in range(images)])
    norms[marked] = 400
    capture = capture_of(attention, layout, pool=weights)
    return with_norms(capture, np.tile(norms[:, None], (1, 3, 1))), attention, marked


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("prefix", [(), ("cls",), ("cls", "r1", "r2", "r3", "r4")])
def test_artefacts_draw_the_mean_of_what_patches_give_them(
    random: np.random.Generator, prefix: tuple[str, ...]
) -> None:
    layout = layout_of(*prefix, grid=(4, 6), readout="cls" if prefix else MEAN)
    capture, attention, marked = planted_capture(random, layout)
    result = vi.token_norms(capture)
    np.testing.assert_array_equal(result.artefact.reshape(3, -1), marked[:, layout.prefix_count :])
    patches = attention[:, :, :, layout.prefix_count :]
    wanted = np.einsum("lihqk,ik->il", patches, marked) / patches.shape[2] / patches.shape[3]
    np.testing.assert_allclose(result.drawn, wanted, rtol=1e-12)
    assert result.drawn[:2].min() > 0.5
    assert not result.drawn[2].any()


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("readout", ["cls", MEAN, POOL])
def test_rollout_without_artefacts_is_that_of_matrices_without_their_columns(
    random: np.random.Generator, readout: str
) -> None:
    layout = layout_of("cls", "reg1", grid=(4, 6), readout=readout)
    capture, attention, marked = planted_capture(random, layout, pool=readout == POOL)
    result = vi.token_norms(capture)
    for image in range(3):
        kept = attention[:, image].mean(axis=1) * ~marked[image]
        kept /= kept.sum(axis=-1, keepdims=True)
        if readout == POOL:
            assert capture.pool is not None
            start = torch.softmax(capture.pool.bias[image], -1).mean(dim=(0, 1)).numpy()
        else:
            start = layout.readout_weights()
        start = start * ~marked[image]
        wanted = start / start.sum() @ rollout_matrix(kept)
        np.testing.assert_allclose(result.rollout_without[image].ravel(), wanted[2:], atol=1e-12)
        assert wanted.sum() == pytest.approx(1)
    assert not result.rollout_without[result.artefact].any()
    assert result.rollout[0][result.artefact[0]].sum() > 0.1


def test_the_plain_rollout_is_the_figures_own_and_the_same_where_nothing_was_found(
    random: np.random.Generator,
) -> None:
    layout = layout_of("cls", grid=(4, 6))
    capture, _, _ = planted_capture(random, layout)
    result = vi.token_norms(capture)
    np.testing.assert_array_equal(result.rollout, vi.attention_rollout(capture).relevance)
    np.testing.assert_allclose(result.rollout_without[2], result.rollout[2], rtol=1e-12)
    even = with_norms(capture, np.full((3, 3, 25), 7.0))
    nothing = vi.token_norms(even)
    np.testing.assert_array_equal(nothing.rollout_without, nothing.rollout)


def test_the_bundled_model_has_groups_of_norms_and_no_artefacts(
    dinov2: vi.Model, chelsea: Image.Image
) -> None:
    """Its norms fall into groups by what patches show: only their ratio tells them apart."""
    result = vi.token_norms(vi.capture(dinov2, chelsea))
    assert result.separation[0] > 4.5
    assert result.ratio[0] == pytest.approx(1.38, abs=0.02)
    assert "differ by a factor of 1.38; artefacts would differ by 2 or more" in result.reason[0]
    assert not result.artefact.any()


def test_artefacts_planted_into_a_network_are_found_from_their_layer_on(
    small: Callable[..., vi.Model],
) -> None:
    """What a block adds to two of its tokens passes through the blocks behind it."""
    model = small("vit_tiny_patch16_224", (128, 192), depth=4)
    plain = vi.capture(model, noise((192, 128), 3))
    assert not vi.token_norms(plain).artefact.any()
    random = torch.Generator().manual_seed(0)
    planted = torch.randn(plain.tokens[1].shape[-1], generator=random, dtype=torch.float64)
    planted *= 10 * plain.tokens[1].norm(dim=-1).median() / planted.norm()
    tokens = [model.layout.token(place) for place in PLANTED]

    def add(block: torch.nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
        output[:, tokens] += planted
        return output

    model.blocks[1].mlp.register_forward_hook(add)
    capture = vi.capture(model, noise((192, 128), 3))
    for layer in range(4):
        found = np.argwhere(vi.token_norms(capture, layer=layer).artefact[0])
        assert found.tolist() == ([list(place) for place in PLANTED] if layer else [])


def test_norms_are_refused_where_there_are_none() -> None:
    capture = capture_of(np.full((1, 1, 1, 7, 7), 1 / 7), layout_of("cls"))
    with pytest.raises(vi.UnsupportedModel, match="toy that do not return their tokens"):
        vi.token_norms(capture)
    maximum = capture_of(np.full((1, 1, 1, 7, 7), 1 / 7), layout_of("cls", readout=NONLINEAR))
    with pytest.raises(vi.UnsupportedModel, match="takes maxima over tokens"):
        vi.token_norms(maximum)


def test_a_hierarchical_model_is_refused() -> None:
    model = vi.load("swin_tiny_patch4_window7_224", img_size=64, pretrained=False, device="cpu")
    with pytest.raises(vi.UnsupportedModel, match="merge from stage to stage"):
        vi.token_norms(vi.capture(model, noise((64, 64), 0)))
