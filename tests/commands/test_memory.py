"""Does a command that runs out of memory say so in one sentence, and succeed another time?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.conftest import noise
from tests.exporting.called import read_but_the_third
from tests.exporting.conftest import contents
from tests.helpers.faults import faults
from tests.test_memory import LACKS, Full
from vit_inspect.commands.app import app
from vit_inspect.exporting import render
from vit_inspect.pictures import finding, reading
from vit_inspect.surveys import engine_local, parts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("unchecked", "unplotted", "own_main"),
]

Lack = Callable[[Path, int], AbstractContextManager[Any]]
"""Ends the memory of a command: its folder, and how often it calls torch."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three pictures: so few start no process that draws."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        noise((40 + number, 36), number).save(folder / f"{number}.png")
    return folder


def run(*words: object) -> tuple[int, list[str]]:
    """The exit code of a command, and the lines that it tells beside its results."""
    given = [*map(str, words), "--model", "fashion_vit", "--batch", "1"]
    done = CliRunner().invoke(app, given, catch_exceptions=False)
    return done.exit_code, done.stderr.splitlines()


@contextmanager
def no_memory(home: Any, name: str, call: int, error: Exception) -> Iterator[None]:
    """No memory for a function from this call on, counted from 1."""
    function, count = getattr(home, name), 0

    def called(*given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        if count >= call:
            raise error
        return function(*given, **named)

    with patch.object(home, name, called):
        yield


def in_a_function(home: Any, name: str, call: int, error: Exception | None = None) -> Lack:
    return lambda *_: no_memory(home, name, call, error or MemoryError())


def in_torch(share: float, error: Exception) -> Lack:
    """After so many of its calls, as a share of them all."""
    return lambda _, calls: Full(round(share * (calls - 1)), error)


LACKS_OF_BOTH: dict[str, Lack] = {
    "at the first call of torch": in_torch(0, LACKS["CPU"]),
    "soon after it": in_torch(0.3, LACKS["CUDA"]),
    "at half of the calls of torch": in_torch(0.5, LACKS["CUDA"]),
    "when most is done": in_torch(0.9, LACKS["CUDA"]),
    "at the last call of torch": in_torch(1, LACKS["cuBLAS"]),
    "reading a picture": in_a_function(reading, "_as_rgb", 3),
    "writing": lambda out, _: faults(out, 10, MemoryError(), lasting=False),
}
LACKS_OF_FIGURES = LACKS_OF_BOTH | {
    "looking for pictures": in_a_function(finding, "find_photographs", 1),
    "drawing": in_a_function(render, "render", 5),
}
LACKS_BESIDE_READERS: dict[str, Lack] = {
    "observing": in_torch(0.8, LACKS["CUDA"]),
    "reading pictures": lambda *_: patch.object(engine_local, "read_batch", read_but_the_third),
}
LACKS_OF_SURVEYS = (
    LACKS_OF_BOTH
    | LACKS_BESIDE_READERS
    | {
        "writing a part": in_a_function(
            pq, "write_table", 3, pa.ArrowMemoryError("malloc of size 64")
        ),
        "reading the parts": in_a_function(
            pq, "read_table", 1, pa.ArrowMemoryError("realloc failed")
        ),
    }
)


def check(lacks: dict[str, Lack], whole: Path, *words: object, failing: Sequence[str] = ()) -> int:
    """Have memory end in a command, and see that it comes to the whole result another time.

    failing: words of the runs without memory alone. Returns how many files they left.
    """
    with Full() as counted:
        assert run(*words, whole) == (0, [])
    expected, left = contents(whole), 0
    for name, lack in lacks.items():
        out = whole.with_name(name)
        with lack(out, counted.calls):
            code, lines = run(*words, out, *failing)
        assert (code, len(lines)) == (2, 1), name
        assert re.match("Found (no memory left|too little free memory)", lines[0]), name
        found = contents(out)
        left += len(found)
        # None is half-written.
        assert found.items() <= expected.items(), name
        assert run(*words, out) == (0, []), name
        assert contents(out) == expected, name
    return left


def test_figures_without_memory_leave_nothing_and_come_another_time(
    photos: Path, tmp_path: Path
) -> None:
    words = "figures", photos, "--formats", "npz", "--out"
    assert check(LACKS_OF_FIGURES, tmp_path / "whole", *words) == 0


def test_a_survey_without_memory_goes_on_another_time(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "CHUNK", 2)
    words = "survey", photos, "--out"
    assert check(LACKS_OF_SURVEYS, tmp_path / "whole", *words) > len(LACKS_OF_SURVEYS)
    beside = "--workers", "2"
    check(LACKS_BESIDE_READERS, tmp_path / "beside" / "whole", *words, failing=beside)
