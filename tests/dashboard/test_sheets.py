"""Are the maps and rows that are drawn those of the core, with heads, means and maxima in place?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import vit_inspect as vi
from tests.helpers.held import holding, photograph
from tests.helpers.made import capture_of, layout_of, peaked
from vit_inspect.layout import MEAN, MEAN_ALL, READOUT, Query, Region, TokenLayout
from vit_inspect.recording.recorder import Capture
from vit_inspect_dashboard import sheets
from vit_inspect_dashboard.sheets import CLIPS, MAX, all_queries, all_rows_fit

LAYERS, HEADS = 3, 4
LAYOUTS = [
    layout_of("cls"),
    layout_of("cls", "reg1", grid=(3, 2)),
    layout_of("reg1", "cls", grid=(1, 4)),
    layout_of(readout=MEAN),
    layout_of("reg1", readout=MEAN_ALL, grid=(4, 5)),
]


def attention_of(layout: TokenLayout) -> np.ndarray:
    """Attention (layer, image, head, query, key) of one image."""
    tokens = layout.token_count
    return peaked(np.random.default_rng(0), LAYERS, 1, HEADS, tokens, tokens)


def captured(layout: TokenLayout) -> Capture:
    return replace(capture_of(attention_of(layout), layout), photographs=(photograph(),))


def row_of(layout: TokenLayout, layer: int, query: Query) -> np.ndarray:
    """The rows (head, key) of a query, by loops over heads and the tokens that are read."""
    attention, shares = attention_of(layout)[layer, 0], layout.readout_weights()
    row = np.zeros(attention.shape[::2])
    for head in range(HEADS):
        if query != READOUT:
            row[head] = attention[head, layout.token(query)]
            continue
        for token, share in enumerate(shares):
            row[head] += share * attention[head, token]
    return row


def with_mean_and_max(heads: np.ndarray) -> np.ndarray:
    """Rows (column, key), the last two of which are over all heads."""
    mean = [sum(heads[:, key]) / HEADS for key in range(heads.shape[1])]
    largest = [max(heads[:, key]) for key in range(heads.shape[1])]
    return np.array([*heads, mean, largest])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("query", [READOUT, (0, 1)])
def test_a_sheet_has_every_head_and_beside_them_their_mean_and_their_maximum(
    layout: TokenLayout, query: Query
) -> None:
    capture = captured(layout)
    maps, readout = vi.attention_maps(capture, query=query), vi.attention_maps(capture)
    sheet = sheets.attention(maps, readout, query, (2, 1), sheets.NO_ROWS)
    assert sheet.columns == ("0", "1", "2", "3", sheets.MEAN, MAX)
    assert sheet.values.shape == (LAYERS, HEADS + 2, *layout.grid)
    for layer in range(LAYERS):
        wanted, first = with_mean_and_max(row_of(layout, layer, query)), layout.prefix_count
        np.testing.assert_allclose(sheet.prefix[layer], wanted[:, :first], atol=1e-6)
        shown = sheet.values[layer].reshape(HEADS + 2, -1)
        np.testing.assert_allclose(shown, wanted[:, first:], atol=1e-6)
    assert (sheet.query, sheet.opened, sheet.pins) == (query, (2, 1), True)
    assert sheet.photograph is capture.photographs[0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("column", range(HEADS + 2))
def test_rows_are_those_of_each_token_in_a_head_or_over_all_heads(
    layout: TokenLayout, column: int
) -> None:
    capture, layer = captured(layout), 1
    maps = vi.attention_maps(capture)
    found = sheets.attention_rows(capture, maps, READOUT, layer, column)
    averaged = layout.readout not in layout.prefix
    assert found.queries == (*all_queries(layout), *([READOUT] if averaged else []))
    for query, row in zip(found.queries, found.values, strict=True):
        wanted = with_mean_and_max(row_of(layout, layer, query))[column]
        np.testing.assert_allclose(row, wanted, atol=1e-6, err_msg=str(query))


@pytest.mark.parametrize("column", [0, HEADS, HEADS + 1])
def test_a_region_has_a_row_of_its_own_which_is_the_mean_of_its_patches(column: int) -> None:
    layout = layout_of("cls", grid=(3, 4))
    capture, region = captured(layout), Region(1, 0, 2, 1)
    maps = vi.attention_maps(capture, query=region)
    found = sheets.attention_rows(capture, maps, region, 1, column)
    assert found.queries == (*all_queries(layout), region)
    patches = ((1, 0), (1, 1), (2, 0), (2, 1))
    mean = sum(row_of(layout, 1, patch) for patch in patches) / 4
    np.testing.assert_allclose(found.values[-1], with_mean_and_max(mean)[column], atol=1e-6)


@pytest.mark.parametrize("column", [0, HEADS, HEADS + 1])
def test_of_a_pinned_patch_there_are_the_rows_of_all_tokens(column: int) -> None:
    layout = layout_of(readout=MEAN)
    capture = captured(layout)
    rows = [
        sheets.attention_rows(
            capture, vi.attention_maps(capture, query=query), query, 2, column
        ).values
        for query in ((0, 1), (1, 2))
    ]
    np.testing.assert_array_equal(*rows)
    assert len(rows[0]) == layout.token_count


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("query", [READOUT, (0, 1)])
@pytest.mark.parametrize("column", [1, HEADS, HEADS + 1])
def test_where_rows_are_too_many_there_is_that_of_the_query(
    monkeypatch: pytest.MonkeyPatch, layout: TokenLayout, query: Query, column: int
) -> None:
    monkeypatch.setattr(sheets, "MAX_BYTES", 9)
    capture = captured(layout)
    maps = vi.attention_maps(capture, query=query)
    found = sheets.attention_rows(capture, maps, query, 0, column)
    assert found.queries == (query,)
    wanted = with_mean_and_max(row_of(layout, 0, query))[column]
    np.testing.assert_allclose(found.values[0], wanted, atol=1e-6)


def test_the_shared_scale_is_that_of_what_the_model_reads_whatever_the_query_is() -> None:
    layout = layout_of("cls", grid=(4, 5))
    capture = captured(layout)
    readout = vi.attention_maps(capture)
    limits = []
    for query in (READOUT, (0, 1), (3, 4)):
        maps = vi.attention_maps(capture, query=query)
        limits.append(sheets.attention(maps, readout, query, (0, 0), sheets.NO_ROWS).limits)
    assert limits[0] == limits[1] == limits[2]
    weights = sorted(attention_of(layout)[:, 0, :, 0, 1:].ravel())
    for clip in CLIPS:
        # Of single heads and of patches alone.
        assert limits[0][clip] == (0, pytest.approx(np.percentile(weights, clip), rel=1e-6))
    assert limits[0][100.0][1] == pytest.approx(weights[-1])


@pytest.mark.parametrize(
    ("layout", "tokens"),
    [
        (layout_of("cls"), (READOUT,)),
        (layout_of("reg1", "cls"), (READOUT, "reg1")),
        (layout_of(readout=MEAN), (READOUT,)),
        (layout_of("reg1", readout=MEAN_ALL), (READOUT, "reg1")),
    ],
)
def test_a_pinned_patch_can_be_let_go_for_what_the_model_reads(
    layout: TokenLayout, tokens: tuple[str, ...]
) -> None:
    capture = captured(layout)
    maps, readout = vi.attention_maps(capture, query=(0, 0)), vi.attention_maps(capture)
    assert sheets.attention(maps, readout, (0, 0), (0, 0), sheets.NO_ROWS).tokens == tokens


def test_similar_patches_have_a_map_in_each_layer_and_a_row_for_each_patch() -> None:
    grid, random = (3, 4), np.random.default_rng(0)
    tokens = [random.normal(size=(1, 12, 5)) for _ in range(2)]
    capture = holding(*tokens, grid=grid)
    capture = replace(capture, model=replace(capture.model, blocks=capture.model.blocks * 2))
    each = [vi.token_similarity(capture, patch=(1, 2), layer=layer) for layer in (0, 1)]
    found = sheets.similarity_rows(capture, None, 1)
    sheet = sheets.similarity(each, 1, found)
    assert (sheet.query, sheet.opened, sheet.columns) == ((1, 2), (1, 0), ("",))
    assert (sheet.pins, sheet.tokens, sheet.prefix.shape) == (True, (), (2, 1, 0))
    assert found.queries == tuple(np.ndindex(grid))
    for layer, record in enumerate(each):
        np.testing.assert_allclose(sheet.values[layer, 0], record.similarity[0], atol=1e-6)
    for patch, row in zip(found.queries, found.values, strict=True):
        wanted = vi.token_similarity(capture, patch=patch, layer=1).similarity[0]
        np.testing.assert_allclose(row.reshape(grid), wanted, atol=1e-6)
    np.testing.assert_allclose(found.values[6], sheet.values[1, 0].ravel(), atol=1e-6)
    alone = sheets.similarity_rows(capture, (1, 2), 1)
    assert alone.queries == ((1, 2),)
    np.testing.assert_allclose(alone.values[0], found.values[6], atol=1e-6)


def test_the_scale_of_maps_with_values_below_zero_begins_at_the_least() -> None:
    values = np.linspace(-1, 1, 12).reshape(2, 2, 3)
    layout = layout_of("cls")
    sheet = sheets.still("Similarity", "cosine", photograph(), layout, values, 1)
    assert (sheet.from_zero, sheet.opened) == (False, (1, 0))
    assert sheet.limits[100.0] == (-1, 1)
    assert sheet.limits[95.0] == (-1, pytest.approx(np.percentile(values, 95)))
    whole = sheets.still("Norm", "norm", photograph(), layout, values, 1, from_zero=True)
    assert whole.limits[100.0] == (0, 1)
    assert (sheet.pins, sheet.query, sheet.rows.queries) == (False, None, ())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_queries_follow_the_order_of_the_tokens(layout: TokenLayout) -> None:
    tokens = [layout.token(query) for query in all_queries(layout)]
    assert tokens == list(range(layout.token_count))


@pytest.mark.parametrize(
    ("grid", "fits"), [((16, 16), True), ((37, 37), True), ((37, 38), True), ((38, 38), False)]
)
def test_rows_that_weigh_more_than_4_mb_stay(grid: tuple[int, int], fits: bool) -> None:
    assert all_rows_fit(layout_of("cls", grid=grid)) is fits
