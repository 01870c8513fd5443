"""Whose turn is it on the device? One job at a time; the others wait and see how many are ahead.

A job in steps gives the device back after each, and ends between two of them once it has held the
device too long (`Job`). A single pass cannot be broken: one whose estimate is too long is refused
before it begins, and where there is no estimate, as of a server's first pass, it is let through.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import streamlit as st
import torch

import vit_inspect as vi
from vit_inspect.analyses.faithfulness import default_maps
from vit_inspect.errors import InspectError, OutOfMemory, memory_told
from vit_inspect_dashboard import kept, operating, quotas, shares

WAITING = 24
"""Jobs that may wait for the device; more are refused."""

PASSES = {vi.attention_relevance: 3, default_maps: 3}
"""What takes longer than a forward pass, and how many times as long, as measured on a CPU."""

_pass_seconds: WeakKeyDictionary[torch.nn.Module, float] = WeakKeyDictionary()
"""How long a pass of a network took for one picture, once it did."""

_product_seconds: dict[str, float] = {}
"""The least that a product took on each kind of device, of those that a pass makes for certain."""

Value = TypeVar("Value")


class Busy(InspectError):
    """Too many jobs wait for the device."""


class TooLong(InspectError):
    """A job holds the device longer than this server allows."""


class Ticket:
    """The place of a job in the line, and the session whose job it is."""

    def __init__(self, session: str) -> None:
        self.session = session


class Line:
    """Those who wait for the device, first come first served; the first one runs."""

    def __init__(self) -> None:
        self.waiting: deque[Ticket] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, on_wait: Callable[[int], object]) -> Iterator[None]:
        """Wait, then hold the device; `on_wait` hears now and then how many jobs are ahead."""
        ticket, most = Ticket(shares.session()), quotas.now().jobs
        with self._changed:
            own = sum(each.session == ticket.session for each in self.waiting)
            if own >= most and ticket.session != shares.NOBODY:
                raise Busy(
                    f"{own} jobs of yours that wait for the device or run there",
                    f"at most {most} of a visitor",
                    "try again when one of them is done",
                )
            if len(self.waiting) > WAITING:
                raise Busy(
                    f"{len(self.waiting)} jobs ahead of yours on the device",
                    f"at most {WAITING}",
                    "try again in a minute",
                )
            self.waiting.append(ticket)
        try:
            while ahead := self._ahead(ticket):
                # Streamlit ends an abandoned run at its next call, which is in here.
                on_wait(ahead)
                with self._changed:
                    self._changed.wait_for(lambda: self.waiting.index(ticket) < ahead, 0.5)
            yield
        finally:
            with self._changed:
                self.waiting.remove(ticket)
                self._changed.notify_all()

    def _ahead(self, ticket: Ticket) -> int:
        with self._changed:
            return self.waiting.index(ticket)


@st.cache_resource(show_spinner=False)
def line() -> Line:
    """The line before the device of this server."""
    return Line()


class Job:
    """Work in steps, each of which may take a turn, and how long they have held the device."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._since: float | None = None

    @contextmanager
    def hold(self) -> Iterator[None]:
        """While a step holds the device."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._seconds, self._since = self._held(), None

    def check(self) -> None:
        """Raises `TooLong` where no other step may begin; also within a turn of many steps."""
        check_seconds(self._held())

    def _held(self) -> float:
        return self._seconds + (0 if self._since is None else time.monotonic() - self._since)


_job: ContextVar[Job | None] = ContextVar("job", default=None)


@contextmanager
def job() -> Iterator[Job]:
    """What is done on the device in here, in this thread, is one job."""
    begun = Job()
    before = _job.set(begun)
    try:
        yield begun
    finally:
        _job.reset(before)


def check_seconds(seconds: float) -> None:
    """Raises `TooLong` for work that holds the device longer than allowed here."""
    most = quotas.now().job_seconds
    if seconds > most:
        raise TooLong(
            f"work that holds the device for {seconds:,.0f} s",
            f"at most {most:,.0f} s at once on this server",
            "ask for less, such as fewer pictures, or run vit_inspect on your own computer",
        )


def on_device(work: Callable[..., Value], *arguments: Any, **parameters: Any) -> Value:
    """Do the work when it is this session's turn; until then the page says how many are ahead."""
    place = st.empty()
    waiting = line().turn(lambda ahead: place.caption(waiting_words(ahead)))
    with operating.job(work) as begin, waiting:
        begin()
        place.empty()
        with (_job.get() or Job()).hold():
            with suppress(OutOfMemory), memory_told():
                return work(*arguments, **parameters)
            # What the work held is free by now, and what is kept is made again when it is needed:
            # but strangers pay for their own work.
            if quotas.now() == quotas.ALONE:
                kept.captures().drop()
            else:
                kept.captures().drop_own()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            with memory_told():
                return work(*arguments, **parameters)


def timed_on_device(
    work: Callable[..., Value], of: vi.Model | vi.Capture, *arguments: Any, **parameters: Any
) -> Value:
    """The same for work on pictures; the page counts its seconds, and says about how many it takes.

    work: `vi.capture` of a model and a list of pictures, or an analysis of a capture. How long a
        network's first pass takes follows from those of others; before the server's very first one
        nobody can know.
    """
    model, pictures = (of.model, of.photographs) if isinstance(of, vi.Capture) else (of, *arguments)
    key = model.module
    products = _products(model)
    device = model.device.type
    first = _pass_seconds.get(key)
    if first is None and device in _product_seconds:
        first = products * _product_seconds[device]
    total = None if first is None else first * len(pictures) * PASSES.get(work, 1)
    check_seconds(total or 0)

    @wraps(work)
    def timed() -> Value:
        began = time.perf_counter()
        done = work(of, *arguments, **parameters)
        if work is vi.capture:
            spent = (time.perf_counter() - began) / len(pictures)
            # The first pass of a network takes longer than those after it.
            _pass_seconds[key] = min(spent, _pass_seconds.get(key, spent))
            each = spent / products
            _product_seconds[device] = min(each, _product_seconds.get(device, each))
        return done

    with st.spinner(computing_words(total), show_time=True):
        return on_device(timed)


def _products(model: vi.Model) -> int:
    """How many products a pass over one picture makes at least: of each weight with each token."""
    weights = sum(each.numel() for each in model.module.parameters())
    return weights * model.layout.token_count


def computing_words(seconds: float | None) -> str:
    """What a page says while it computes; `seconds` is how long it will take, if that is known."""
    return f"Computing, about {seconds:.0f} s" if seconds and seconds >= 2 else "Computing"


def waiting_words(ahead: int) -> str:
    """What a page says while it waits."""
    return f"{ahead} {'job' if ahead == 1 else 'jobs'} ahead of you."
