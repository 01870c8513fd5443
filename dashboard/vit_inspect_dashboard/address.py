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

from vit_inspect.figures.looks import short
from vit_inspect.pictures.reading import printable

MOST = 60
"""Entries of an address that are read, and values of one entry."""
LENGTH = 300
"""Letters of a value that are read and written."""
NAMED, LETTERS = 8, 40
"""Options that are named where one is asked for that is not among them, and letters of each."""

_HELD = "address"
_WRITTEN = "address_written"
_CHANGED = "address_changed"
_FITTING = "address_fitting"
_TOLD = "address_told"

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
    session[_FITTING] = {}


def correct() -> list[str]:
    """What was asked for and is not possible here, in sentences; then it is asked for no more.

    For the end of a page, which then has what the address says. What is asked for no more is told
    until something else is chosen.
    """
    session = st.session_state
    held: Values = {**session[_HELD]}
    before, gone = session.get(_TOLD, (held, ()))
    gone = gone if before == held else ()
    still: tuple[str, ...] = ()
    for key, found in session[_FITTING].items():
        told = tuple(said for _, said in found if said)
        # One control of a page may have what another one has not.
        fitting = max((each for each, _ in found), key=len)
        if fitting == held.get(key, ()):
            still += told
        else:
            gone += told
            held[key] = fitting
    session[_HELD] = {key: values for key, values in held.items() if values}
    session[_TOLD] = session[_HELD], gone
    return list(dict.fromkeys((*gone, *still)))


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
            held[key] = tuple(map(_written, many))
    st.session_state[_HELD] = held
    stay()


def stay() -> None:
    """For callbacks of what leaves the address as it is.

    Without it, a run that the browser began before it heard of the newest address would look like
    a step back.
    """
    st.session_state[_CHANGED] = True


def chosen(
    key: str, options: Iterable[Any], *, start: Any = None, typed: bool = False, awaited: str = ""
) -> Any:
    """Which of some options is chosen; `start` where none is, or none that is among them.

    That something else is asked for is told: see `correct`.

    typed: whether the user may type what is not among the options.
    awaited: what is told of something that may come yet; then the address goes on asking for it.
    """
    held = get(key)
    if not held:
        return start
    known = {_written(each): each for each in options}
    if held in known or typed:
        _note(key, get_all(key))
    elif awaited:
        _note(key, get_all(key), awaited)
    else:
        _note(key, (), _not_possible(key, [held], str(start), list(known)))
    return known.get(held, held if typed else start)


def one_of(
    key: str, options: Iterable[Any], *, control: str | None = None, start: Any = None, **how: Any
) -> dict[str, Any]:
    """What a control of one of some options is given beside its words and options.

    control: the control's own name, where a page has several of one choice.
    start: what it shows at first; it does not stand in the address.
    how: further words for `chosen`.
    """
    control = control or key
    st.session_state[control] = chosen(key, options, start=start, **how)
    return {"key": control, "on_change": _take, "args": (key, start, control)}


def many_of(key: str, options: Sequence[str]) -> dict[str, Any]:
    """The same for a control of any number of options, at first none."""
    values = get_all(key)
    known = {_written(each): each for each in options}
    fitting = [each for each in values if each in known]
    others = [each for each in values if each and each not in known]
    instead = _few(fitting) or "nothing"
    _note(key, fitting, _not_possible(key, others, instead, options) if others else "")
    st.session_state[key] = [known[each] for each in fitting]
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


def _note(key: str, fitting: Iterable[str], told: str = "") -> None:
    """Of what is asked for under a key, some is possible, and of the rest something is told."""
    notes = st.session_state.setdefault(_FITTING, {})
    notes.setdefault(key, []).append((tuple(fitting), told))


def _not_possible(key: str, asked: list[str], instead: str, options: Sequence[str]) -> str:
    return (
        f"“{key}={_few(asked)}” of the address is not possible here. Chosen instead: "
        f"{short(instead, LETTERS)}. Possible: {_few(options)}."
    )


def _written(value: object) -> str:
    """A value as it stands in the address."""
    return str(value)[:LENGTH]


def _few(words: Sequence[str]) -> str:
    """Words in a row, without those in the middle of many."""
    if len(words) > NAMED:
        words = [*words[: NAMED - 2], "…", words[-1]]
    return ", ".join(short(printable(each), LETTERS) for each in words)


def _came() -> Values:
    found = {}
    for key in list(st.query_params)[:MOST]:
        found[key] = tuple(value[:LENGTH] for value in st.query_params.get_all(key)[:MOST])
    return found
