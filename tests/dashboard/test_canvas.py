"""Is what is chosen on the canvas what the address says, whatever else it says?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.dashboard.test_explorer import PHOTOGRAPH, made
from tests.helpers.made import layout_of
from vit_inspect.layout import MEAN, MEAN_STAGE, READOUT, Query, Region, TokenLayout
from vit_inspect_dashboard import canvas
from vit_inspect_dashboard.sheets import still

HEADS = 4
TOKENS = layout_of("cls", "reg1")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, ...]]:
    """What the address says."""
    said: dict[str, tuple[str, ...]] = {}
    monkeypatch.setattr(st, "session_state", {"address": said})
    return said


@pytest.mark.parametrize(
    ("query", "layout", "chosen"),
    [
        (None, TOKENS, READOUT),
        ("Class token (CLS)", TOKENS, READOUT),
        ("Token reg1", TOKENS, "reg1"),
        ("Token reg1", layout_of("cls"), READOUT),
        ("Patch (1, 2)", TOKENS, (1, 2)),
        ("Patch (2, 0)", TOKENS, READOUT),
        ("Patch (0, 3)", TOKENS, READOUT),
        ("patch (1, 2)", TOKENS, READOUT),
        ("reg1", TOKENS, READOUT),
        ("Mean of the patches", layout_of(readout=MEAN), READOUT),
        ("Padding", replace(layout_of(readout=MEAN_STAGE), padded=True), READOUT),
        ("", TOKENS, READOUT),
        ("Region (0, 1) to (1, 2)", TOKENS, Region(0, 1, 1, 2)),
        ("Region (1, 1) to (1, 1)", TOKENS, Region(1, 1, 1, 1)),
        ("Region (0, 1) to (2, 2)", TOKENS, READOUT),
        ("Region (0, 1) to (1, 3)", TOKENS, READOUT),
        ("Region (1, 1) to (0, 2)", TOKENS, READOUT),
        ("Region (0, 2) to (1, 1)", TOKENS, READOUT),
        ("Region (-1, 0) to (1, 1)", TOKENS, READOUT),
        ("Region (0, 99999) to (1, 1)", TOKENS, READOUT),
        ("Region (0, 1) to (1, 2) ", TOKENS, READOUT),
    ],
)
def test_the_query_is_a_token_of_the_model_or_what_it_reads(
    held: dict[str, tuple[str, ...]], query: str | None, layout: TokenLayout, chosen: Query | Region
) -> None:
    if query is not None:
        held["query"] = (query,)
    assert canvas.chosen_query(layout) == chosen


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("0", 0),
        ("2", 2),
        ("3", 1),
        ("-1", 1),
        ("1.0", 1),
        ("", 1),
        ("nan", 1),
        ("²", 1),
        ("9" * 300, 1),
        (None, 1),
    ],
)
def test_a_number_is_one_of_the_layers_or_where_it_starts(
    held: dict[str, tuple[str, ...]], said: str | None, number: int
) -> None:
    if said is not None:
        held["layer"] = (said,)
    assert canvas.chosen_number("layer", 3, start=1) == number


@pytest.mark.parametrize(
    ("said", "column"),
    [("0", 0), ("3", 3), ("mean", 4), ("max", 5), ("4", 2), ("5", 2), ("MEAN", 2), ("", 2)],
)
def test_a_column_is_a_head_or_the_mean_or_the_maximum(
    held: dict[str, tuple[str, ...]], said: str, column: int
) -> None:
    held["head"] = (said,)
    assert canvas.chosen_column(HEADS, start=2) == column


@pytest.mark.parametrize(
    ("said", "look"),
    [
        ({}, {"look": "heat", "edges": "smooth", "scale": "own", "clip": "98.5"}),
        (
            {"look": "spotlight", "edges": "blocks", "scale": "shared", "clip": "100"},
            {"look": "spotlight", "edges": "blocks", "scale": "shared", "clip": "100"},
        ),
        (
            {"look": "Spotlight", "edges": "", "scale": "per map", "clip": "98"},
            {"look": "heat", "edges": "smooth", "scale": "own", "clip": "98.5"},
        ),
    ],
)
def test_a_look_is_one_that_is_offered(
    held: dict[str, tuple[str, ...]], said: dict[str, str], look: dict[str, str]
) -> None:
    held.update({key: (value,) for key, value in said.items()})
    assert canvas.chosen_look() == look


def address_after(
    chosen: dict[str, Any],
    *,
    sheet: str = "heads",
    places: dict[str, str] | None = None,
    **said: str,
) -> dict[str, Any]:
    """The address after a choice on the canvas; `places` is where its layer and head are held."""

    def page(chosen: dict, sheet: str, places: dict) -> None:
        from unittest import mock

        from tests.dashboard.test_canvas import SHEETS
        from vit_inspect_dashboard import address, canvas

        address.begin()
        with mock.patch.object(canvas, "explorer") as explorer:
            canvas.show(SHEETS[sheet], "", **places)
        explorer.call_args.kwargs["on_choose"](chosen)
        address.finish()

    app = AppTest.from_function(
        page, kwargs={"chosen": chosen, "sheet": sheet, "places": places or {}}
    )
    app.query_params.update(said)
    app.run()
    assert not app.exception
    return dict(app.query_params)


FIRST = {"look": "heat", "edges": "smooth", "scale": "own", "clip": "98.5"}
STEPS = np.zeros((3, 2, 3), np.float32)
SHEETS = {
    "heads": made(TOKENS),
    "steps": still("Rollout", "share", PHOTOGRAPH, TOKENS, STEPS, 0),
    "one": still("Relevance", "relevance", PHOTOGRAPH, TOKENS, STEPS[:1], 0),
}


def test_what_is_chosen_stands_in_the_address_by_its_name() -> None:
    assert address_after({"layer": 0, "column": 1}) == {"layer": "0", "head": "1"}
    assert address_after({"column": 2}, head="1") == {"head": "mean"}
    assert address_after({"column": 3}, head="1") == {"head": "max"}
    assert address_after({"query": (1, 2)}) == {"query": "Patch (1, 2)"}
    assert address_after({"query": "reg1"}) == {"query": "Token reg1"}
    region = Region(0, 1, 1, 2)
    assert address_after({"query": region}) == {"query": "Region (0, 1) to (1, 2)"}
    assert address_after(FIRST | {"clip": "100", "look": "spotlight"}) == {
        "clip": "100",
        "look": "spotlight",
    }


def test_what_is_let_go_is_taken_back_and_the_rest_stays() -> None:
    said = {"query": "Patch (0, 1)", "look": "spotlight", "image": "coffee"}
    assert address_after({"query": None}, **said) == {"look": "spotlight", "image": "coffee"}
    assert address_after(FIRST, **said) == {"query": "Patch (0, 1)", "image": "coffee"}
    assert address_after({}, **said) == said


def test_a_page_with_a_look_of_its_own_leaves_that_of_others_alone() -> None:
    grey = {"first_look": "heat on grey"}
    shown = FIRST | {"look": "heat on grey"}
    assert address_after({"layer": 0} | shown, places=grey) == {"layer": "0"}
    assert address_after({"layer": 0} | shown) == {"layer": "0", "look": "heat on grey"}
    # What is chosen there is kept, also the look that others begin with.
    assert address_after(FIRST, places=grey) == {"look": "heat"}
    assert address_after(FIRST, places=grey, look="heat") == {"look": "heat"}
    assert address_after(shown, places=grey, look="heat") == {"look": "heat on grey"}
    assert address_after(FIRST, look="heat on grey") == {}


def test_maps_without_heads_or_layers_leave_those_of_other_views_alone() -> None:
    chosen = {"layer": 2, "column": 0}
    held = {"head": "3", "start": "0"}
    of_start = {"layer": "start"}
    assert address_after(chosen, sheet="steps", places=of_start, **held) == {
        "head": "3",
        "start": "2",
    }
    assert address_after({"layer": 0, "column": 0}, sheet="one", **held) == held


def test_two_canvases_hold_their_layers_and_heads_apart() -> None:
    places = {"layer": "right_layer", "head": "right_head"}
    assert address_after({"layer": 1, "column": 2}, places=places, layer="0", head="1") == {
        "layer": "0",
        "head": "1",
        "right_layer": "1",
        "right_head": "mean",
    }
