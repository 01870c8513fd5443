"""Do several users at once get right answers, and does the server let go of what they leave?

A short form of `tests/benchmarks/load.py`, which has 20 users and 2,000 reruns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.dashboard.visitors import (
    Question,
    Server,
    Visitor,
    difference,
    name_of,
    together,
    visitor,
)

pytestmark = pytest.mark.slow

USERS = (0, 1, 3)
"""At two sizes, 224 and 252 px, which are the models that stay loaded."""
LIMIT_MB = 40
"""Room for two captures, so that users push each other's out; the newest may be beyond it."""
CAPTURE_MB = 20
NETWORK_MB = 85
STEP = 1 / 65_535
"""Maps travel as whole numbers of this share of their row's largest weight."""
ROUNDS = 2
BLOCKS = 500
"""Small Python objects that ten reruns may leave; a single page is made of thousands."""
GROWTH_MB = 20
"""Well above what the allocator moves by; small leaks are for the blocks and the long form."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        with visitor(server.port) as window:
            window.open("explore")
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
    assert 0 < held["captures"] <= LIMIT_MB + CAPTURE_MB
    assert held["tensors"] <= held["captures"] + held["results"]
    assert held["weights"] <= 2 * NETWORK_MB


def go_round(window: Visitor) -> None:
    """Some reruns that end where they began."""
    window.choose_map(layer=3, column=2)
    window.choose_map(query=17)
    window.go("attention_rollout")
    window.choose("image", name_of("coffee"))
    window.go("attention_distance")
    window.choose("image", name_of("chelsea"))
    window.go("explore")
    window.choose_map(layer=5, column=3, query=None)


def test_the_same_again_takes_no_memory(server: Server) -> None:
    with visitor(server.port) as window:
        window.open("explore")
        # The second round begins where all others do.
        for _ in range(2):
            go_round(window)
        before = server.ask("held")
        for _ in range(ROUNDS):
            go_round(window)
        after = server.ask("held")
        assert window.problems == []
    assert after["entries"] == before["entries"]
    assert after["tensors"] <= after["captures"] + after["results"]
    assert after["blocks"] - before["blocks"] < BLOCKS * ROUNDS
    assert after["trimmed"] - before["trimmed"] < GROWTH_MB
