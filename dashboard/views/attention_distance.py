"""Page: how far does each head look?"""

from __future__ import annotations

from typing import get_args

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, widgets
from vit_inspect.analyses.attention_distance import Definition


def open_head(picked: list[int]) -> None:
    """What a click on a dot does; the page is left once the run has begun."""
    st.session_state["open_maps"] = {"layer": picked[0], "head": picked[1] + 1}


spec, subject = widgets.SPECS["attention_distance"], widgets.current()
groups = {"this picture": [subject.image], "all samples": list(vi.SAMPLES)}
if inputs.uploaded():
    groups["your pictures"] = inputs.uploaded()
place = widgets.heading(spec.title, spec.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    definition = st.segmented_control(
        "Distance",
        get_args(Definition),
        default="paper",
        required=True,
        key="definition",
        bind="query-params",
        help="The paper counts attention on prefix tokens as distance 0. 'renormalised' divides "
        "by the attention on patches first.",
    )
    over = st.segmented_control(
        "Averaged over",
        list(groups),
        default="this picture",
        required=True,
        key="over",
        bind="query-params",
        help="One picture says little; the paper averages 128.",
    )
images = groups[over]
if len(images) == 1:
    result = cache.result(spec, subject, definition=definition)
else:
    progress = st.empty()
    with progress.container():
        bar = st.progress(0.0, text="Waiting for the first pictures")
        # A click on it reruns the page, which ends the survey at its next step.
        cancel = st.button(
            "Cancel", on_click=st.session_state.__setitem__, args=("over", "this picture")
        )
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
    on_pick=open_head,
)
if head := st.session_state.pop("open_maps", None):
    st.switch_page(widgets.VIEWS / "attention_maps.py", query_params={**st.query_params, **head})
st.caption("Click a dot to open that head's maps.")
with place:
    widgets.export(spec, result, name=widgets.title_of(subject))
widgets.explain(spec)
