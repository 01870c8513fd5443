"""What is the screen of a visitor like? Python asks, the browser tells it, and runs the page again.

On every page it also lets a finger on a chart move the page, brings the title of the view that is
open into sight, and has the browser load what charts need before the first one is asked for.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import streamlit as st

from vit_inspect_dashboard import address
from vit_inspect_dashboard.components import component

FULL = 900
"""The width of a page in CSS px, if it is this or more; the browser does not tell of others."""

_TOLD, _ASKED = "screen_told", "screen_asked"


def width() -> int:
    """The width in CSS px that a page has for a chart, at most `FULL`."""
    told = _told("width")
    return told if type(told) is int and 200 <= told < FULL else FULL


def touched() -> bool:
    """Whether a finger chooses, and nothing can be hovered over."""
    return _told("touched") is True


def in_words(text: str) -> str:
    """What to do with a mouse, as it is said to who has none."""
    if not touched():
        return text
    return re.sub(r"\bclick\b", "tap", re.sub(r"\b(Click|Hover over)\b", "Tap", text))


def screen() -> None:
    """What does all this in the browser; it shows nothing, and comes last on a page."""
    asked = st.session_state.get(_ASKED, False)
    component(__file__)(
        key="screen",
        data={
            "asked": asked,
            "full": FULL,
            "told": {"width": width(), "touched": touched()},
            "ahead": chart_file(),
        },
        on_told_change=_take,
    )
    st.session_state[_ASKED] = False


@cache
def chart_file() -> str | None:
    """The name of Streamlit's file that draws charts; None where it has another name."""
    scripts = Path(st.__file__).parent / "static" / "static" / "js"
    return next((each.name for each in scripts.glob("PlotlyChart.*.js")), None)


def _told(name: str) -> object:
    # A page that does not ask is not run again.
    st.session_state[_ASKED] = True
    told: object = st.session_state.get(_TOLD)
    return told.get(name) if isinstance(told, dict) else None


def _take() -> None:
    address.stay()
    st.session_state[_TOLD] = st.session_state["screen"].get("told")
