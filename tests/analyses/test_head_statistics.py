"""Are the numbers of each head those of their definitions, however the rows come in?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import vit_inspect as vi
from tests.conftest import noise
from tests.helpers.made import capture_of, layout_of, peaked
from tests.helpers.oracle import mean_distance, pair_distances
from tests.helpers.windowed import IMAGES, SWIN, narrow_swin
from vit_inspect.attention.layer import LayerAttention
from vit_inspect.attention.rows import rows
from vit_inspect.attention.sweep import sweep
from vit_inspect.layout import MEAN, PADDING, TokenLayout
from vit_inspect.records.base import join
from vit_inspect.records.evidence import HeadStatistics

GRIDS = [(2, 3), (3, 2), (1, 4), (4, 1), (3, 5)]
PREFIXES = [(), ("cls",), ("cls", "dist"), ("cls", "r1", "r2", "r3", "r4")]


def by_loops(attention: np.ndarray, layout: TokenLayout) -> dict[str, float]:
    """The numbers of one head's (query, key) attention, by plain loops."""
    (rows, columns), prefix = layout.grid, layout.prefix_count
    count = rows * columns
    entropy = effective = before = itself = local = 0.0
    mean_row = [0.0] * layout.token_count
    for row in range(rows):
        for column in range(columns):
            query = prefix + row * columns + column
            own = 0.0
            for key, weight in enumerate(attention[query]):
                own -= weight * np.log(weight) if weight > 0 else 0
                mean_row[key] += weight / count
                if key < prefix:
                    before += weight / count
                    continue
                down = (key - prefix) // columns - row
                right = (key - prefix) % columns - column
                itself += weight / count if down == right == 0 else 0
                local += weight / count if max(abs(down), abs(right)) <= 1 else 0
            entropy += own / count
            effective += np.exp(own) / count
    keys = -sum(weight * np.log(weight) for weight in mean_row if weight > 0)
    distances = pair_distances(layout.grid, layout.patch_px)
    return {
        "entropy": entropy,
        "effective_tokens": effective,
        "prefix_mass": before,
        "self_mass": itself,
        "local_mass": local,
        "nmi": (keys - entropy) / np.sqrt(keys * np.log(count)),
        "distance_px": float(mean_distance(attention, distances, prefix, renormalised=False)),
    }


def of_pattern(pattern: np.ndarray, layout: TokenLayout) -> dict[str, float]:
    """The numbers of a single head that attends by a (query, key) pattern."""
    result = vi.head_statistics(capture_of(pattern[None, None, None], layout))
    return {name: array.item() for name, array in result.arrays().items()}


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("prefix", PREFIXES, ids=len)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_equals_the_plain_loops(
    random: np.random.Generator, grid: tuple[int, int], prefix: tuple[str, ...]
) -> None:
    layout = layout_of(*prefix, grid=grid, readout=MEAN)
    attention = peaked(random, 2, 3, 4, layout.token_count, layout.token_count)
    result = vi.head_statistics(capture_of(attention, layout))
    for layer, image, head in np.ndindex(2, 3, 4):
        wanted = by_loops(attention[layer, image, head], layout)
        for name, array in result.arrays().items():
            assert array[image, layer, head] == pytest.approx(wanted[name], rel=1e-9), name


def test_uniform_over_197_tokens() -> None:
    layout = layout_of("cls", grid=(14, 14), patch_px=(16, 16))
    found = of_pattern(np.full((197, 197), 1 / 197), layout)
    assert found["entropy"] == pytest.approx(5.283204, abs=5e-7)
    assert found["effective_tokens"] == pytest.approx(197, rel=1e-9)
    assert found["nmi"] == pytest.approx(0, abs=1e-12)
    assert found["prefix_mass"] == pytest.approx(1 / 197)
    assert found["self_mass"] == pytest.approx(1 / 197)
    # (3 * 14 - 2) ** 2 pairs of patches are neighbours or the same.
    assert found["local_mass"] == pytest.approx(40**2 / 196 / 197)
    assert found["distance_px"] == pytest.approx(115.900896, abs=5e-7)


def test_a_permutation_is_sharp_and_depends_on_the_query_alone(
    random: np.random.Generator,
) -> None:
    layout = layout_of(grid=(3, 4), readout=MEAN)
    found = of_pattern(np.eye(12)[random.permutation(12)], layout)
    assert found["entropy"] == 0
    assert found["effective_tokens"] == 1
    assert found["nmi"] == pytest.approx(1, rel=1e-12)
    itself = of_pattern(np.eye(12), layout)
    assert itself["self_mass"] == itself["local_mass"] == 1
    assert itself["distance_px"] == 0


@pytest.mark.parametrize("key", [0, 5], ids=["prefix token", "patch"])
def test_what_all_queries_attend_to_tells_nothing_of_them(key: int) -> None:
    found = of_pattern(np.tile(np.eye(8)[key], (8, 1)), layout_of("cls", "reg1"))
    assert (found["entropy"], found["effective_tokens"], found["nmi"]) == (0, 1, 0)
    assert found["prefix_mass"] == (key == 0)
    assert found["self_mass"] == pytest.approx((key == 5) / 6)


def test_rounding_leaves_no_negative_information(random: np.random.Generator) -> None:
    layout = layout_of(grid=(5, 7), readout=MEAN)
    rows = random.dirichlet(np.ones(35), (1, 1, 50, 1)).repeat(35, axis=3)
    nmi = vi.head_statistics(capture_of(rows, layout, dtype=torch.float32)).nmi
    assert nmi.min() == 0
    assert nmi.max() < 1e-6


def test_a_single_patch_has_numbers() -> None:
    found = of_pattern(np.full((2, 2), 0.5), layout_of("cls", grid=(1, 1)))
    assert found["entropy"] == pytest.approx(np.log(2))
    assert found["nmi"] == 0
    assert found["local_mass"] == 0.5


def test_effective_tokens_are_counted_query_by_query() -> None:
    """Half of the queries attend to one token, half to all 8: 4.5 on average, not sqrt(8)."""
    pattern = np.full((8, 8), 1 / 8)
    pattern[::2] = np.eye(8)[3]
    found = of_pattern(pattern, layout_of(grid=(2, 4), readout=MEAN))
    assert found["effective_tokens"] == pytest.approx(4.5)
    assert found["entropy"] == pytest.approx(np.log(8) / 2)


def test_queries_that_are_no_patches_do_not_count(random: np.random.Generator) -> None:
    layout = layout_of("cls", "reg1")
    pattern = peaked(random, 8, 8)
    other = np.concatenate([peaked(random, 2, 8), pattern[2:]])
    assert of_pattern(other, layout) == of_pattern(pattern, layout)


def test_a_box_holds_all_of_its_mass_also_at_the_border() -> None:
    row, column = (index.ravel() for index in np.indices((4, 5)))
    box = 1.0 * (np.maximum(abs(row - row[:, None]), abs(column - column[:, None])) <= 1)
    box /= box.sum(axis=1, keepdims=True)
    found = of_pattern(box, layout_of(grid=(4, 5), readout=MEAN))
    assert found["local_mass"] == pytest.approx(1, rel=1e-12)
    # Four corners have 4 places, ten edges 6, six inside 9.
    assert found["effective_tokens"] == pytest.approx((4 * 4 + 10 * 6 + 6 * 9) / 20)
    assert found["self_mass"] == pytest.approx((4 / 4 + 10 / 6 + 6 / 9) / 20)


def test_underflow_in_float32_is_no_hole() -> None:
    """Scores far apart: all but one weight are exactly 0."""
    layout = layout_of("cls")
    capture = capture_of(np.full((1, 1, 1, 7, 7), 1 / 7), layout, dtype=torch.float32)
    layer = replace(capture.layers[0], bias=500 * torch.eye(7)[None, None])
    result = vi.head_statistics(replace(capture, layers=(layer,)))
    assert result.entropy.item() == 0
    assert result.self_mass.item() == 1
    assert result.nmi.item() == pytest.approx(1)
    assert all(np.isfinite(array).all() for array in result.arrays().values())


def test_distance_and_prefix_mass_are_those_of_the_distance_figure(
    random: np.random.Generator,
) -> None:
    capture = capture_of(peaked(random, 2, 2, 3, 8, 8), layout_of("cls", "reg1"))
    result, distance = vi.head_statistics(capture), vi.attention_distance(capture)
    np.testing.assert_array_equal(result.distance_px, distance.distance_px)
    np.testing.assert_array_equal(result.prefix_mass, distance.prefix_mass)


def entropy_by_identity(
    queries: torch.Tensor, keys: torch.Tensor, scale: float, bias: torch.Tensor | None
) -> torch.Tensor:
    """Entropy of each row without its logarithms.

    H = LSE - scale * q . (mean of k) - mean of the bias, means weighed by the row.
    """
    scores = scale * queries @ keys.transpose(-2, -1)
    scores = scores if bias is None else scores + bias
    total = torch.logsumexp(scores, dim=-1)
    weights = (scores - total[..., None]).exp()
    entropy = total - scale * (queries * (weights @ keys)).sum(dim=-1)
    return entropy if bias is None else entropy - (weights * bias).sum(dim=-1)


def of_layer(layer: LayerAttention, prefix: int) -> torch.Tensor:
    """Mean over the patches of the identity's entropies, window by window where there are some."""
    if layer.windows is None:
        every = entropy_by_identity(layer.queries, layer.keys, layer.scale, layer.bias)
        return every[:, :, prefix:].mean(dim=-1)
    total = torch.zeros(layer.queries.shape[:2], dtype=layer.queries.dtype)
    for index, window in enumerate(layer.windows):
        bias = layer.bias
        if bias is not None:
            bias = bias[[index if len(bias) > 1 else 0]]
        tokens = layer.queries[:, :, window], layer.keys[:, :, window]
        total += entropy_by_identity(*tokens, layer.scale, bias).sum(dim=-1)
    return total / layer.windows.numel()


@pytest.mark.parametrize(
    ("architecture", "biased"),
    [
        ("vit_tiny_patch16_224", False),
        ("vit_relpos_small_patch16_224", True),
        ("beit_base_patch16_224", True),
    ],
)
def test_entropy_agrees_with_the_log_sum_exp_identity(
    architecture: str, biased: bool, small: Callable[..., vi.Model]
) -> None:
    capture = vi.capture(small(architecture, (64, 96)), [noise((90, 60), 1), noise((90, 60), 2)])
    assert (capture.layers[0].bias is not None) == biased
    result = vi.head_statistics(capture)
    agrees(capture, result)
    # Attention is peaked, and biases differ along the rows.
    assert result.entropy.min() < 0.8 * np.log(capture.layout.token_count)
    assert not biased or all(layer.bias.std() > 0.1 for layer in capture.layers)


def agrees(capture: vi.Capture, result: HeadStatistics) -> None:
    for index, layer in enumerate(capture.layers):
        wanted = of_layer(layer, capture.layout.prefix_count).numpy()
        np.testing.assert_allclose(result.entropy[:, index], wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("stage", [0, 1])
def test_entropy_agrees_with_the_identity_window_by_window(stage: int) -> None:
    capture = vi.capture(narrow_swin(SWIN).at_stage(stage), IMAGES)
    assert capture.layout.prefix == ()
    assert capture.layers[1].windows is not None
    result = vi.head_statistics(capture)
    agrees(capture, result)
    assert result.effective_tokens.max() <= 49


@pytest.mark.usefixtures("block_bytes")
def test_windows_with_padding_are_the_plain_loops_over_their_rows() -> None:
    capture = vi.capture(narrow_swin(SWIN, 64).at_stage(1), IMAGES)
    layout = capture.layout
    assert layout.key_prefix == (PADDING,)
    # As a token that asks nothing.
    as_token = replace(layout, prefix=(PADDING,), padded=False)
    result = vi.head_statistics(capture)
    assert result.prefix_mass.max() > 0.01
    for index, layer in enumerate(capture.layers):
        every = rows(layer, range(layout.token_count)).numpy()
        for image, head in np.ndindex(every.shape[:2]):
            wanted = by_loops(np.pad(every[image, head], ((1, 0), (0, 0))), as_token)
            for name, array in result.arrays().items():
                assert array[image, index, head] == pytest.approx(wanted[name], rel=1e-9), name


def test_every_row_is_computed_once(
    random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps: list[tuple[Any, ...]] = []

    def counted(layers: Any, *reductions: Any) -> None:
        sweeps.append(reductions)
        sweep(layers, *reductions)

    monkeypatch.setattr("vit_inspect.recording.observer.sweep", counted)
    vi.head_statistics(capture_of(peaked(random, 1, 1, 2, 7, 7), layout_of("cls")))
    assert len(sweeps) == 1


def test_batches_join_to_the_record_of_all(random: np.random.Generator) -> None:
    layout, attention = layout_of("cls"), peaked(random, 2, 3, 4, 7, 7)
    whole = vi.head_statistics(capture_of(attention, layout))
    parts = [
        vi.head_statistics(capture_of(attention[:, chosen], layout))
        for chosen in (slice(0, 1), slice(1, 3))
    ]
    joined = join(parts)
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(joined.arrays()[name], array, rtol=1e-12)
