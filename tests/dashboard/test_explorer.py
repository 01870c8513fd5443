"""What the explorer sends is what the browser will read: the rows, their masses and their words."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests.helpers.made import layout_of
from vit_inspect.figures import looks
from vit_inspect.layout import MEAN, MEAN_STAGE, PADDING, READOUT, Box, TokenLayout
from vit_inspect.records.base import Photograph
from vit_inspect_dashboard.components import explorer as module
from vit_inspect_dashboard.components.explorer import explorer, pack
from vit_inspect_dashboard.head_rows import HeadRows, all_queries, all_rows_fit

PIXELS = np.random.default_rng(1).integers(0, 256, (20, 40, 3), dtype=np.uint8)
PHOTOGRAPH = Photograph("<b>secret</b>.png", PIXELS, (40, 80), Box(11.5, 2.0, 68.5, 40.0))


def made(layout: TokenLayout, *, peak: float = 0.1) -> HeadRows:
    """All rows of a head, unequal and peaked: the smaller `peak`, the more."""
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.full(layout.token_count, peak), layout.token_count)
    return HeadRows(PHOTOGRAPH, layout, all_queries(layout), weights.astype(np.float32))


def unpacked(data: bytes) -> SimpleNamespace:
    """Reads as the browser does, from the description of `pack` alone."""
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    start = offset = 4 + length
    counts = [
        ("<f4", (len(header["queries"]),)),
        ("<f4", (len(header["queries"]), len(header["prefix"]))),
        ("<u2", (len(header["queries"]), *header["grid"])),
        ("u1", (256, 3)),
    ]
    arrays = []
    for kind, shape in counts:
        count = int(np.prod(shape))
        arrays.append(np.frombuffer(data, kind, count, offset).reshape(shape))
        offset += arrays[-1].nbytes
    largest, masses, steps, ramp = arrays
    return SimpleNamespace(
        start=start,
        header=header,
        largest=largest,
        masses=masses,
        weights=steps / header["steps"] * largest[:, None, None].astype(np.float64),
        ramp=ramp,
        picture=Image.open(io.BytesIO(data[offset:])),
    )


LAYOUTS = [
    layout_of(readout=MEAN),
    layout_of("cls"),
    layout_of("cls", "dist", grid=(3, 2)),
    layout_of("cls", *(f"reg{index}" for index in range(1, 5)), grid=(4, 5)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_arrive_to_a_part_in_65535_of_their_largest(layout: TokenLayout) -> None:
    rows = made(layout)
    found = unpacked(pack(rows, pinned=(0, 1), limit=None))
    true = rows.weights[:, layout.prefix_count :].reshape(-1, *layout.grid)
    largest = true.max(axis=(1, 2), keepdims=True)
    assert np.array_equal(found.largest, largest.ravel())
    assert np.all(np.abs(found.weights - true) <= 0.51 / 65_535 * largest)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masses_are_those_of_the_prefix_tokens_and_rows_still_sum_to_1(layout: TokenLayout) -> None:
    rows = made(layout)
    found = unpacked(pack(rows, pinned=(0, 1), limit=None))
    assert found.header["prefix"] == list(layout.prefix)
    assert np.array_equal(found.masses, rows.weights[:, : layout.prefix_count])
    total = found.masses.sum(axis=1) + found.weights.sum(axis=(1, 2))
    assert np.allclose(total, 1, atol=layout.patch_count / 65_535)


@pytest.mark.parametrize("name", ["c", "cl", "cls", "clss"])
def test_numbers_lie_at_multiples_of_their_size(name: str) -> None:
    data = pack(made(layout_of(name, readout=name)), pinned=name, limit=None)
    assert unpacked(data).start % 4 == 0


@pytest.mark.filterwarnings("error")
def test_a_row_without_attention_to_patches_is_empty() -> None:
    layout = layout_of("cls")
    weights = np.eye(1, layout.token_count, dtype=np.float32)
    found = unpacked(pack(HeadRows(PHOTOGRAPH, layout, ("cls",), weights), pinned="cls", limit=0.5))
    assert found.largest == 0
    assert not found.weights.any()


@pytest.mark.parametrize(
    ("limit", "above", "unit"),
    [
        (1e-6, True, "attention weight"),
        (1.0, False, "attention weight"),
        (None, False, "attention weight / largest of the map"),
    ],
)
def test_the_scale_says_what_it_means(limit: float | None, above: bool, unit: str) -> None:
    header = unpacked(pack(made(layout_of("cls")), pinned="cls", limit=limit)).header
    assert (header["limit"], header["above"], header["unit"]) == (limit, above, unit)


def test_only_weights_on_patches_count_as_above_the_scale() -> None:
    weights = np.array([[0.88, *[0.02] * 6]], dtype=np.float32)
    rows = HeadRows(PHOTOGRAPH, layout_of("cls"), ("cls",), weights)
    assert not unpacked(pack(rows, pinned="cls", limit=0.5)).header["above"]


def test_colours_are_those_of_the_figures() -> None:
    ramp = unpacked(pack(made(layout_of("cls")), pinned="cls", limit=None)).ramp
    values = np.random.default_rng(0).uniform(0, 1, 500)
    steps = np.minimum((values * 256).astype(int), 255)
    expected = looks.colour(values, looks.WEIGHT_MAP, (0.0, 1.0))[:, :3]
    assert np.array_equal(ramp[steps], expected)


def test_the_photograph_is_grey_and_nameless_and_lies_where_it_did() -> None:
    data = pack(made(layout_of("cls")), pinned="cls", limit=None)
    found = unpacked(data)
    assert found.picture.size == (40, 20)
    red, _, blue = np.moveaxis(np.asarray(found.picture.convert("RGB")).astype(int), -1, 0)
    assert np.abs(red - blue).max() <= 3
    assert (found.header["size"], found.header["seen"]) == ([40, 80], [11.5, 2.0, 68.5, 40.0])
    assert len(found.header["unseen"]) == 3
    assert b"secret" not in data


def test_queries_are_patches_by_index_and_tokens_by_name() -> None:
    header = unpacked(pack(made(layout_of("cls", "reg1")), pinned="reg1", limit=None)).header
    assert header["queries"] == ["Class token (CLS)", "Token reg1", *range(6)]
    assert header["pinned"] == "Token reg1"


def test_the_output_is_the_row_of_the_token_that_is_read() -> None:
    header = unpacked(pack(made(layout_of("cls")), pinned=READOUT, limit=None)).header
    assert header["queries"].index(header["pinned"]) == 0


def test_a_mean_may_be_a_row_of_its_own() -> None:
    layout = layout_of(readout=MEAN)
    rows = made(layout)
    mean = rows.weights.mean(axis=0, keepdims=True)
    alone = HeadRows(PHOTOGRAPH, layout, (READOUT,), mean)
    found = unpacked(pack(alone, pinned=READOUT, limit=None))
    assert found.header["pinned"] == "Mean of the patches"
    with pytest.raises(ValueError, match="no row of the query 'readout'"):
        pack(rows, pinned=READOUT, limit=None)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_queries_follow_the_order_of_the_tokens(layout: TokenLayout) -> None:
    tokens = [layout.token(query) for query in all_queries(layout)]
    assert tokens == list(range(layout.token_count))


@pytest.mark.parametrize(
    ("grid", "fits"), [((16, 16), True), ((37, 37), True), ((37, 38), True), ((38, 38), False)]
)
def test_rows_that_weigh_more_than_4_mb_stay(grid: tuple[int, int], fits: bool) -> None:
    assert all_rows_fit(layout_of("cls", grid=grid)) is fits


@pytest.mark.parametrize(
    ("sent", "heard"),
    [
        (0, [(0, 0)]),
        (5, [(1, 2)]),
        (-1, [None]),
        (6, []),
        (-2, []),
        ("1", []),
        (1.5, []),
        (None, []),
    ],
)
def test_a_pick_is_a_patch_of_the_grid_or_none(
    monkeypatch: pytest.MonkeyPatch, sent: Any, heard: list[Any]
) -> None:
    picks: list[Any] = []
    mounted: dict[str, Any] = {}
    monkeypatch.setattr(module, "component", lambda _: mounted.update)
    monkeypatch.setattr(st, "session_state", {"one": {"patch": sent}})
    rows = made(layout_of("cls"))
    explorer(rows, pinned="cls", limit=None, key="one", on_pick=picks.append)
    mounted["on_patch_change"]()
    assert picks == heard


def test_it_mounts_and_carries_its_bytes() -> None:
    def page() -> None:
        from tests.dashboard.test_explorer import made
        from tests.helpers.made import layout_of
        from vit_inspect_dashboard.components.explorer import explorer

        explorer(
            made(layout_of("cls")), pinned="cls", limit=None, key="one", on_pick=lambda _: None
        )

    app = AppTest.from_function(page).run()
    assert not app.exception
    (mounted,) = app.get("bidi_component")
    assert mounted.proto.bytes == pack(made(layout_of("cls")), pinned="cls", limit=None)
    assert "export default function" in mounted.proto.js_content


def test_the_padding_of_windows_is_a_key_and_never_a_query() -> None:
    layout = replace(layout_of(readout=MEAN_STAGE), padded=True)
    assert all_queries(layout) == tuple((row, column) for row in range(2) for column in range(3))
    mean = np.full((1, 7), 1 / 7, dtype=np.float32)
    header = unpacked(
        pack(HeadRows(PHOTOGRAPH, layout, (READOUT,), mean), pinned=READOUT, limit=None)
    ).header
    assert header["prefix"] == [PADDING]
    assert header["pinned"] == "Mean of this stage's patches"
