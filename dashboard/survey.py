"""Which pictures is a figure averaged over, and how far is that?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, selection
from dashboard.selection import Subject
from vit_inspect.catalog import FigureSpec

ONE = "this picture"


def choose_pictures(subject: Subject) -> tuple[Subject, list[str]]:
    """The keys of this picture, of all samples or of all uploads; and of a single one, itself."""
    groups = {ONE: [subject.image], "all samples": list(vi.SAMPLES)}
    if inputs.uploaded():
        groups["your pictures"] = inputs.uploaded()
    over = selection.choose(
        "over",
        "Averaged over",
        list(groups),
        help="One picture says little; the paper averages 128.",
    )
    images = groups[over]
    return subject._replace(image=images[0]) if len(images) == 1 else subject, images


def averaged(spec: FigureSpec, subject: Subject, images: Sequence[str], **parameters: Any) -> Any:
    """The record of a figure over the pictures; of many, with a bar and a way to cancel."""
    if len(images) == 1:
        return cache.result(spec, subject, **parameters)
    progress = st.empty()
    with progress.container():
        bar = st.progress(0.0, text="Waiting for the first pictures")
        # A click on it reruns the page, which ends the survey at its next step.
        st.button("Cancel", on_click=st.session_state.__setitem__, args=("over", ONE))
    result = cache.survey(
        spec,
        subject,
        images,
        lambda done: bar.progress(done / len(images), text=f"{done} of {len(images)} pictures"),
        **parameters,
    )
    progress.empty()
    return result
