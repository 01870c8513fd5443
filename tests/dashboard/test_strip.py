"""Does the strip of pictures offer what there is, and hear only what it offered?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import streamlit as st

import vit_inspect as vi
from vit_inspect.pictures.samples import EVERY
from vit_inspect_dashboard.components import strip as module
from vit_inspect_dashboard.components.strip import MOST, strip
from vit_inspect_dashboard.pictures import Picture, sample, samples, thumbnail


def shown(
    monkeypatch: pytest.MonkeyPatch, offered: list[Picture], here: Picture, picked: object = None
) -> tuple[dict[str, Any], list[str]]:
    """What the browser is sent, and what is heard when it says that a picture was picked."""
    sent: dict[str, Any] = {}
    heard: list[str] = []
    monkeypatch.setattr(module, "component", lambda *_: sent.update)
    monkeypatch.setattr(module, "_source", lambda picture: f"of {picture.name}")
    monkeypatch.setattr(st, "session_state", {"one": {"picked": picked}})
    strip(offered, here, key="one", on_pick=heard.append)
    sent["on_picked_change"]()
    return sent["data"], heard


def test_all_pictures_are_sent_and_the_open_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = samples()
    data, heard = shown(monkeypatch, offered, offered[2], picked=4)
    assert [each["source"] for each in data["pictures"]] == [f"of {each.name}" for each in offered]
    assert [each["title"] for each in data["pictures"]] == [each.title for each in offered]
    assert data["here"] == 2
    assert heard == [offered[4].name]


@pytest.mark.parametrize("here", [0, 50, 98])
def test_of_very_many_pictures_the_first_the_open_one_and_the_newest_are_sent(
    monkeypatch: pytest.MonkeyPatch, here: int
) -> None:
    offered = [
        Picture(str(number), f"{number}.png", sample("chelsea").read) for number in range(99)
    ]
    count = MOST + (here == 50)
    data, heard = shown(monkeypatch, offered, offered[here], picked=count - 1)
    sources = [each["source"] for each in data["pictures"]]
    assert len(sources) == len(set(sources)) == count
    assert (sources[0], sources[-1]) == ("of 0.png", "of 98.png")
    assert sources[data["here"]] == f"of {here}.png"
    assert heard == ["98.png"]


@pytest.mark.parametrize("count", [1, MOST // 2, MOST // 2 + 1, MOST, MOST + 1])
def test_pictures_that_have_room_are_sent_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    offered = [Picture(str(place), f"{place}", sample("chelsea").read) for place in range(count)]
    sources = [each["source"] for each in shown(monkeypatch, offered, offered[0])[0]["pictures"]]
    missing = [f"of {MOST // 2}"] if count > MOST else []
    assert sources == [f"of {place}" for place in range(count) if f"of {place}" not in missing]


def test_all_that_is_bundled_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = [sample(name) for name in EVERY]
    data, _ = shown(monkeypatch, offered, offered[16])
    assert len(data["pictures"]) == len(EVERY)


@pytest.mark.parametrize("picked", [None, -1, 7, 10**30, True, 1.0, math.nan, "0", [0], {"a": 0}])
def test_what_was_not_offered_is_not_heard(monkeypatch: pytest.MonkeyPatch, picked: object) -> None:
    assert shown(monkeypatch, samples(), samples()[0], picked)[1] == []


def test_a_small_copy_of_a_canvas_cuts_no_garment_and_one_of_a_photograph_is_full() -> None:
    [canvas, photograph] = [
        np.asarray(thumbnail(name, sample(name).read)) for name in ("canvas_16", "chelsea")
    ]
    assert canvas.shape == photograph.shape == (192, 256, 3)
    whole = np.asarray(vi.sample("canvas_16").convert("RGB").resize((192, 192)))
    assert np.abs(canvas[:, 32:-32].astype(int) - whole).mean() < 2
    assert not canvas[:, :32].any()
    assert not canvas[:, -32:].any()
    assert photograph[:, [0, -1]].mean() > 100
