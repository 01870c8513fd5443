"""How long do many users wait for their pages, and what does one who misbehaves do to them?

    python -m tests.benchmarks.crowd [--users N] [--minutes M]

Visitors have the quotas of strangers. Each clicks, waits for the page, reads it for some seconds,
and clicks again: on the three views whose numbers are compared with those computed here, alone, and
on all others. So it goes for M minutes; then for M more minutes beside a user who asks for the
largest inputs, for other models and for the largest pictures, again and again, mostly without
waiting for what comes.

"wait" is the time from a click to the whole page, "jobs" how many wait for the device, sampled each
second. "raw" and "trimmed" are the server's memory, as in `tests/dashboard/serving.py`.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import threading
import time
from typing import Any

import numpy as np
from PIL import Image

import vit_inspect as vi
from tests.dashboard.visitors import (
    ASKED,
    HEADS,
    LAYERS,
    SIZES_PX,
    Question,
    Server,
    Visitor,
    difference,
    file_of,
    name_of,
    visitor,
)
from vit_inspect.limits import MAX_PIXELS
from vit_inspect.loading.bundled import FASHION
from vit_inspect_dashboard import places

READING_S = 6, 18
"""Seconds for which a user looks at a page, at least and at most."""
LARGE_PX = 518
"""The largest size that the sidebar offers."""


class Crowd:
    """Users at one server; what they waited for, saw and were told."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.waits: list[float] = []
        self.answers: list[tuple[Question, dict[str, Any]]] = []
        self.problems: list[str] = []

    def run(self, users: int, until: float, *, also: bool) -> None:
        """Let so many users click until this time of the monotonic clock; `also` the other one."""
        work = [threading.Thread(target=self._use, args=(user, until)) for user in range(users)]
        if also:
            work.append(threading.Thread(target=misbehave, args=(self.port, until)))
        for each in work:
            each.start()
        for each in work:
            each.join()

    def _use(self, user: int, until: float) -> None:
        try:
            with visitor(self.port) as window:
                self._click(window, user, until)
            self.problems += window.problems
        except Exception as problem:
            self.problems.append(f"user {user}: {problem!r}")

    def _click(self, window: Visitor, user: int, until: float) -> None:
        choice = random.Random(user)
        size = SIZES_PX[user % 2]
        time.sleep(choice.uniform(0, READING_S[1]))
        self._timed(window.open, "explore", size=size)
        self._timed(window.upload, name_of(user), file_of(user))
        for view in ASKED[1:]:
            self._timed(window.go, view)
            self._note(window, Question(view, user, size))
        while time.monotonic() < until:
            view = choice.choice([*ASKED, choice.choice(sorted(places.VIEW_NAMES))])
            image, layer = choice.choice(list(vi.SAMPLES)), choice.randrange(LAYERS)
            head = choice.randrange(HEADS)
            chosen = {"image": name_of(image), "size": size, "layer": layer, "head": head}
            self._timed(window.open, view, **chosen)
            if view in ASKED:
                self._note(window, Question(view, image, size, layer, head))
            time.sleep(choice.uniform(*READING_S))

    def _note(self, window: Visitor, question: Question) -> None:
        self.answers.append((question, question.answer(window.elements)))

    def _timed(self, click: Any, *arguments: Any, **chosen: Any) -> None:
        began = time.monotonic()
        click(*arguments, **chosen)
        self.waits.append(time.monotonic() - began)


def misbehave(port: int, until: float) -> None:
    """Ask for what costs most, and mostly leave before it comes."""
    choice = random.Random(0)
    side = int(MAX_PIXELS**0.5)
    file = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(file, "PNG")
    while time.monotonic() < until:
        with visitor(port) as window:
            window.open("explore")
            if choice.random() < 0.3:
                window.upload("large.png", file.getvalue())
            for _ in range(20):
                view = choice.choice(["attention_relevance", "compare", "surveys", *ASKED])
                what = choice.choice([{"model": FASHION}, {"size": LARGE_PX}])
                window.ask(view, image=choice.choice(list(vi.SAMPLES)), **what)
                time.sleep(choice.uniform(0, 1))
                if time.monotonic() > until:
                    break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=10)
    arguments = parser.parse_args()
    write = sys.stdout.write
    p95 = []
    with Server() as server:
        server.ask("strangers")
        for also in (False, True):
            crowd = Crowd(server.port)
            began = time.monotonic()
            until = began + 60 * arguments.minutes
            running = threading.Thread(
                target=crowd.run, args=(arguments.users, until), kwargs={"also": also}
            )
            running.start()
            jobs: list[float] = []
            early = None
            while running.is_alive():
                jobs.append(server.ask("waiting")["jobs"])
                if early is None and time.monotonic() > began + 60:
                    early = server.ask("held")
                running.join(1)
            late, early = server.ask("held"), early or server.ask("held")
            p95.append(float(np.percentile(crowd.waits, 95)))
            write("beside one who misbehaves\n" if also else "users alone\n")
            write(
                f"  {len(crowd.waits)} pages, wait {np.median(crowd.waits):.2f} s in the median, "
            )
            write(f"{p95[-1]:.2f} s at p95, {max(crowd.waits):.2f} s at most\n")
            write(f"  jobs {np.median(jobs):.0f} in the median, {np.percentile(jobs, 95):.0f} at ")
            write(f"p95, {max(jobs):.0f} at most\n")
            for name in ("raw", "trimmed"):
                write(f"  {name}: {early[name]:.0f} MB after a minute, {late[name]:.0f} MB at the ")
                write(f"end, {late[name] / early[name]:.2f} times as much\n")
            crowd.answers.sort(key=lambda each: (each[0].size_px, str(each[0].image)))
            worst = max(difference(each, asked.truth()) for asked, each in crowd.answers)
            write(f"  {len(crowd.answers)} answers, largest relative difference {worst:.1e}\n")
            write(f"  problems: {crowd.problems or 'none'}\n")
            sys.stdout.flush()
        write(f"p95 {p95[1] / p95[0]:.2f} times as long beside one who misbehaves\n")
        write(f"server healthy: {server.healthy()}, tracebacks: {'Traceback' in server.log()}\n")


if __name__ == "__main__":
    main()
