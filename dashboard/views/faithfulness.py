"""Page: can a map be trusted?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from jaxtyping import Float

import vit_inspect as vi
from dashboard import cache, inputs, selection, widgets
from vit_inspect.analyses.faithfulness import MAPS
from vit_inspect.figures.faithfulness import plot_one

spec, subject = widgets.SPECS["faithfulness"], widgets.current()
groups = {"this picture": [subject.image], "all samples": list(vi.SAMPLES)}
if inputs.uploaded():
    groups["your pictures"] = inputs.uploaded()
place = widgets.heading(spec.title, spec.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    over = selection.choose(
        "over",
        "Averaged over",
        list(groups),
        help="One picture says little: curves are averaged over all of them.",
    )
    steps = st.segmented_control(
        "Steps",
        (10, 20, 40),
        default=20,
        required=True,
        key="steps",
        bind="query-params",
        help="Steps of each curve, at most one for each patch; the model is run for each.",
    )
images = groups[over]
result = cache.kept_curves(subject, images, steps=steps)
if result is None:
    begin, progress = st.empty(), st.empty()
    with begin.container():
        st.caption(
            "The model is run on each picture some hundred times, with ever more patches taken "
            "out or put back. Others may use the device in between."
        )
        started = st.button("Run", type="primary", help="It takes seconds to minutes.")
    if started:
        begin.empty()
        with progress.container():
            bar = st.progress(0.0, text="Waiting for the device")
            # A click on it reruns the page, which ends the work at its next step.
            st.button("Cancel")
            result = cache.curves(
                subject,
                images,
                lambda number, done, total: bar.progress(
                    (number + done / total) / len(images),
                    text=f"Picture {number + 1} of {len(images)}: {done} of {total} runs",
                ),
                steps=steps,
            )
        progress.empty()
if result is not None:
    widgets.plot(spec.plot(result), key="curves", alt=f"Curves of {subject.model}")
    with place:
        of_all = replace(spec, scope="images") if len(images) > 1 else spec
        several = f"{subject.model}, {over}"
        widgets.export(
            of_all, result, name=several if len(images) > 1 else widgets.title_of(subject)
        )


def show(other: selection.Subject) -> tuple[go.Figure, Float[np.ndarray, "row column"]]:
    """The chosen map of a model, trained or not."""
    seen, values = cache.capture(other), cache.maps(other)[name][0]
    title = f"{seen.model.id}: {name}"
    figure = plot_one(seen.photographs[0], values, title=title, from_least=name == "relevance")
    return figure, values


st.divider()
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = selection.choose(
        "map", "Map", MAPS, help="The maps that are tested, as far as the model has them."
    )
    controlled = widgets.wants_control()
if name in cache.maps(subject):
    figure, values = show(subject)
    learned, randomised = st.columns(2, gap="large")
    with learned:
        widgets.plot(figure, key="map_shown", alt=f"{name} of {subject.model}")
    if controlled:
        with randomised:
            widgets.control(subject, values, show)
else:
    st.caption("This model has no such map: its page under Evidence or Attention tells why.")
widgets.explain(spec)
