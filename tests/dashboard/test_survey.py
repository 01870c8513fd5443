"""Is a user told how long work goes on?"""

from __future__ import annotations

import pytest

from vit_inspect_dashboard.survey import time_left


@pytest.mark.parametrize(
    ("first", "now", "words"),
    [
        ((10.0, 0.0), (10.0, 0.0), ""),
        ((10.0, 0.0), (12.0, 0.1), ", about 20 s left"),
        # What was there before this run says nothing of its speed.
        ((10.0, 0.5), (12.0, 0.6), ", about 10 s left"),
        ((10.0, 0.0), (28.0, 0.9), ""),
        ((0.0, 0.0), (60.0, 0.1), ", about 9 min left"),
        ((0.0, 0.5), (5.0, 0.5), ""),
    ],
)
def test_work_goes_on_as_it_did(
    first: tuple[float, float], now: tuple[float, float], words: str
) -> None:
    assert time_left(first, now) == words
