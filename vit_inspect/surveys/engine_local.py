"""How is a survey made on one computer? Pictures are read ahead of the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from PIL import Image

from vit_inspect.analyses.head_statistics import Statistic
from vit_inspect.exporting.workers import InOrder
from vit_inspect.model import Model
from vit_inspect.surveys.parts import Progress, Row, Store
from vit_inspect.surveys.sources import Entry, read
from vit_inspect.surveys.work import Engine, Inputs, Sent, read_batch, rows_of, send

AHEAD = 2
"""Batches of each worker that wait for the device."""

SENT = {"cuda": 1}
"""Batches that are on their way to a kind of device while it computes one; of others none."""


@contextmanager
def local(
    model: Model,
    workers: int | None = None,
    *,
    read: Callable[[Entry], Image.Image] = read,
    run: Callable[..., Any] = lambda work, *given: work(*given),
) -> Iterator[Engine]:
    """This process and its model, and others that read and prepare pictures.

    workers: processes that read; None or 1 is this one alone.
    read: opens a picture; run: calls each forward pass, for those who share a device.
    """
    how = {"doing": "reading", "fewer": "use fewer workers"}
    with InOrder(workers or 1, ahead=AHEAD, **how) as calls:
        yield Engine(model.device.type, partial(_fill, calls, read, run), run)


def _fill(
    calls: InOrder,
    read: Callable[[Entry], Image.Image],
    run: Callable[..., Any],
    store: Store,
    model: Model,
    statistics: Sequence[Statistic],
    on_progress: Progress,
) -> None:
    """Make the parts that are missing, one after the other."""
    batch, done, count = store.plan["batch"], store.done(), len(store.entries)
    rows: list[Row] = []
    sent: deque[tuple[int, Sequence[Entry], Sent]] = deque()
    behind = SENT.get(model.device.type, 0)

    def take(number: int, pictures: Sequence[Entry], inputs: Inputs) -> None:
        sent.append((number, pictures, send(model, inputs)))
        if len(sent) > behind:
            compute(*sent.popleft())

    def compute(number: int, pictures: Sequence[Entry], there: Sent) -> None:
        nonlocal done
        rows.extend(run(rows_of, model, statistics, store.plan["tokens"], pictures, there))
        done += len(pictures)
        if len(rows) == len(store.chunk(number)):
            store.put(number, rows)
            rows.clear()
        on_progress(done, count)

    on_progress(done, count)
    for number in store.missing():
        chunk = store.chunk(number)
        for first in range(0, len(chunk), batch):
            some = chunk[first : first + batch]
            how = model.recipe, model.layout.input_px, read
            calls.call(partial(take, number, some), read_batch, some, *how)
    calls.take_all()
    while sent:
        compute(*sent.popleft())
