"""View: which layers of a model, or of two models, represent a picture alike?"""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from vit_inspect.figures.layer_cka import FIGURE
from vit_inspect_dashboard import controls, exports, models, page, picker, sidebar, state, survey

ITSELF = "itself"

subject = state.current()
place = page.heading(FIGURE.title, FIGURE.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    model = controls.choose_other_model(
        "Compare with",
        [ITSELF, *picker.others(subject.model)],
        key="other_model",
        help="The layers of another model on the same pictures, at the input size that it was "
        "trained for.",
    )
    subject, chosen, name = survey.choose_pictures(subject, help="One picture is a rough estimate.")
if model == ITSELF:
    result = survey.averaged(vi.layer_cka, subject, chosen)
else:
    other = subject.beside(model, sidebar.own_size(model))
    with page.failed_model(other, st.container(), second="other_model"):
        models.model(other)
    result = survey.averaged(vi.cka, subject, chosen, other)
    name = f"{name}, with {model}"
page.plot(
    FIGURE.plot(result),
    key="cka",
    alt=f"CKA between the layers of {result.model} and of {result.other_model}",
)
with place:
    exports.offer(FIGURE, result, name=name)
page.explain(FIGURE)
