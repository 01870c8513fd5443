"""Page: which layers of a model, or of two, arrange the patches of a picture alike?"""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

import vit_inspect as vi
from dashboard import selection, survey, widgets
from vit_inspect.loading.recommended import ZOO

ITSELF = "itself"
spec, subject = widgets.SPECS["layer_cka"], widgets.current()
place = widgets.heading(spec.title, spec.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    model = st.selectbox(
        "Compared with",
        [ITSELF, *(each.name for each in ZOO if each.name != subject.model)],
        key="other_model",
        bind="query-params",
        accept_new_options=True,
        width=380,
        help="The layers of another model over the same pictures, at the input size that it was "
        "trained for. Any timm id can be typed in.",
    )
    subject, images, name = survey.choose_pictures(
        subject, label="Over", help="One picture is a rough estimate."
    )
if model == ITSELF:
    result = survey.averaged(spec, subject, images)
else:
    model = str(model)[: selection.NAME_LENGTH]
    other = subject._replace(model=model, size=selection.own_size(model), stage=None)
    result = survey.averaged(replace(spec, analyse=vi.cka), subject, images, other)
    name = f"{name}, with {model}"
widgets.plot(
    spec.plot(result),
    key="cka",
    alt=f"CKA between the layers of {result.model} and of {result.other_model}",
)
with place:
    widgets.export(spec, result, name=name)
widgets.explain(spec)
