"""What the tests call in other processes, which import no more than this."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


def read_but_the_third(pictures: Sequence[Any], *how: Any) -> Any:
    """As `read_batch`, but for one picture there is no memory."""
    from vit_inspect.surveys.work import read_batch

    if pictures[0].name == "2.png":
        raise MemoryError
    return read_batch(pictures, *how)
