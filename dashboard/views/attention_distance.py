"""Page: how far does each head look?"""

from __future__ import annotations

import streamlit as st

from dashboard import cache, inputs, widgets

OVER = {"picture": "This picture", "samples": "All samples", "uploads": "Your pictures"}
DEFINITIONS = {"paper": "As in the paper", "renormalised": "Patches only"}


def open_head(picked: list[int]) -> None:
    """What a click on a dot does; the page is left once the run has begun."""
    st.session_state["layer"], st.session_state["head"] = picked[0], picked[1] + 1
    st.session_state["open_maps"] = True


spec, subject = widgets.SPECS["attention_distance"], widgets.current()
place = widgets.heading(spec.title, spec.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    definition = st.segmented_control(
        "Distance",
        list(DEFINITIONS),
        default="paper",
        required=True,
        format_func=DEFINITIONS.__getitem__,
        key="definition",
        bind="query-params",
        help="The paper counts attention on prefix tokens as distance 0. 'Patches only' divides "
        "by the attention on patches first.",
    )
    over = st.segmented_control(
        "Averaged over",
        list(OVER) if inputs.uploaded() else [*OVER][:2],
        default="picture",
        required=True,
        format_func=OVER.__getitem__,
        key="over",
        bind="query-params",
        help="One picture says little; the paper averages 128.",
    )
images = {
    "picture": [subject.image],
    "samples": list(inputs.SAMPLE_TITLES),
    "uploads": inputs.uploaded(),
}[over]
if over == "picture":
    result = cache.result(spec, subject, definition=definition)
else:
    with st.container() as progress:
        bar = st.progress(0.0, text="Waiting for the first pictures")
        # A click on it reruns the page, which ends the survey at its next step.
        cancel = st.button(
            "Cancel", on_click=st.session_state.__setitem__, args=("over", "picture")
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
if st.session_state.pop("open_maps", False):
    st.switch_page(widgets.VIEWS / "attention_maps.py")
st.caption("Click a dot to open that head's maps.")
with place:
    widgets.export(spec, result, name=widgets.title_of(subject))
widgets.explain(spec)
