"""What the tests call in other processes, which import no more than this."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from vit_inspect.errors import BadParameter


def where(seconds: float) -> tuple[int, float]:
    """The process that this runs in, a while later."""
    time.sleep(seconds)
    return os.getpid(), seconds


def refuse(seconds: float) -> None:
    time.sleep(seconds)
    raise BadParameter("a bad value", "a good one", "take another")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(path: str) -> None:
    """A trace, after a while."""
    time.sleep(0.1)
    Path(path).touch()
