"""Do several users at once get right answers, and does the server let go of what they leave?

A short form of `tests/benchmarks/load.py`, which has 20 users and 2,000 reruns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.benchmarks.load import Question, Server, difference, together, visitor, wander

USERS = (0, 1, 3, 4)
"""Two at each of two sizes, which are the models that stay loaded."""
LIMIT_MB = 40
"""Room for two captures, so that users push each other's out."""
NETWORK_MB = 85
STEP = 1 / 65_535
"""Maps travel as whole numbers of this share of their row's largest weight."""
RERUNS = 16
BLOCKS = 100
"""Small Python objects that a rerun may leave; one page is made of thousands."""
GROWTH_MB = 20
"""Well above what the allocator moves by; small leaks are for the blocks and the long form."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        with visitor(server.port) as window:
            window.open("")
        server.ask(f"limit {LIMIT_MB}")
        yield server


@pytest.fixture(scope="module")
def told(server: Server) -> tuple[list[tuple[Question, Any]], list[str]]:
    """All that users saw who asked at the same time, and all that went wrong."""
    return together(server.port, USERS)


def test_users_at_once_see_what_each_would_see_alone(
    server: Server, told: tuple[list[tuple[Question, Any]], list[str]]
) -> None:
    answers, problems = told
    assert problems == []
    assert "Traceback" not in server.log()
    assert server.healthy()
    assert len(answers) == 7 * len(USERS)
    answers.sort(key=lambda each: (each[0].size_px, str(each[0].image)))
    for question, answer in answers:
        assert difference(answer, question.truth()) < STEP, question


@pytest.mark.usefixtures("told")
def test_users_leave_no_capture_and_no_network_behind(server: Server) -> None:
    held = server.ask("held")
    assert 0 < held["captures"] <= LIMIT_MB
    assert held["tensors"] <= held["captures"]
    assert held["weights"] <= 2 * NETWORK_MB


def test_the_same_again_takes_no_memory(server: Server) -> None:
    held = []
    with visitor(server.port) as window:
        for _ in range(2):
            for _done in wander(window, RERUNS, seed=1):
                pass
            held.append(server.ask("held"))
        assert window.problems == []
    before, after = held
    assert after["entries"] == before["entries"]
    assert after["tensors"] == before["tensors"]
    assert after["blocks"] - before["blocks"] < BLOCKS * RERUNS
    assert after["trimmed"] - before["trimmed"] < GROWTH_MB
