"""Which pictures is a figure of, and how far is work that takes long?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import streamlit as st

from vit_inspect.figures.figure import Record
from vit_inspect_dashboard import address, page, pictures, records, state
from vit_inspect_dashboard.controls import choose
from vit_inspect_dashboard.device import TooLong, job
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.state import Subject
from vit_inspect_dashboard.wording import file_stem

ONE = "this picture"
RUNNING = "running"

Progress = Callable[[float, str], object]
Value = TypeVar("Value")


def choose_pictures(
    subject: Subject, *, help: str, label: str = "Averaged over"
) -> tuple[Subject, list[Picture], str]:
    """This picture, all samples or all uploads, and what a figure of them is called.

    The subject is of the picture where there is a single one.
    """
    groups = {ONE: [subject.picture], "all samples": pictures.samples()}
    if uploads := pictures.uploads():
        groups["your pictures"] = uploads
    over = choose("over", label, list(groups), help=help)
    chosen = groups[over]
    if len(chosen) > 1:
        return subject, chosen, page.title_of(subject, over)
    subject = subject._replace(picture=chosen[0])
    return subject, chosen, page.title_of(subject)


def averaged(
    analyse: Callable[..., Record],
    subject: Subject,
    chosen: Sequence[Picture],
    *others: Subject,
    **parameters: Any,
) -> Record:
    """The record of an analysis over the pictures; of many, with a bar and a way to cancel.

    others: models that see the same pictures, where the analysis compares them.
    """
    subjects, count = (subject, *others), len(chosen)
    if count == 1 and not others:
        return records.of_capture(analyse, subject, **parameters)
    if count == 1:
        return records.of_pictures(analyse, subjects, chosen, lambda done: None, **parameters)
    with progress(partial(address.put, over=None)) as on_progress:
        return records.of_pictures(
            analyse,
            subjects,
            chosen,
            lambda done: on_progress(done / count, f"{done} of {count} pictures"),
            **parameters,
        )


def when_asked(
    work: Hashable, run: Callable[[Progress], Value], *, label: str, words: str
) -> Value | None:
    """The result of work that takes long, once a button has begun it; until then there is none.

    work: what determines it: any other is asked for anew.
    """
    if st.session_state.get(RUNNING) != work:
        # In a place of its own, which the bar takes.
        with st.empty().container():
            st.caption(words)
            st.button(
                label,
                key=file_stem(label).lower(),
                type="primary",
                on_click=state.remember,
                args=(RUNNING, work),
                help="It takes seconds to minutes.",
            )
        return None
    try:
        with progress(partial(state.remember, RUNNING, None)) as on_progress:
            result = run(on_progress)
    except TooLong:
        # It would begin again at each click.
        del st.session_state[RUNNING]
        raise
    del st.session_state[RUNNING]
    return result


@contextmanager
def progress(cancel: Callable[[], None]) -> Iterator[Progress]:
    """A bar that is told a share and words, and a button that ends the work; then both go.

    cancel: takes back the choice that the work is done for.

    All that is done on the device meanwhile is one job, which ends with `TooLong` at a step.
    """
    place = st.empty()
    with place.container():
        bar = st.progress(0.0, text="Waiting for the device")
        # A click on it reruns the page, which ends the work at its next step.
        st.button(
            "Cancel",
            on_click=cancel,
            help="What is done so far is kept where the work can go on from it.",
        )
    begun: list[tuple[float, float]] = []

    def tell(share: float, words: str) -> None:
        work.check()
        now = time.monotonic(), share
        if not begun:
            begun.append(now)
        bar.progress(share, text=f"{words}{time_left(begun[0], now)}")

    with job() as work:
        yield tell
    place.empty()


def time_left(first: tuple[float, float], now: tuple[float, float]) -> str:
    """How long work goes on as it did, from (time, share) at its first and its last step."""
    (then, begun), (here, share) = first, now
    if share <= begun:
        return ""
    seconds = (here - then) * (1 - share) / (share - begun)
    if seconds >= 90:
        return f", about {seconds / 60:.0f} min left"
    # Of a few seconds one can only say that they are few.
    return f", about {5 * math.ceil(seconds / 5)} s left" if seconds > 2 else ""
