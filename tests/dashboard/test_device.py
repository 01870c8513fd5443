"""Is the line before the device fair, bounded and told in words?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard.apps import at_once
from vit_inspect_dashboard import device, quotas, shares, survey
from vit_inspect_dashboard.device import Busy, Line, waiting_words


def test_one_at_a_time_in_the_order_they_came_and_told_how_many_are_ahead() -> None:
    line, order, told = Line(), [], {}
    running: list[int] = []

    def work(number: int) -> None:
        while len(line.waiting) < number:
            time.sleep(0.01)
        with line.turn(lambda ahead: told.setdefault(number, ahead)):
            running.append(number)
            assert running == [number]
            while number == 0 and len(line.waiting) < 4:
                time.sleep(0.01)
            time.sleep(0.1)
            order.append(number)
            running.remove(number)

    at_once(4, work)
    assert order == [0, 1, 2, 3]
    assert told[1] == 1
    assert told[3] == 3
    assert not line.waiting


def test_who_gives_up_waiting_leaves_the_line() -> None:
    line = Line()

    class Stopped(Exception):
        pass

    def stop(ahead: int) -> None:
        raise Stopped

    with line.turn(lambda ahead: None):
        with pytest.raises(Stopped), line.turn(stop):
            pass
        assert len(line.waiting) == 1
    with line.turn(stop):
        pass


def test_a_full_line_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "WAITING", 0)
    line = Line()
    with (
        line.turn(lambda ahead: None),
        pytest.raises(Busy, match="1 jobs ahead of yours on the device; expected at most 0"),
        line.turn(lambda ahead: None),
    ):
        pass


def test_the_page_says_how_many_jobs_are_ahead() -> None:
    assert waiting_words(1) == "1 job ahead of you."
    assert waiting_words(3) == "3 jobs ahead of you."


def test_work_says_for_how_long_it_goes_on_and_how_long_it_will_take(
    monkeypatch: pytest.MonkeyPatch, small: Callable[..., vi.Model]
) -> None:
    said: list[object] = []

    @contextmanager
    def spinner(words: str, *, show_time: bool) -> Iterator[None]:
        assert show_time
        said.append(words)
        yield
        said.append("done")

    monkeypatch.setattr(device.st, "spinner", spinner)
    monkeypatch.setattr(device, "_product_seconds", {})
    model, pictures = small("vit_tiny_patch16_224", 64), [noise((64, 64), seed) for seed in (0, 1)]
    capture = device.timed_on_device(vi.capture, model, pictures)
    assert said == ["Computing", "done"], "of its first pass nothing is known"
    assert 0 < device._pass_seconds[model.module] < 60
    # As if a picture had taken two seconds.
    device._pass_seconds[model.module] = 2.0
    device.timed_on_device(vi.attention_distance, capture)
    device.timed_on_device(vi.attention_relevance, capture)
    assert said[2::2] == ["Computing, about 4 s", "Computing, about 12 s"]
    device.timed_on_device(vi.capture, model, pictures[:1])
    assert device._pass_seconds[model.module] < 2, "a pass that took longer was no first one"
    # Another network, of as many weights and four times the patches.
    device._product_seconds["cpu"] = 4 / device._products(model)
    larger = small("vit_tiny_patch16_224", 128)
    device.timed_on_device(vi.capture, larger, [noise((128, 128), 0)])
    # 65 tokens in place of 17, and their position embeddings.
    assert said[-2] == "Computing, about 15 s"


def test_what_is_done_at_once_has_no_estimate() -> None:
    assert device.computing_words(1.9) == device.computing_words(None) == "Computing"
    assert device.computing_words(2.4) == "Computing, about 2 s"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of strangers: two jobs of a visitor, ten seconds for each."""
    monkeypatch.setattr(quotas, "_chosen", quotas.ALONE._replace(jobs=2, job_seconds=10))
    monkeypatch.setattr(device, "line", Line)


@pytest.mark.usefixtures("few")
def test_one_visitor_does_not_fill_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line, here = Line(), ["one"]
    monkeypatch.setattr(shares, "session", lambda: here[0])
    line.waiting.extend(device.Ticket("one") for _ in range(2))
    refused = "2 jobs of yours that wait for the device or run there; expected at most 2"
    with pytest.raises(Busy, match=refused), line.turn(lambda ahead: None):
        pass
    assert len(line.waiting) == 2
    for here[0] in ("another", shares.NOBODY):
        with pytest.raises(ZeroDivisionError), line.turn(lambda ahead: 1 // 0):
            pass


@pytest.mark.usefixtures("few")
def test_a_job_in_steps_ends_once_it_has_held_the_device_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, done = [0.0], []
    monkeypatch.setattr(device.time, "monotonic", lambda: now[0])

    def step(seconds: float) -> None:
        now[0] += seconds
        done.append(seconds)

    def steps(*all_of_them: float) -> None:
        with survey.progress(lambda: None) as on_progress:
            for seconds in all_of_them:
                on_progress(0.5, "on the way")
                device.on_device(step, seconds)
                # Others have their turns.
                now[0] += 100

    steps(4, 6)
    steps(10)
    with pytest.raises(device.TooLong, match="11 s; expected at most 10 s at once on this server"):
        steps(4, 7, 1)
    assert done == [4, 6, 10, 4, 7]
    # Steps within one turn, as of an archive.
    with pytest.raises(device.TooLong), survey.progress(lambda: None) as on_progress:
        device.on_device(lambda: (step(11), on_progress(0.5, ""), step(1)))
    assert done[-1] == 11
    monkeypatch.setattr(quotas, "_chosen", quotas.ALONE)
    steps(4, 7, 1)


@pytest.mark.usefixtures("few")
def test_a_pass_that_will_take_too_long_is_refused_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, small: Callable[..., vi.Model]
) -> None:
    model, pictures = small("vit_tiny_patch16_224", 64), [noise((64, 64), 0)]
    monkeypatch.setitem(device._pass_seconds, model.module, 9)
    capture = device.timed_on_device(vi.capture, model, pictures)
    device._pass_seconds[model.module] = 9
    monkeypatch.setattr(device, "on_device", lambda *_: pytest.fail("began"))
    with pytest.raises(device.TooLong, match="18 s; expected at most 10 s"):
        device.timed_on_device(vi.capture, model, pictures * 2)
    with pytest.raises(device.TooLong, match="27 s"):
        device.timed_on_device(vi.attention_relevance, capture)


def test_work_that_was_refused_does_not_begin_again_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = {survey.RUNNING: "work"}
    monkeypatch.setattr(survey.st, "session_state", held)

    def refused(on_progress: object) -> None:
        raise device.TooLong("a", "b", "c")

    with pytest.raises(device.TooLong):
        survey.when_asked("work", refused, label="Begin", words="")
    assert not held
