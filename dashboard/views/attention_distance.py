"""Page: how far does each head look?"""

from __future__ import annotations

from typing import get_args

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, selection, widgets
from vit_inspect.analyses.attention_distance import Definition

if head := st.session_state.pop("leave_for", None):
    st.switch_page(widgets.VIEWS / "attention_maps.py", query_params={**st.query_params, **head})
spec, subject = widgets.SPECS["attention_distance"], widgets.current()
groups = {"this picture": [subject.image], "all samples": list(vi.SAMPLES)}
if inputs.uploaded():
    groups["your pictures"] = inputs.uploaded()
place = widgets.heading(spec.title, spec.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    definition = selection.choose(
        "definition",
        "Distance",
        get_args(Definition),
        help="The paper counts attention on prefix tokens as distance 0. 'renormalised' divides "
        "by the attention on patches first.",
    )
    over = selection.choose(
        "over",
        "Averaged over",
        list(groups),
        help="One picture says little; the paper averages 128.",
    )
images = groups[over]
if len(images) == 1:
    subject = subject._replace(image=images[0])
    result = cache.result(spec, subject, definition=definition)
else:
    progress = st.empty()
    with progress.container():
        bar = st.progress(0.0, text="Waiting for the first pictures")
        # A click on it reruns the page, which ends the survey at its next step.
        st.button("Cancel", on_click=st.session_state.__setitem__, args=("over", "this picture"))
    result = cache.survey(
        subject,
        images,
        lambda done: bar.progress(done / len(images), text=f"{done} of {len(images)} pictures"),
        definition=definition,
    )
    progress.empty()
widgets.plot(
    spec.plot(result),
    key="distance",
    alt=f"Mean attention distance of every head at every depth of {subject.model}",
    on_pick=selection.leave_for_head,
)
st.caption("Click a dot to open that head's maps.")
with place:
    widgets.export(spec, result, name=widgets.title_of(subject))
widgets.explain(spec)
