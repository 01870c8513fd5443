"""Is the line before the device fair, bounded and told in words?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import vit_inspect as vi
from tests.conftest import noise
from tests.dashboard.apps import at_once
from vit_inspect_dashboard import device
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
