"""What is chosen? It stands in the address, and nowhere else.

A run begins with what the browser's address says, and controls show it. What a control, a click or
a key changes is written to the address at the end of the run, once: so each of them is one entry of
the browser's history, a copied link says all, and what one page has no control for is kept for the
pages that do. Streamlit's own binding of controls to the address makes no entry in the history, and
forgets what a page has no control for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import streamlit as st

MOST = 60
"""Entries of an address that are read, and values of one entry."""
LENGTH = 300
"""Letters of a value that are read."""

_HELD = "address"
_WRITTEN = "address_written"
_CHANGED = "address_changed"

Values = dict[str, tuple[str, ...]]


def begin() -> None:
    """Take what the browser says, unless this run is here because a control was changed.

    Changes that follow each other quickly arrive with an address that is older than they are.
    """
    came = _came()
    session = st.session_state
    changed = session.pop(_CHANGED, False)
    if _HELD not in session or (came != session.get(_WRITTEN) and not changed):
        session[_HELD] = came


def finish() -> None:
    """Write what is chosen to the address, where it is not there yet."""
    held: Values = st.session_state[_HELD]
    if held != _came():
        st.query_params.from_dict({key: list(values) for key, values in held.items()})
    st.session_state[_WRITTEN] = held


def get(key: str) -> str | None:
    """What is chosen under a key; None where nothing is."""
    values = get_all(key)
    return values[-1] if values else None


def get_all(key: str) -> tuple[str, ...]:
    """The same of a control that takes many."""
    held: Values = st.session_state.get(_HELD, {})
    return held.get(key, ())


def put(**chosen: object) -> None:
    """Choose a value for each key, or many in a list; None takes the choice back.

    For callbacks: what is put while the page is drawn comes too late for the controls above.
    """
    held: Values = {**st.session_state.get(_HELD, {})}
    for key, value in chosen.items():
        many = value if isinstance(value, list | tuple) else [] if value is None else [value]
        held.pop(key, None)
        if many:
            held[key] = tuple(map(str, many))
    st.session_state[_HELD] = held
    stay()


def stay() -> None:
    """For callbacks of what leaves the address as it is.

    Without it, a run that the browser began before it heard of the newest address would look like
    a step back.
    """
    st.session_state[_CHANGED] = True


def one_of(
    key: str,
    options: Iterable[Any],
    *,
    start: Any = None,
    typed: bool = False,
    control: str | None = None,
) -> dict[str, Any]:
    """What a control of one of some options is given beside its words and options.

    start: what it shows while nothing is chosen, or nothing that is among the options; it does not
        stand in the address.
    typed: whether the user may type what is not among the options.
    control: the control's own name, where a page has several of one choice.
    """
    held = get(key)
    otherwise = held if held and typed else start
    control = control or key
    st.session_state[control] = {str(each): each for each in options}.get(held or "", otherwise)
    return {"key": control, "on_change": _take, "args": (key, start, control)}


def many_of(key: str, options: Sequence[str]) -> dict[str, Any]:
    """The same for a control of any number of options, at first none."""
    st.session_state[key] = [each for each in get_all(key) if each in options]
    return {"key": key, "on_change": _take, "args": (key, None)}


def in_form(key: str, options: Sequence[str] | None = None) -> dict[str, Any]:
    """The same for a control inside a form, which `take` reads; without options it is a line."""
    held = get(key)
    known = options is None or held in options
    st.session_state[key] = held if held and known else None
    return {"key": key}


def take(keys: Iterable[str]) -> None:
    """What the button of a form does."""
    for key in keys:
        _take(key, None)


def _take(key: str, start: Any, control: str | None = None) -> None:
    value = st.session_state.get(control or key)
    put(**{key: None if value in (start, None, "") else value})


def _came() -> Values:
    found = {}
    for key in list(st.query_params)[:MOST]:
        found[key] = tuple(value[:LENGTH] for value in st.query_params.get_all(key)[:MOST])
    return found
