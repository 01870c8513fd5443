"""Does no session lose what is kept for it to one that takes much?"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vit_inspect_dashboard import shares
from vit_inspect_dashboard.kept import ByteCache
from vit_inspect_dashboard.shares import NOBODY, Shares

LIMIT = 12

STEPS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 15), st.sampled_from(["", *"xyz"]))
)
"""A thing, its size and the session that makes or uses it."""


HAS_ENDED = shares.has_ended


@pytest.fixture(autouse=True, scope="module")
def all_stay() -> Iterator[None]:
    """Other tests leave a server behind, which knows none of these sessions."""
    with patch.object(shares, "has_ended", lambda session: False):
        yield


@given(STEPS)
def test_who_holds_no_more_than_a_fair_share_loses_nothing(
    steps: list[tuple[str, int, str]],
) -> None:
    kept = Shares(LIMIT)
    for thing, size, by in steps:
        if thing in kept.sizes:
            kept.use(thing, by)
            continue
        before = {each: dict.fromkeys(things) for each, things in kept.held.items()}
        sizes = dict(kept.sizes)
        gone = kept.add(thing, size, by)
        assert thing not in gone
        assert set(gone) == {*sizes, thing} - kept.sizes.keys()
        assert sum(kept.sizes.values()) <= LIMIT + size
        holders = {*before, by} - {NOBODY}
        for each, things in before.items():
            burden = sum(map(sizes.__getitem__, things)) + size * (each == by)
            if burden * len(holders) <= LIMIT:
                assert kept.held[each].keys() >= things.keys()
        if by != NOBODY and size * len(holders) <= LIMIT:
            assert sum(kept.sizes.values()) <= LIMIT
        for things in kept.held.values():
            assert things
            assert things.keys() <= kept.sizes.keys()


@given(STEPS)
def test_one_session_alone_keeps_what_it_used_last(steps: list[tuple[str, int, str]]) -> None:
    kept, used = Shares(LIMIT), dict[str, int]()
    for thing, size, _ in steps:
        size = used.pop(thing, size)
        if thing in kept.sizes:
            kept.use(thing, "x")
        else:
            kept.add(thing, size, "x")
        used[thing] = size
        while sum(used.values()) > LIMIT and len(used) > 1:
            used.pop(next(iter(used)))
        assert list(kept.sizes) == list(used)


def test_what_several_use_stays_as_long_as_one_of_them_holds_it() -> None:
    kept = Shares(4)
    kept.add("shared", 1, "x")
    kept.use("shared", "y")
    for number in range(9):
        kept.add(number, 1, "x")
    assert list(kept.sizes) == ["shared", 6, 7, 8]
    assert kept.held["x"].keys() == {6, 7, 8}


def test_what_nobody_holds_goes_first_also_of_sessions_that_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Shares(3)
    kept.add("own", 1, "x")
    kept.add("warm", 1, NOBODY)
    kept.add("left", 1, "gone")
    assert kept.add("more", 1, "x") == ["warm"]
    monkeypatch.setattr(shares, "has_ended", lambda session: session == "gone")
    assert kept.add("again", 1, "x") == ["left"]
    assert kept.held.keys() == {"x"}


def test_a_session_has_ended_when_the_server_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    server = SimpleNamespace(is_active_session=lambda session: session == "here")
    monkeypatch.setattr(shares.runtime, "exists", lambda: False)
    assert not HAS_ENDED("here"), "without a server nobody says so"
    monkeypatch.setattr(shares.runtime, "exists", lambda: True)
    monkeypatch.setattr(shares.runtime, "get_instance", lambda: server)
    assert not HAS_ENDED("here")
    assert HAS_ENDED("left")


def test_one_visitor_with_many_pictures_leaves_the_others_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, released = ["quiet"], []
    monkeypatch.setattr(shares, "session", lambda: here[0])
    kept = ByteCache[bytes](100, len, released.append)
    for number in range(4):
        kept.get(number, lambda: bytes(10))
    here[0] = "busy"
    for number in range(100, 200):
        kept.get(number, lambda: bytes(10))
        kept.peek(number)
    assert all(kept.peek(number) for number in range(4))
    assert kept.bytes() == 100
    assert len(released) == 94
    kept.drop()
    assert not kept._shares.sizes
    assert not kept._shares.held


def test_one_visitor_without_memory_frees_what_no_other_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = ["quiet"]
    monkeypatch.setattr(shares, "session", lambda: here[0])
    kept = ByteCache[bytes](100, len)
    kept.get("both", lambda: bytes(10))
    kept.get("theirs", lambda: bytes(10))
    here[0] = "left"
    kept.get("of one who left", lambda: bytes(10))
    here[0] = "busy"
    kept.peek("both")
    kept.get("own", lambda: bytes(10))
    monkeypatch.setattr(shares, "has_ended", lambda session: session == "left")
    kept.drop_own()
    assert sorted(kept._values) == ["both", "theirs"]
    assert set(kept._shares.sizes) == {"both", "theirs"}
