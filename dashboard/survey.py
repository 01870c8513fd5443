"""Which pictures is a figure of, and how far is work that takes long?"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, selection, widgets
from dashboard.selection import Subject
from vit_inspect.catalog import FigureSpec
from vit_inspect.records.base import Result

ONE = "this picture"
RUNNING = "running"

Tell = Callable[[float, str], object]


def choose_pictures(
    subject: Subject, *, help: str, label: str = "Averaged over"
) -> tuple[Subject, list[str], str]:
    """This picture, all samples or all uploads: their keys, and what a figure of them is called.

    The subject is of the picture where there is a single one.
    """
    groups = {ONE: [subject.image], "all samples": list(vi.SAMPLES)}
    if inputs.uploaded():
        groups["your pictures"] = inputs.uploaded()
    over = selection.choose("over", label, list(groups), help=help)
    images = groups[over]
    if len(images) > 1:
        return subject, images, widgets.title_of(subject, over)
    subject = subject._replace(image=images[0])
    return subject, images, widgets.title_of(subject)


def averaged(
    spec: FigureSpec, subject: Subject, images: Sequence[str], *others: Subject, **parameters: Any
) -> Any:
    """The record of a figure over the pictures; of many, with a bar and a way to cancel.

    others: models that see the same pictures, where the figure compares them.
    """
    subjects, count = (subject, *others), len(images)
    if count == 1 and not others:
        return cache.result(spec, subject, **parameters)
    if count == 1:
        return cache.survey(spec, subjects, images, lambda done: None, **parameters)
    with progress("over", ONE) as tell:
        return cache.survey(
            spec,
            subjects,
            images,
            lambda done: tell(done / count, f"{done} of {count} pictures"),
            **parameters,
        )


def when_asked(
    work: Hashable, run: Callable[[Tell], Result], *, label: str, words: str
) -> Result | None:
    """The record of work that takes long, once a button has begun it; until then there is none.

    work: what determines it: any other is asked for anew.
    """
    if st.session_state.get(RUNNING) != work:
        # In a place of its own, which the bar takes.
        with st.empty().container():
            st.caption(words)
            st.button(
                label,
                type="primary",
                on_click=st.session_state.__setitem__,
                args=(RUNNING, work),
                help="It takes seconds to minutes.",
            )
        return None
    with progress(RUNNING, None) as tell:
        result = run(tell)
    del st.session_state[RUNNING]
    return result


@contextmanager
def progress(key: str, cancelled: Any) -> Iterator[Tell]:
    """A bar that is told a share and words, and a button that ends the work; then both go.

    The button lays `cancelled` into the session under the key.
    """
    place = st.empty()
    with place.container():
        bar = st.progress(0.0, text="Waiting for the device")
        # A click on it reruns the page, which ends the work at its next step.
        st.button("Cancel", on_click=st.session_state.__setitem__, args=(key, cancelled))
    yield bar.progress
    place.empty()
