"""Workers give the results of this process, in order; what goes wrong there is told here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vit_inspect as vi
from tests.conftest import noise
from tests.exporting.called import die, leave, refuse, where
from tests.exporting.conftest import contents
from vit_inspect.exporting import workers
from vit_inspect.exporting.bundle import bundle, export
from vit_inspect.exporting.workers import InOrder, workers_for

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_main")]


@pytest.mark.parametrize(
    ("photographs", "processors", "expected"),
    [(1, 8, 1), (3, 8, 1), (4, 8, 2), (100, 8, 8), (100, 64, 8), (100, 1, 1)],
)
def test_few_photographs_start_no_worker(
    photographs: int, processors: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_processors", lambda: processors)
    assert workers_for(photographs) == expected


def test_one_worker_is_this_process() -> None:
    taken: list[tuple[int, float]] = []
    with InOrder(1) as calls:
        calls.call(taken.append, where, 0.0)
        assert taken == [(os.getpid(), 0.0)]
        assert calls.pool is None


def test_results_are_taken_in_the_order_of_the_calls() -> None:
    seconds = [0.3, 0.0, 0.2, 0.0, 0.1, 0.0]
    taken: list[tuple[int, float]] = []
    with InOrder(2, ahead=1) as calls:
        for each in seconds:
            calls.call(taken.append, where, each)
            assert len(calls.waiting) <= 2
        calls.take_all()
    assert [each for _, each in taken] == seconds
    assert os.getpid() not in {process for process, _ in taken}


def test_a_refusal_is_told_as_it_is_here_and_nothing_after_it_is_taken() -> None:
    taken: list[object] = []
    told = "Found a bad value; expected a good one; take another."
    with pytest.raises(vi.BadParameter) as refused, InOrder(2) as calls:  # noqa: PT012
        calls.call(taken.append, refuse, 0.2)
        calls.call(taken.append, where, 0.0)
        calls.take_all()
    assert str(refused.value) == told
    assert taken == []


def test_a_worker_that_is_ended_is_told() -> None:
    told = "give at most 3 photographs at a time"
    with pytest.raises(vi.OutOfMemory, match=told), InOrder(2) as calls:  # noqa: PT012
        calls.call(print, where, 0.0)
        calls.take_all()
        calls.call(print, die)
        calls.take_all()


def test_a_worker_that_cannot_start_is_told_apart() -> None:
    told = "could not start; expected a script whose work stands below"
    with pytest.raises(vi.BadParameter, match=told), InOrder(2) as calls:  # noqa: PT012
        calls.call(print, die)
        calls.take_all()


def test_a_worker_draws_without_torch() -> None:
    code = (
        "import sys, vit_inspect.exporting.render, vit_inspect.figures.attention_maps\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_waits_is_not_begun_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), InOrder(2) as calls:  # noqa: PT012
        for number in range(12):
            calls.call(print, leave, str(tmp_path / str(number)))
        raise KeyboardInterrupt
    assert len(list(tmp_path.iterdir())) < 9


def test_batches_of_workers_are_those_of_this_process(tiny: vi.Model, tmp_path: Path) -> None:
    """That workers draw the same is in `test_bundle`."""
    batches = [vi.capture(tiny, noise((90, 60), seed)) for seed in (1, 2)]
    alone = export(batches, tmp_path / "alone", formats=("npz",))
    beside = export(batches, tmp_path / "beside", formats=("npz",), workers=2)
    assert [path.relative_to(tmp_path / "alone") for path in alone] == [
        path.relative_to(tmp_path / "beside") for path in beside
    ]
    assert contents(tmp_path / "alone") == contents(tmp_path / "beside")


@pytest.mark.usefixtures("unplotted")
def test_an_archive_starts_no_process(capture: vi.Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(workers, "ProcessPoolExecutor", started)
    assert bundle(capture, formats=())
    with pytest.raises(AssertionError, match="was started"):
        InOrder(2).__enter__()
