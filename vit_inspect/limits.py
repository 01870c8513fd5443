"""What may the input of a stranger cost?

A small file can hold a large picture. So the cost of reading a picture is estimated from its
headers, and readers wait for each other until the costs of all of them fit into one budget.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

MAX_PIXELS = 40_000_000
"""Most pixels of a picture."""

MAX_SIDE = 2_000_000
"""Most pixels of a row or a column: decoders have some work for each row."""

MAX_BYTES = 100_000_000
"""Most bytes of the file of a picture."""

MAX_READING = 800_000_000
"""Most bytes of memory that all pictures take together while they are read in one process.

The most costly kind of 40 megapixels without several bands is a WebP: 17 bytes for each pixel.
"""

MAX_UNCHECKED = 290_000_000
"""Most bytes of memory that all pictures take together before their decoders can find damage.

A small file that is damaged at its end would take as much as a good picture, and be none.
"""


class Budget:
    """An amount that is shared by threads, each of which takes a part of it for a while.

    The sum of what is taken is never more than the total. Those who wait get their parts in the
    order in which they came, so that many small parts do not keep a large one waiting for ever.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._taken = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def part(self, cost: int) -> Iterator[None]:
        """Takes this much and gives it back at the end; waits until it is there.

        Raises `ValueError` for more than the total, for which one would wait for ever.
        """
        if cost > self.total:
            raise ValueError(f"{cost} of a budget of {self.total}")
        own = object()
        with self._changed:
            self._waiting.append(own)
            try:
                self._changed.wait_for(
                    lambda: self._waiting[0] is own and self._taken + cost <= self.total
                )
                self._taken += cost
            finally:
                # Also where the wait is interrupted: nobody waits behind one who has left.
                self._waiting.remove(own)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken -= cost
                self._changed.notify_all()


READING = Budget(MAX_READING)
"""The memory in which pictures are read."""

UNCHECKED = Budget(MAX_UNCHECKED)
"""The memory of pictures of which it is not known yet whether they are damaged."""
