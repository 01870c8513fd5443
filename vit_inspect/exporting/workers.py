"""How is work done side by side? In processes of their own, the results in order.

matplotlib draws one figure at a time in a process, so that threads would not help.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from types import TracebackType
from typing import Any, Self, TypeVar

from vit_inspect.errors import BadParameter, InspectError, OutOfMemory

LEAST = 2
"""Photographs for each worker: one alone takes no longer to draw than a worker to start."""

AHEAD = 8
"""What is ahead of figures that are drawn."""

MOST = 8
"""Workers at most: one process makes the records for all."""

Answer = TypeVar("Answer")


def workers_for(photographs: int) -> int:
    """How many workers draw so many photographs soonest; 1 is none beside this process."""
    return max(1, min(_processors(), MOST, photographs // LEAST))


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class InOrder:
    """Calls functions, in worker processes where there are several, and takes the results in order.

    With one worker everything happens at once and in this process. An error of a call is raised
    where its result would be taken; nothing is taken after it, and nothing runs on.

    ahead: calls of each worker that wait for their turn or whose results wait to be taken.
    doing: what they do, in one word.
    fewer: what the user can do, so that fewer processes are needed.
    """

    def __init__(
        self,
        workers: int,
        *,
        ahead: int = AHEAD,
        doing: str = "drawing",
        fewer: str = f"give at most {2 * LEAST - 1} photographs at a time",
    ) -> None:
        self.workers, self.ahead, self.doing, self.fewer = workers, ahead, doing, fewer
        self.pool: ProcessPoolExecutor | None = None
        self.answered = False
        self.waiting: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()

    def __enter__(self) -> Self:
        if self.workers > 1:
            # Spawned, not forked: a fork of a process whose libraries hold threads may hang.
            self.pool = ProcessPoolExecutor(
                self.workers, mp_context=get_context("spawn"), initializer=_begin
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def call(
        self, take: Callable[[Answer], None], function: Callable[..., Answer], *given: Any
    ) -> None:
        """Call the function, and have its result taken when those of earlier calls were.

        function: of a module, as what is given and what it returns cross to another process.
        """
        if self.pool is None:
            take(function(*given))
            return
        self.waiting.append((self.pool.submit(function, *given), take))
        # What is ahead fills the memory.
        while len(self.waiting) > self.workers * self.ahead:
            self._take_first()

    def take_all(self) -> None:
        """Take every result that is still waited for."""
        while self.waiting:
            self._take_first()

    def _take_first(self) -> None:
        """Take the result of the earliest call that waits, once it is there."""
        future, take = self.waiting.popleft()
        try:
            answer = future.result()
        except BrokenProcessPool as error:
            raise self._broken() from error
        self.answered = True
        take(answer)

    def _broken(self) -> InspectError:
        """What to say of a worker that ended: of the first one, that it cannot start at all."""
        if not self.answered:
            return BadParameter(
                f"{self.workers} {self.doing} processes that could not start",
                'a script whose work stands below `if __name__ == "__main__":`, and free memory',
                "put it there, or use workers=1",
            )
        return OutOfMemory(
            f"a {self.doing} process that the system ended, most likely for want of memory",
            f"memory for {self.workers} {self.doing} processes",
            f"free some memory, or {self.fewer}",
        )


def _begin() -> None:
    """Prepares a worker."""
    # Ctrl-C reaches every process: the first one stops the others, which have nothing to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # What is imported stays: the collector need not look at it again and again.
    gc.freeze()


def _end_with_parent() -> None:
    """Ends a worker whose first process was killed; it would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
