"""Stops the real command by a signal, and sees what it says and what it leaves running."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
"""How a command ends that is stopped by each signal."""


def alive(session: int) -> list[str]:
    """What still runs of a session, where the system tells it in files."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(stat.parent.name)
    return found


def _count(files: Callable[[], list[Path]]) -> int:
    """How many there are; none while the folder of an earlier run is being removed."""
    try:
        return len(files())
    except FileNotFoundError:
        return 0


def stop(
    words: list[str],
    number: signal.Signals,
    files: Callable[[], list[Path]],
    count: int,
    later_s: float = 0,
) -> None:
    """Start a command, a module and its words, and stop it when it has made so many files.

    later_s: seconds after that, in which it works on what is next.

    Fails where it ends before, or in another way than with its line and its code, and where one of
    its processes runs on.
    """
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while _count(files) < count:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(later_s)
        process.send_signal(number)
        # A worker that runs on holds what it could write to.
        _, told = process.communicate(timeout=60)
    assert process.returncode == CODES[number], told
    assert "Traceback" not in told
    if number != signal.SIGKILL:
        assert told.splitlines()[-1].startswith("Stopped. ")
        assert "Warning" not in told
    # A worker whose first process was killed sees it and ends.
    for _ in range(100):
        if not (left := alive(process.pid)):
            break
        time.sleep(0.1)
    assert not left
