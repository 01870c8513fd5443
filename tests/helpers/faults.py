"""Makes the files of a folder fail at a moment of choice: a full disk, a signal, a kill."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}


class Killed(BaseException):
    """What nobody can handle: nothing that is done after it has an effect."""


class Faults:
    """Counts what changes files below a folder, and raises an error at one of these moments.

    lasting: everything after it fails too, as on a full disk, and when the process is no more.
    """

    def __init__(self, folder: Path, at: int, error: BaseException, lasting: bool) -> None:
        self.folder, self.at, self.error, self.lasting = str(folder), at, error, lasting
        self.count = 0

    def see(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "open" and not given[2] & WRITES:
            return
        # A name without its folder is told with the folder's number: `shutil.rmtree` does so.
        beside = event in ("os.remove", "os.rmdir") and given[-1] != -1
        if beside or str(given[0]).startswith(self.folder):
            self.step()

    def step(self) -> None:
        self.count += 1
        if self.count == self.at or (self.lasting and self.count > self.at):
            raise self.error


_now: Faults | None = None


def _hook(event: str, given: tuple[Any, ...]) -> None:
    if _now is not None and event in EVENTS:
        _now.see(event, given)


@contextmanager
def faults(folder: Path, at: int, error: BaseException, lasting: bool) -> Iterator[Faults]:
    """Have the change with this number fail, counted from 1: of a write, at half of the file."""
    global _now
    if not _installed:
        # There is no way to take it back; it does nothing unless it is asked to.
        sys.addaudithook(_hook)
        _installed.append(True)
    fsync = os.fsync

    def half(number: int) -> None:
        assert _now is not None
        try:
            _now.step()
        except BaseException:
            os.ftruncate(number, os.fstat(number).st_size // 2)
            raise

    os.fsync = half
    _now = Faults(folder, at, error, lasting)
    try:
        yield _now
    finally:
        _now, os.fsync = None, fsync


_installed: list[bool] = []

KINDS = {
    "a full disk": lambda: (OSError(28, "No space left on device"), True),
    "a folder that turned read-only": lambda: (OSError(30, "Read-only file system"), True),
    "a moment's trouble": lambda: (OSError(5, "Input/output error"), False),
    "Ctrl-C": lambda: (KeyboardInterrupt(), False),
    "a kill": lambda: (Killed(), True),
}
"""What can go wrong, by its name: the error, and whether all after it fails too."""
