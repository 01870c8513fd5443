"""What the explorer sends is what the browser will read, and what it hears back was offered."""

from __future__ import annotations

import io
import json
import re
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
from vit_inspect.layout import MEAN, MEAN_STAGE, PADDING, READOUT, Box, Query, Region, TokenLayout
from vit_inspect.records.base import Photograph
from vit_inspect_dashboard import address, canvas
from vit_inspect_dashboard.canvas import chosen_look
from vit_inspect_dashboard.components import explorer as module
from vit_inspect_dashboard.components.explorer import CHOICES, explorer, pack
from vit_inspect_dashboard.sheets import (
    CLIPS,
    MAX,
    Rows,
    Sheet,
    all_queries,
    shared_limits,
    still,
)

PIXELS = np.random.default_rng(1).integers(0, 256, (20, 40, 3), dtype=np.uint8)
PHOTOGRAPH = Photograph("<b>secret</b>.png", PIXELS, (40, 80), Box(11.5, 2.0, 68.5, 40.0))
LAYERS, COLUMNS = 2, ("0", "1", "mean", MAX)
LOOK = {name: options[0] for name, options in CHOICES.items()}


def attention(layout: TokenLayout, *shape: int) -> np.ndarray:
    """Rows of attention that are unequal and peaked, on the keys of a layout."""
    keys = len(layout.key_prefix) + layout.patch_count
    random = np.random.default_rng(len(shape))
    return random.dirichlet(np.full(keys, 0.1), shape).astype(np.float32)


def made(layout: TokenLayout, *, query: Query = READOUT, rows: Rows | None = None) -> Sheet:
    """Attention of two layers and four columns, with the rows of all tokens of the open one."""
    maps, first = attention(layout, LAYERS, len(COLUMNS)), len(layout.key_prefix)
    queries = all_queries(layout)
    values = maps[..., first:].reshape(LAYERS, len(COLUMNS), *layout.grid)
    return Sheet(
        kind="Attention",
        unit="attention weight",
        photograph=PHOTOGRAPH,
        layout=layout,
        columns=COLUMNS,
        values=values,
        prefix=maps[..., :first],
        query=query,
        opened=(1, 2),
        rows=rows or Rows(queries, attention(layout, len(queries))),
        limits=shared_limits(values, from_zero=True),
        pins=True,
        tokens=(READOUT, *(each for each in layout.prefix if each != layout.readout)),
    )


def unpacked(data: bytes) -> SimpleNamespace:
    """Reads as the browser does, from the description of `pack` alone.

    maps: (layer, column, row, column of patches), with their masses on `header["prefix"]`.
    weights: (query, row, column) of the rows, with their masses.
    """
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    start = offset = 4 + length

    def taken(kind: str, *shape: int) -> np.ndarray:
        nonlocal offset
        found = np.frombuffer(data, kind, int(np.prod(shape)), offset).reshape(shape)
        offset += found.nbytes
        return found

    counts = [header["layers"] * len(header["columns"]), len(header["queries"])]
    ends = [
        (taken("<f4", count), taken("<f4", count), taken("<f4", count, len(header["prefix"])))
        for count in counts
    ]
    values = []
    for count, (least, largest, _) in zip(counts, ends, strict=True):
        steps = taken("<u2", count, *header["grid"]) / header["steps"]
        span = (largest - least)[:, None, None].astype(np.float64)
        values.append(least[:, None, None] + steps * span)
    layers, columns = header["layers"], len(header["columns"])
    return SimpleNamespace(
        start=start,
        header=header,
        least=ends[1][0],
        largest=ends[1][1],
        maps=values[0].reshape(layers, columns, *header["grid"]),
        map_masses=ends[0][2].reshape(layers, columns, -1),
        weights=values[1],
        masses=ends[1][2],
        colours=taken("u1", layers if header["coloured"] else 0, *header["grid"], 3),
        ramp=taken("u1", 256, 3),
        picture=Image.open(io.BytesIO(data[offset:])),
    )


def sent(sheet: Sheet) -> SimpleNamespace:
    """What the browser reads of a sheet, as it looks at first."""
    return unpacked(pack(sheet, LOOK))


LAYOUTS = [
    layout_of(readout=MEAN),
    layout_of("cls"),
    layout_of("cls", "dist", grid=(3, 2)),
    layout_of("cls", *(f"reg{index}" for index in range(1, 5)), grid=(4, 5)),
    replace(layout_of(readout=MEAN_STAGE), padded=True),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_maps_and_rows_arrive_to_a_part_in_65535_of_their_span(layout: TokenLayout) -> None:
    sheet = made(layout)
    found = sent(sheet)
    rows = sheet.rows.values[:, len(layout.key_prefix) :].reshape(-1, *layout.grid)
    for true, told in ((sheet.values, found.maps), (rows, found.weights)):
        span = np.ptp(true, axis=(-2, -1), keepdims=True)
        assert np.all(np.abs(told - true) <= 0.51 / 65_535 * span)
    assert np.array_equal(found.largest, rows.max(axis=(1, 2)))
    assert np.array_equal(found.least, rows.min(axis=(1, 2)))


def test_marked_patches_arrive_by_their_index() -> None:
    sheet = made(layout_of("cls", "reg1", grid=(4, 5)))
    assert sent(sheet).header["outlined"] == []
    marked = replace(sheet, outlined=((0, 3), (2, 1)))
    assert sent(marked).header["outlined"] == [3, 11]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masses_are_those_of_the_prefix_keys_and_rows_still_sum_to_1(layout: TokenLayout) -> None:
    sheet = made(layout)
    found = sent(sheet)
    assert found.header["prefix"] == [
        "CLS" if each == "cls" else each for each in layout.key_prefix
    ]
    assert np.array_equal(found.map_masses, sheet.prefix)
    assert np.array_equal(found.masses, sheet.rows.values[:, : len(layout.key_prefix)])
    for masses, weights in ((found.map_masses, found.maps), (found.masses, found.weights)):
        total = masses.sum(axis=-1) + weights.sum(axis=(-2, -1))
        assert np.allclose(total, 1, atol=layout.patch_count / 65_535)


@pytest.mark.parametrize("name", ["c", "cl", "cls", "clss"])
def test_numbers_lie_at_multiples_of_their_size(name: str) -> None:
    assert sent(made(layout_of(name, readout=name))).start % 4 == 0


@pytest.mark.filterwarnings("error")
def test_a_row_without_attention_to_patches_is_empty() -> None:
    layout = layout_of("cls")
    weights = np.eye(1, layout.token_count, dtype=np.float32)
    found = sent(made(layout, rows=Rows(("cls",), weights)))
    assert (found.least, found.largest) == (0, 0)
    assert not found.weights.any()


def test_values_below_zero_arrive_too() -> None:
    values = np.linspace(-1, 0.5, 12, dtype=np.float32).reshape(2, 2, 3)
    sheet = still("Similarity", "cosine", PHOTOGRAPH, layout_of("cls"), values, 0)
    found = sent(sheet)
    assert np.allclose(found.maps[:, 0], values, atol=1e-5)
    assert found.header["prefix"] == []
    assert found.weights.shape == (0, 2, 3)
    assert found.header["fromZero"] is False


def test_the_shared_scale_and_its_unit_are_those_of_the_sheet() -> None:
    sheet = made(layout_of("cls"))
    header = sent(sheet).header
    assert (header["kind"], header["unit"]) == ("Attention", "attention weight")
    assert header["limits"] == {f"{clip:g}": list(sheet.limits[clip]) for clip in CLIPS}
    # What can be chosen as a clip has its limits.
    assert set(header["choices"]["clip"]) == set(header["limits"])


def test_what_is_open_arrives() -> None:
    sheet = replace(made(layout_of("cls")), layer_name="From layer")
    header = sent(sheet).header
    assert (header["layers"], header["columns"]) == (LAYERS, list(COLUMNS))
    assert header["opened"] == [1, 2]
    assert header["layerName"] == "From layer"
    assert unpacked(pack(sheet, LOOK, stamp=7)).header["stamp"] == 7
    assert unpacked(pack(sheet, LOOK | {"look": "spotlight"})).header["look"] == {
        **LOOK,
        "look": "spotlight",
    }


def test_colours_are_those_of_the_figures() -> None:
    found = sent(made(layout_of("cls")))
    ramp, header = found.ramp, found.header
    assert (header["heat"], header["veil"]) == (looks.HEAT_OPACITY, looks.SPOTLIGHT_VEIL)
    assert (header["grey"], header["leastShare"]) == (looks.MIDDLE_GREY, looks.LEAST_SHARE)
    values = np.random.default_rng(0).uniform(0, 1, 500)
    steps = np.minimum((values * 256).astype(int), 255)
    expected = looks.colour(values, looks.WEIGHT_MAP, (0.0, 1.0))[:, :3]
    assert np.array_equal(ramp[steps], expected)


def test_colours_of_patches_arrive_layer_by_layer() -> None:
    colours = np.arange(2 * 6 * 3, dtype=np.uint8).reshape(2, 2, 3, 3)
    values = np.zeros((2, 2, 3), np.float32)
    layout = layout_of("cls")
    found = sent(still("Features", "colours", PHOTOGRAPH, layout, values, 1, colours=colours))
    assert found.header["coloured"] is True
    assert np.array_equal(found.colours, colours)
    assert found.picture.size == (40, 20)


def test_the_photograph_is_in_colour_and_nameless_and_lies_where_it_did() -> None:
    data = pack(made(layout_of("cls")), LOOK)
    found = unpacked(data)
    assert found.picture.size == (40, 20)
    pixels = np.asarray(found.picture.convert("RGB")).astype(int)
    # WebP keeps fewer colours than pixels, so each channel is compared over a few of them.
    blocks = [each.reshape(5, 4, 10, 4, 3).mean(axis=(1, 3)) for each in (pixels, PIXELS)]
    assert np.abs(blocks[0] - blocks[1]).mean() < 12
    assert np.abs(np.ptp(pixels, axis=-1)).mean() > 20
    assert (found.header["size"], found.header["seen"]) == ([40, 80], [11.5, 2.0, 68.5, 40.0])
    assert b"secret" not in data


def test_another_picture_is_told_apart_and_the_same_one_is_not() -> None:
    sheet = made(layout_of("cls"))
    # Pictures that were never files have no hash of one.
    one, other = (replace(PHOTOGRAPH, pixels=each) for each in (PIXELS, 255 - PIXELS))
    told = [sent(replace(sheet, photograph=each)).header["picture"] for each in (one, one, other)]
    assert told[0] == told[1] != told[2]


def test_queries_are_patches_by_index_and_tokens_by_name() -> None:
    layout = layout_of("cls", "reg1")
    header = sent(made(layout, query="reg1")).header
    assert header["queries"] == ["Class token (CLS)", "Token reg1", *range(6)]
    assert header["query"] == "Token reg1"
    assert header["tokens"] == ["Class token (CLS)", "Token reg1"]
    assert sent(made(layout, query=(1, 2))).header["query"] == 5


def test_the_output_is_the_row_of_the_token_that_is_read() -> None:
    header = sent(made(layout_of("reg1", "cls"), query=READOUT)).header
    assert header["queries"].index(header["query"]) == 1
    # It is the first one of the list, whatever its place among the tokens.
    assert header["tokens"] == ["Class token (CLS)", "Token reg1"]


def test_a_mean_may_be_a_row_of_its_own() -> None:
    layout = layout_of(readout=MEAN)
    mean = attention(layout, layout.token_count).mean(axis=0, keepdims=True)
    found = sent(made(layout, rows=Rows((READOUT,), mean)))
    assert found.header["queries"] == [found.header["query"]] == ["Mean of the patches"]
    assert found.header["tokens"] == ["Mean of the patches"]
    assert np.allclose(found.weights[0].ravel(), mean[0], atol=1e-5)


def test_maps_of_patches_alone_offer_no_other_token() -> None:
    values = np.zeros((1, 2, 3), np.float32)
    sheet = still("Similarity", "cosine", PHOTOGRAPH, layout_of("cls"), values, 0, query=(0, 1))
    header = sent(sheet).header
    assert (header["tokens"], header["query"], header["pins"]) == ([], 1, True)
    rollout = sent(still("Rollout", "share", PHOTOGRAPH, layout_of("cls"), values, 0)).header
    assert (rollout["query"], rollout["queries"], rollout["pins"]) == (None, [], False)


def test_the_padding_of_windows_is_a_key_and_never_a_query() -> None:
    layout = replace(layout_of(readout=MEAN_STAGE), padded=True)
    assert all_queries(layout) == tuple((row, column) for row in range(2) for column in range(3))
    mean = np.full((1, 7), 1 / 7, dtype=np.float32)
    header = sent(made(layout, rows=Rows((READOUT,), mean))).header
    assert header["prefix"] == [PADDING]
    assert header["query"] == "Mean of this stage's patches"
    assert PADDING not in header["tokens"]


def heard_from(
    monkeypatch: pytest.MonkeyPatch, sheet: Sheet, told: object
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the page hears when the browser tells this, and the session afterwards."""
    heard: list[dict[str, Any]] = []
    mounted: dict[str, Any] = {}
    session: dict[str, Any] = {"one": {"chosen": told}}
    monkeypatch.setattr(module, "component", lambda *_: mounted.update)
    monkeypatch.setattr(st, "session_state", session)
    explorer(sheet, look=LOOK, key="one", on_choose=heard.append)
    mounted["on_chosen_change"]()
    return heard, session


GOOD = [
    ({"layer": 0}, {"layer": 0}),
    ({"layer": 1, "column": 3}, {"layer": 1, "column": 3}),
    ({"query": 0}, {"query": (0, 0)}),
    ({"query": 5}, {"query": (1, 2)}),
    ({"query": None}, {"query": None}),
    ({"query": [0, 1, 1, 2]}, {"query": Region(0, 1, 1, 2)}),
    ({"query": [1, 1, 1, 1]}, {"query": Region(1, 1, 1, 1)}),
    ({"query": "Token reg1"}, {"query": "reg1"}),
    ({"query": "Class token (CLS)"}, {"query": READOUT}),
    ({"look": "spotlight", "edges": "blocks"}, {"look": "spotlight", "edges": "blocks"}),
    ({"scale": "shared", "clip": "100"}, {"scale": "shared", "clip": "100"}),
]
HOSTILE = [
    None,
    3,
    "layer",
    [],
    ["layer", 1],
    {},
    *(
        {name: value}
        for name in ("layer", "column", "query", "look", "edges", "scale", "clip", "other", "stamp")
        for value in (
            float("nan"),
            float("inf"),
            True,
            False,
            -1,
            6,
            10**30,
            -(10**30),
            0.5,
            "",
            "0",
            "6",
            "Patch (0, 1)",
            "Patch (9, 9)",
            "padding",
            "readout",
            "<b>",
            [],
            [0],
            [[0]],
            {},
            {"layer": 0},
        )
    ),
    *({name: None} for name in ("layer", "column", "look", "edges", "scale", "clip", "other")),
    {"layer": 2},
    {"column": 4},
    {"layer": 1.0},
    {"clip": 98.5},
    {"look": "heat "},
    {"query": "token reg1"},
    *(
        {"query": corners}
        for corners in (
            [0, 1, 1],
            [0, 1, 1, 2, 2],
            [0, 1, 2, 2],
            [0, 1, 1, 3],
            [1, 1, 0, 2],
            [0, 2, 1, 1],
            [-1, 0, 1, 1],
            [0, -1, 1, 1],
            [False, 0, 1, 1],
            [0.0, 0, 1, 1],
            ["0", "0", "1", "1"],
            [0, 0, 10**30, 1],
            [float("nan")] * 4,
            [[0], 0, 1, 1],
        )
    ),
]


@pytest.mark.parametrize(("told", "expected"), GOOD)
def test_what_was_offered_is_heard(
    monkeypatch: pytest.MonkeyPatch, told: object, expected: dict[str, Any]
) -> None:
    heard, _ = heard_from(monkeypatch, made(layout_of("cls", "reg1")), told)
    assert heard == [expected]


@pytest.mark.parametrize("told", HOSTILE, ids=repr)
def test_what_was_not_offered_is_left_out(monkeypatch: pytest.MonkeyPatch, told: object) -> None:
    heard, _ = heard_from(monkeypatch, made(layout_of("cls", "reg1")), told)
    assert heard == [{}]


def test_what_was_offered_is_heard_beside_what_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"layer": 1, "column": 99, "query": [1], "look": "spotlight", "x": {"y": float("nan")}}
    heard, _ = heard_from(monkeypatch, made(layout_of("cls")), told)
    assert heard == [{"layer": 1, "look": "spotlight"}]


def test_layers_are_those_of_the_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.zeros((2, 2, 3), np.float32)
    sheet = still("Norm", "norm", PHOTOGRAPH, layout_of("cls"), values, 1)
    assert sheet.opened == (1, 0)
    for layer, expected in ((-1, {}), (0, {"layer": 0}), (1, {"layer": 1}), (2, {})):
        assert heard_from(monkeypatch, sheet, {"layer": layer})[0] == [expected]


def test_maps_of_no_token_have_no_query_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.zeros((1, 2, 3), np.float32)
    sheet = still("Rollout", "share", PHOTOGRAPH, layout_of("cls"), values, 0)
    similar = replace(sheet, query=(0, 0), pins=True)
    for query, of_patches in ((0, (0, 0)), (None, None)):
        assert heard_from(monkeypatch, sheet, {"query": query})[0] == [{}]
        assert heard_from(monkeypatch, similar, {"query": query})[0] == [{"query": of_patches}]
    assert heard_from(monkeypatch, similar, {"query": "Class token (CLS)"})[0] == [{}]


def test_a_scale_that_is_no_choice_stays_what_was_chosen_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[dict[str, Any]] = []
    told = {"scale": "shared", "clip": "95"}
    monkeypatch.setattr(canvas, "explorer", lambda _, *, on_choose, **given: on_choose(told))
    monkeypatch.setattr(address, "get", lambda _: None)
    monkeypatch.setattr(address, "put", lambda **chosen: written.append(chosen))
    sheet = made(layout_of("cls"))
    canvas.show(sheet, "")
    canvas.show(sheet, "", link="two", scale="own")
    canvas.show(replace(sheet, limits={}), "")
    assert written == [{"scale": "shared", "clip": "95"}, {"clip": "95"}, {"clip": "95"}]


def test_the_stamp_of_a_choice_comes_back_where_it_is_a_whole_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sheet = made(layout_of("cls"))
    for stamp, kept in ((5, True), (True, False), ("5", False), (1.5, False), (None, False)):
        _, session = heard_from(monkeypatch, sheet, {"stamp": stamp, "layer": 0})
        assert ("one_stamp" in session) is kept
    assert heard_from(monkeypatch, sheet, {"stamp": 5})[1]["one_stamp"] == 5


@pytest.mark.parametrize("pins", [True, False])
def test_where_a_map_cannot_follow_the_cursor_it_says_so(
    monkeypatch: pytest.MonkeyPatch, pins: bool
) -> None:
    told: list[str] = []
    monkeypatch.setattr(module, "component", lambda *_: lambda **_: None)
    monkeypatch.setattr(st, "caption", told.append)
    sheet = replace(made(layout_of("cls")), pins=pins)
    explorer(sheet, look=LOOK, key="one", on_choose=lambda _: None)
    assert not told
    monkeypatch.setattr("vit_inspect_dashboard.sheets.MAX_BYTES", 9)
    explorer(sheet, look=LOOK, key="one", on_choose=lambda _: None)
    assert [("too many patches" in each) for each in told] == [True] * pins


def test_it_mounts_and_carries_its_bytes() -> None:
    def page() -> None:
        from tests.dashboard.test_explorer import LOOK, made
        from tests.helpers.made import layout_of
        from vit_inspect_dashboard.components.explorer import explorer

        explorer(made(layout_of("cls")), look=LOOK, key="one", on_choose=lambda _: None)

    app = AppTest.from_function(page).run()
    assert not app.exception
    (mounted,) = app.get("bidi_component")
    assert mounted.proto.bytes == pack(made(layout_of("cls")), LOOK)
    script = mounted.proto.js_content
    assert "export default function" in script
    # One script: what it imports stands before it.
    assert "function unpack(" in script
    assert not re.search("^import ", script, re.MULTILINE)


def test_the_look_at_first_is_the_first_of_each_choice() -> None:
    assert chosen_look() == LOOK
