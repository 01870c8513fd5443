"""Is what a browser tells of its screen believed only where it can be true?"""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st

from vit_inspect_dashboard.components import screen


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    held: dict[str, Any] = {}
    monkeypatch.setattr(st, "session_state", held)
    return held


@pytest.mark.parametrize("told", [None, [], {}, {"width": "366"}, {"width": 3}, {"width": 10**9}])
def test_a_width_that_no_screen_has_is_that_of_a_desk(session: dict[str, Any], told: Any) -> None:
    session["screen_told"] = told
    assert screen.width() == screen.FULL
    assert not screen.touched()


def test_a_page_is_laid_out_and_worded_for_the_screen_that_was_told(
    session: dict[str, Any],
) -> None:
    words = "Hover over a dot. Click it, or click another."
    assert screen.in_words(words) == words
    session["screen_told"] = {"width": 366, "touched": True}
    assert screen.width() == 366
    assert screen.in_words(words) == "Tap a dot. Tap it, or tap another."
    assert screen.in_words("A clicked one") == "A clicked one"


def test_what_draws_charts_is_found_where_streamlit_keeps_it() -> None:
    assert screen.chart_file()
