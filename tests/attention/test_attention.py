"""Are streamed attention rows those of the plain softmax, each once, in blocks that stay small?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.helpers.watched import Largest
from vit_inspect.attention import blocks
from vit_inspect.attention.blocks import RowBlock, row_blocks
from vit_inspect.attention.layer import AxisBias, LayerAttention
from vit_inspect.attention.rows import rows
from vit_inspect.attention.sweep import Reduction, sweep
from vit_inspect.device import memory_refusal
from vit_inspect.errors import OutOfMemory

IMAGES, HEADS, TOKENS, WIDTH = 3, 2, 7, 4


def product(layer: LayerAttention, row: Tensor) -> Tensor:
    """The row-vector product, put together from all blocks."""
    images, heads, keys, _ = layer.keys.shape
    total = torch.zeros(images, heads, keys, dtype=torch.float64)
    for block in row_blocks(layer):
        total[block.images] += block.product(row)
    return total


def made(
    *,
    bias_shape: tuple[int, ...] | None = None,
    keys: int = TOKENS,
    queries: int = TOKENS,
    heads: int = HEADS,
    images: int = IMAGES,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> LayerAttention:
    """A layer with peaked attention; the values have a width of their own."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return LayerAttention(
        queries=3 * normal(images, heads, queries, WIDTH),
        keys=normal(images, heads, keys, WIDTH),
        values=normal(images, heads, keys, WIDTH + 1),
        bias=None if bias_shape is None else 2 * normal(*bias_shape),
        scale=0.7,
    )


def explicit(layer: LayerAttention) -> np.ndarray:
    """Softmax of scale * q . k + bias, by loops over everything."""
    queries, keys = (each.double().numpy() for each in (layer.queries, layer.keys))
    shape = (*queries.shape[:3], keys.shape[2])
    bias = np.zeros(shape)
    if layer.bias is not None:
        bias = np.broadcast_to(layer.bias.double().numpy(), shape)
    result = np.zeros(shape)
    for image, head, query in np.ndindex(*shape[:3]):
        scores = [
            layer.scale * sum(queries[image, head, query] * keys[image, head, key])
            + bias[image, head, query, key]
            for key in range(shape[3])
        ]
        exponentials = np.exp(np.array(scores) - max(scores))
        result[image, head, query] = exponentials / exponentials.sum()
    return result


BIASES = (
    None,
    (1, 1, TOKENS, TOKENS),
    (1, HEADS, TOKENS, TOKENS),
    (IMAGES, 1, TOKENS, TOKENS),
    (IMAGES, HEADS, TOKENS, TOKENS),
    (1, HEADS, 1, TOKENS),
    (IMAGES, 1, 1, TOKENS),
    (1, 1, 1, TOKENS),
)
BUDGETS = (1, 200, 500, 1000, 10**6)


@pytest.mark.parametrize("bias_shape", BIASES, ids=str)
def test_rows_are_the_plain_softmax(bias_shape: tuple[int, ...] | None) -> None:
    layer = made(bias_shape=bias_shape)
    chosen = [5, 0, 6, 5]
    found = rows(layer, chosen)
    np.testing.assert_allclose(found.numpy(), explicit(layer)[:, :, chosen], rtol=1e-12)


@pytest.mark.parametrize("bias_shape", BIASES, ids=str)
def test_one_head_is_that_head_alone(bias_shape: tuple[int, ...] | None) -> None:
    layer = made(bias_shape=bias_shape)
    for head in range(HEADS):
        found = rows(layer.of_head(head), [3, 0])
        assert torch.equal(found, rows(layer, [3, 0])[:, head : head + 1])
        assert layer.of_head(head).queries.data_ptr() != layer.of_head(head - 1).queries.data_ptr()


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("bias_shape", BIASES, ids=str)
def test_blocks_are_the_plain_softmax(bias_shape: tuple[int, ...] | None, budget: int) -> None:
    layer = made(bias_shape=bias_shape)
    wanted = explicit(layer)
    for block in row_blocks(layer, block_bytes=budget):
        np.testing.assert_allclose(
            block.weights.numpy(), wanted[block.images, :, block.queries], rtol=1e-12
        )


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_bias_of_minus_infinity_hides_keys(budget: int) -> None:
    layer = made(bias_shape=(1, HEADS, TOKENS, TOKENS))
    hidden = torch.rand(1, HEADS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(1)) < 0.4
    hidden[..., 0] = False
    layer.bias.masked_fill_(hidden, -torch.inf)
    wanted = explicit(layer)
    for block in row_blocks(layer, block_bytes=budget):
        found = block.weights.numpy()
        np.testing.assert_allclose(found, wanted[block.images, :, block.queries], rtol=1e-12)
        assert np.all(found[hidden[:, :, block.queries].expand_as(block.weights).numpy()] == 0)


def test_cross_attention_has_as_many_keys_as_it_likes() -> None:
    layer = made(queries=2, keys=9, bias_shape=(1, 1, 2, 9))
    np.testing.assert_allclose(rows(layer, [1, 0]).numpy(), explicit(layer)[:, :, [1, 0]])
    blocks = list(row_blocks(layer, block_bytes=1))
    assert [block.weights.shape for block in blocks] == [(1, HEADS, 1, 9)] * (IMAGES * 2)


@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(1, 4),
    heads=st.integers(1, 3),
    tokens=st.integers(1, 9),
    budget=st.integers(1, 9000),
)
def test_blocks_cover_every_row_once_within_the_budget(
    images: int, heads: int, tokens: int, budget: int
) -> None:
    layer = made(images=images, heads=heads, queries=tokens, keys=tokens)
    seen = np.zeros((images, tokens), int)
    row_bytes = heads * tokens * 8
    previous = (-1, -1)
    for block in row_blocks(layer, block_bytes=budget):
        seen[block.images, block.queries] += 1
        size = (block.images.stop - block.images.start, block.queries.stop - block.queries.start)
        assert block.weights.shape == (size[0], heads, size[1], tokens)
        assert size[0] * size[1] * row_bytes <= max(budget, row_bytes)
        assert size[0] == 1 or size[1] == tokens
        assert (block.images.start, block.queries.start) > previous
        previous = (block.images.start, block.queries.start)
        sums = block.weights.sum(dim=-1)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(seen, 1)


def test_a_tiny_budget_gives_single_rows_and_a_large_one_everything_at_once() -> None:
    layer = made()
    tiny = list(row_blocks(layer, block_bytes=1))
    large = list(row_blocks(layer, block_bytes=10**9))
    assert len(tiny) == IMAGES * TOKENS
    assert [(block.images, block.queries) for block in large] == [
        (slice(0, IMAGES), slice(0, TOKENS))
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_blocks_products_add_up_to_the_product_with_the_matrix(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = made(bias_shape=(1, HEADS, TOKENS, TOKENS), dtype=dtype)
    weights = torch.rand(IMAGES, TOKENS, generator=torch.Generator().manual_seed(2))
    wanted = np.einsum("iq,ihqk->ihk", weights.double().numpy(), explicit(layer))
    for budget in (1, 300, 10**6):
        monkeypatch.setattr("vit_inspect.attention.blocks.CPU_BLOCK_BYTES", budget)
        kind = torch.float64 if dtype == torch.float64 else torch.float32
        assert {block.product(weights).dtype for block in row_blocks(layer)} == {kind}
        found = product(layer, weights)
        tolerance = 1e-6 if dtype != torch.float64 else 1e-12
        np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype: torch.dtype) -> None:
    """Scores of about 10 in half precision would be wrong in the second digit."""
    layer = made(dtype=dtype, bias_shape=(1, 1, TOKENS, TOKENS))
    found = rows(layer, range(TOKENS))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), explicit(layer), rtol=0, atol=1e-6)
    for block in row_blocks(layer):
        assert block.weights.dtype == torch.float32
        np.testing.assert_allclose(block.weights.numpy(), explicit(layer), rtol=0, atol=1e-6)


class Listed(Reduction):
    """A reduction that writes down what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def add(self, layer: int, block: RowBlock) -> None:
        assert torch.is_inference_mode_enabled()
        self.seen.append((layer, block.images.start, block.queries.start))


@pytest.mark.parametrize("first_layer", [0, 1, 2])
def test_a_sweep_goes_from_the_last_layer_to_the_first_with_queries_in_order(
    first_layer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vit_inspect.attention.blocks.CPU_BLOCK_BYTES", 1)
    one, other = Listed(), Listed()
    sweep([made(seed=seed) for seed in range(3)], one, other, first_layer=first_layer)
    wanted = [
        (layer, image, query)
        for layer in reversed(range(first_layer, 3))
        for image in range(IMAGES)
        for query in range(TOKENS)
    ]
    assert one.seen == wanted
    assert other.seen == wanted


TALL = 400


@pytest.mark.parametrize("bias_shape", [None, (1, HEADS, TALL, TALL)], ids=["plain", "bias"])
def test_nothing_as_large_as_the_matrix_is_ever_made(
    bias_shape: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = made(images=1, queries=TALL, keys=TALL, bias_shape=bias_shape)
    ten_rows = 10 * HEADS * TALL
    monkeypatch.setattr("vit_inspect.attention.blocks.CPU_BLOCK_BYTES", ten_rows * 8)
    with Largest() as largest:
        rows(layer, [0, 7])
        product(layer, torch.ones(1, TALL))
    assert largest.numel == ten_rows


def test_the_watch_for_large_tensors_sees_a_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = made(images=1, queries=TALL, keys=TALL)
    whole = HEADS * TALL * TALL
    monkeypatch.setattr("vit_inspect.attention.blocks.CPU_BLOCK_BYTES", whole * 8)
    with Largest() as largest:
        product(layer, torch.ones(1, TALL))
    assert largest.numel == whole


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_a_full_device_is_told_in_a_sentence(error: Exception) -> None:
    with (
        pytest.raises(OutOfMemory, match=r"device cpu; expected room for 2 images of 1,370 tokens"),
        memory_refusal(2, 1370, torch.device("cpu")),
    ):
        raise error


def test_other_failures_pass() -> None:
    with (
        pytest.raises(RuntimeError, match="shapes"),
        memory_refusal(1, 5, torch.device("cpu")),
    ):
        raise RuntimeError("shapes")


def test_a_sweep_that_does_not_fit_is_told_in_a_sentence() -> None:
    class Huge(Reduction):
        def add(self, layer: int, block: RowBlock) -> None:
            torch.empty(2**60)

    with pytest.raises(OutOfMemory, match=f"room for {IMAGES} images of {TOKENS} tokens"):
        sweep([made()], Huge())


# Windows of unequal neighbours; key 0 is the padding, which fills three places and is no token.
WINDOWS = torch.tensor([[4, 1, 6], [0, 5, 0], [2, 0, 3]])
WINDOW_BIASES = (None, (1, 1, 3, 3), (1, HEADS, 3, 3), (3, 1, 3, 3), (3, HEADS, 3, 3))


def windowed(bias_shape: tuple[int, ...] | None, *, dtype: torch.dtype = torch.float64) -> Any:
    layer = made(bias_shape=bias_shape, dtype=dtype, queries=TOKENS - 1)
    return replace(layer, windows=WINDOWS, padded=True)


def explicit_windows(layer: LayerAttention) -> np.ndarray:
    """Softmax inside each window, put in its place of the whole rows, by loops over everything."""
    queries, keys = layer.queries.double().numpy(), layer.keys.double().numpy()
    result = np.zeros((IMAGES, HEADS, TOKENS - 1, TOKENS))
    for image, head, window, place in np.ndindex(IMAGES, HEADS, 3, 3):
        members = WINDOWS[window].tolist()
        query = members[place] - 1
        if query < 0:
            continue
        bias = np.zeros(3)
        if isinstance(layer.bias, AxisBias):
            # The places of a window are a row of three columns.
            by_row, by_column = (each[image, head, query].numpy() for each in layer.bias)
            bias = by_row[0] + by_column
        elif layer.bias is not None:
            shape = 3, HEADS, 3, 3
            bias = np.broadcast_to(layer.bias.double().numpy(), shape)[window, head, place]
        scores = layer.scale * keys[image, head, members] @ queries[image, head, query] + bias
        exponentials = np.exp(scores - max(scores))
        # Weights on the padding add up.
        np.add.at(result[image, head, query], members, exponentials / exponentials.sum())
    return result


def axis_bias(rows: int, columns: int, queries: int = TOKENS) -> AxisBias:
    random = np.random.default_rng(4)
    return AxisBias(
        *(
            2 * torch.from_numpy(random.normal(size=(IMAGES, HEADS, queries, each)))
            for each in (rows, columns)
        )
    )


def with_bias(kind: Any) -> Any:
    """A layer with windows, and a bias of this shape or "by axis"."""
    if kind != "by axis":
        return windowed(kind)
    return replace(windowed(None), bias=axis_bias(1, 3, TOKENS - 1))


@pytest.mark.parametrize("bias", [*WINDOW_BIASES, "by axis"], ids=str)
def test_rows_of_windows_are_complete_and_zero_outside(bias: Any) -> None:
    layer = with_bias(bias)
    chosen = [4, 0, 5, 4, 1]
    found = rows(layer, chosen)
    wanted = explicit_windows(layer)
    np.testing.assert_allclose(found.numpy(), wanted[:, :, chosen], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(found.sum(dim=-1), 1, rtol=1e-12)
    for query, key in np.ndindex(TOKENS - 1, TOKENS):
        together = any({query + 1, key} <= set(window.tolist()) for window in WINDOWS)
        assert together or np.all(wanted[:, :, query, key] == 0)
    np.testing.assert_array_equal(
        rows(layer, [4, 3]).numpy() == 0, wanted[:, :, [4, 3]] == 0, "zeros are exact"
    )


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("bias", [*WINDOW_BIASES, "by axis"], ids=str)
def test_blocks_of_windows_are_their_rows(bias: Any, budget: int) -> None:
    layer = with_bias(bias)
    wanted = explicit_windows(layer)
    seen = np.zeros((IMAGES, TOKENS - 1), int)
    total = torch.zeros(IMAGES, HEADS, TOKENS, dtype=torch.float64)
    left = torch.rand(IMAGES, TOKENS - 1, dtype=torch.float64)
    for block in row_blocks(layer, block_bytes=budget):
        seen[block.images, block.queries] += 1
        assert block.weights.nbytes <= max(budget, HEADS * TOKENS * 8)
        np.testing.assert_allclose(
            block.weights.numpy(), wanted[block.images, :, block.queries], rtol=1e-12, atol=1e-15
        )
        total[block.images] += block.product(left)
    np.testing.assert_array_equal(seen, 1)
    product = np.einsum("iq,ihqk->ihk", left.numpy(), wanted)
    np.testing.assert_allclose(total.numpy(), product, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("bias", [*WINDOW_BIASES, "by axis"], ids=str)
def test_one_head_of_windows_is_that_head_alone(bias: Any) -> None:
    layer = with_bias(bias)
    for head in range(HEADS):
        found = rows(layer.of_head(head), range(TOKENS - 1))
        assert torch.equal(found, rows(layer, range(TOKENS - 1))[:, head : head + 1])


def test_half_precision_windows_are_summed_in_float32() -> None:
    layer = windowed((3, HEADS, 3, 3), dtype=torch.bfloat16)
    found = rows(layer, range(TOKENS - 1))
    assert found.dtype == torch.float32
    assert {block.weights.dtype for block in row_blocks(layer)} == {torch.float32}
    np.testing.assert_allclose(found.numpy(), explicit_windows(layer), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("budget", [1, 500, 10**6])
def test_a_bias_by_axis_is_that_of_every_pair(budget: int) -> None:
    bias = axis_bias(2, 4)
    layer = replace(made(keys=8), bias=bias)
    whole = (bias.rows[..., None] + bias.columns[..., None, :]).flatten(-2)
    wanted = explicit(replace(layer, bias=whole))
    for block in row_blocks(layer, block_bytes=budget):
        found = block.weights.numpy()
        np.testing.assert_allclose(found, wanted[block.images, :, block.queries], rtol=1e-12)
    alone = rows(layer.of_head(1), [3, 0])
    np.testing.assert_allclose(alone, wanted[:, 1:, [3, 0]], rtol=1e-12)


@pytest.mark.parametrize("budget", [1, 500, 10**6])
def test_nothing_attends_to_the_padding_where_there_are_no_windows(budget: int) -> None:
    layer = replace(made(queries=TOKENS - 1), padded=True)
    tokens = replace(layer, keys=layer.keys[:, :, 1:], values=layer.values[:, :, 1:], padded=False)
    wanted = np.pad(explicit(tokens), ((0, 0),) * 3 + ((1, 0),))
    np.testing.assert_allclose(rows(layer, [2, 0]), wanted[:, :, [2, 0]], rtol=1e-12)
    for block in row_blocks(layer, block_bytes=budget):
        found = block.weights.numpy()
        np.testing.assert_allclose(found, wanted[block.images, :, block.queries], rtol=1e-12)


@pytest.mark.parametrize(
    ("device", "asked", "answer"),
    [
        ("cuda", "torch.cuda.mem_get_info", (8_000, 9_000)),
        ("mps", "torch.mps.recommended_max_memory", 8_000),
    ],
)
def test_blocks_take_a_share_of_the_memory_of_an_accelerator(
    monkeypatch: pytest.MonkeyPatch, device: str, asked: str, answer: object
) -> None:
    monkeypatch.setattr(asked, lambda *_: answer)
    assert blocks._block_bytes(torch.device(device)) == 8_000 * blocks.DEVICE_MEMORY_SHARE
