"""Does the dashboard answer many users at once rightly, and keep its memory over a long session?

    python -m tests.benchmarks.load [--users N] [--reruns N]

Each user looks at a picture of their own, and every number that comes back is compared with the one
computed here, alone. What the columns of memory mean is said in `tests/dashboard/serving.py`.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import vit_inspect as vi
from tests.dashboard.visitors import (
    ASKED,
    HEADS,
    LAYERS,
    SIZES_PX,
    Server,
    Visitor,
    difference,
    name_of,
    together,
    visitor,
)


def wander(window: Visitor, reruns: int, *, seed: int) -> Iterator[int]:
    """Many reruns of one session at 224 px; yields how many were done."""
    choice = random.Random(seed)
    view = "explore"
    window.open(view, size=SIZES_PX[0])
    # Beside the heads are their mean and their maximum.
    steps: dict[str, Callable[[], None]] = {
        "layer": lambda: window.choose_map(layer=choice.randrange(LAYERS)),
        "head": lambda: window.choose_map(column=choice.randrange(HEADS + 2)),
        "patch": lambda: window.choose_map(query=choice.randrange(256)),
        "unpin": lambda: window.choose_map(query=None),
        "image": lambda: window.choose("image", name_of(choice.choice(list(vi.SAMPLES)))),
    }
    for done in range(1, reruns + 1):
        kind = choice.choice([*steps, "view"] if view == "explore" else ["image", "view"])
        if kind == "view":
            view = choice.choice([each for each in ASKED if each != view])
            window.go(view)
        else:
            steps[kind]()
        yield done


COLUMNS = ("raw", "trimmed", "captures", "results", "tensors", "weights")


@contextmanager
def warm() -> Iterator[Server]:
    """A server that has been used: every view, every sample, and both models it may keep."""
    with Server() as server:
        with visitor(server.port) as window:
            for size in SIZES_PX:
                window.open("explore", size=size)
            for image in vi.SAMPLES:
                for view in ASKED:
                    window.open(view, image=name_of(image), size=SIZES_PX[0])
        yield server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--reruns", type=int, default=2000)
    arguments = parser.parse_args()
    write = sys.stdout.write

    def show(name: str, server: Server) -> None:
        told = server.ask("held")
        write(f"{name:34}" + "".join(f"{told[column]:10.0f}" for column in COLUMNS))
        write(f"{told['blocks'] / 1000:12.0f}{told['entries']:9.0f}\n")
        sys.stdout.flush()

    header = "".join(f"{column:>10}" for column in COLUMNS)
    write(f"{'':34}{header}{'1000 blocks':>12}{'entries':>9}\n")
    with warm() as server:
        show("one long session: warm", server)
        start = time.monotonic()
        with visitor(server.port) as window:
            for done in wander(window, arguments.reruns, seed=0):
                if done in (1, arguments.reruns) or done % 100 == 0:
                    show(f"{done} reruns, {time.monotonic() - start:.0f} s", server)
            write(f"problems: {window.problems or 'none'}\n")
        server.ask("forget")
        show("caches emptied", server)

        start = time.monotonic()
        answers, problems = together(server.port, range(arguments.users))
        show(f"{arguments.users} users, {time.monotonic() - start:.0f} s", server)
        # Streamlit keeps a closed session for two minutes, and lets it go when another one closes.
        time.sleep(125)
        with visitor(server.port) as window:
            window.open("explore")
        show("users gone", server)
        server.ask("forget")
        show("caches emptied", server)
        write(f"problems: {problems or 'none'}\n")
        write(f"server healthy: {server.healthy()}, tracebacks: {'Traceback' in server.log()}\n")
    answers.sort(key=lambda each: (each[0].size_px, str(each[0].image)))
    differences = [difference(answer, question.truth()) for question, answer in answers]
    write(f"{len(answers)} answers, largest relative difference {max(differences):.1e}\n")


if __name__ == "__main__":
    main()
