"""Is what is kept bounded, and made once, however many ask at the same time?"""

from __future__ import annotations

import time

import pytest

from tests.dashboard.apps import at_once
from vit_inspect_dashboard.kept import ByteCache


def test_a_value_is_made_once_however_many_ask() -> None:
    kept, made, found = ByteCache[bytes](100, len), [], []

    def make() -> bytes:
        made.append(1)
        time.sleep(0.05)
        return b"x"

    at_once(8, lambda number: found.append(kept.get("key", make)))
    assert len(made) == 1
    assert all(value is found[0] for value in found)


def test_the_values_used_last_stay_within_the_bytes() -> None:
    kept = ByteCache[bytes](10, len)
    for key in (b"aaaa", b"bbbb", b"cccc"):
        kept.get(key, lambda key=key: key)  # type: ignore[misc]
        # To look at what is there is not to use it.
        kept.values(), kept.bytes(), kept.drop(lambda value: False)
        kept.get(b"aaaa", lambda: b"")
    assert kept.values() == [b"aaaa", b"cccc"]
    assert kept.bytes() == 8
    kept.get("huge", lambda: bytes(99))
    assert kept.values() == [bytes(99)]
    kept.get("small", lambda: b"small")
    assert kept.values() == [b"small"]


def test_what_fails_is_not_kept_and_can_be_tried_again() -> None:
    kept = ByteCache[bytes](10, len)
    with pytest.raises(ZeroDivisionError):
        kept.get("key", lambda: bytes(1 // 0))
    assert kept.get("key", lambda: b"now") == b"now"


def test_unwanted_values_are_dropped() -> None:
    kept = ByteCache[bytes](10, len)
    for key in (b"a", b"bb"):
        kept.get(key, lambda key=key: key)  # type: ignore[misc]
    kept.drop(lambda value: len(value) == 1)
    assert kept.peek(b"a") is None
    assert kept.peek(b"bb") == b"bb"
