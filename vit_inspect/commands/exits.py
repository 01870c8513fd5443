"""How does a command end, and with which exit code?"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

from vit_inspect.errors import InspectError, memory_told

EXITS = (
    "Exit codes: 0 all is done; 2 something was refused or could not be done, and a sentence says "
    "what; 1 an error of the program; 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP."
)

STOPS = "SIGINT", "SIGTERM", "SIGHUP"
"""Signals that ask a program to end; not every system has all."""


class Stopped(KeyboardInterrupt):
    """A signal that asks the program to end; whoever expects Ctrl-C expects it too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def stoppable(told: str) -> Iterator[None]:
    """A command that ends with one line, once it has cleared up, where a signal stops it.

    Its exit code is then 128 and the number of the signal, as a shell tells it.

    told: what is done, and how to go on.
    """

    def stop(number: int, frame: object) -> NoReturn:
        raise Stopped(number)

    asked = [getattr(signal, name) for name in STOPS if hasattr(signal, name)]
    # What is ignored, as under nohup, stays so. Only the first thread may set what is done.
    first = threading.current_thread() is threading.main_thread()
    before = {each: signal.getsignal(each) for each in asked if first}
    ours = {each: found for each, found in before.items() if found not in (signal.SIG_IGN, None)}
    try:
        for each in ours:
            signal.signal(each, stop)
        yield
        return
    except KeyboardInterrupt as stopped:
        number = stopped.number if isinstance(stopped, Stopped) else signal.SIGINT
    except SystemExit as left:
        # Ray sets a handler of its own, which leaves with the number of the signal.
        if left.code != signal.SIGTERM:
            raise
        number = signal.SIGTERM
    finally:
        for each, handler in ours.items():
            signal.signal(each, handler)
    typer.echo(f"Stopped. {told}", err=True)
    raise typer.Exit(128 + number)


@contextmanager
def refusing() -> Iterator[list[InspectError]]:
    """A command that tells what it refused when it ends, and then leaves as for wrong arguments.

    What this gives takes refusals after which the command goes on. An error that ends it, or a
    lack of memory, is the last.
    """
    refused: list[InspectError] = []
    try:
        with memory_told():
            yield refused
    except InspectError as error:
        refused.append(error)
    for each in refused:
        typer.echo(str(each), err=True)
    if refused:
        raise typer.Exit(2)
