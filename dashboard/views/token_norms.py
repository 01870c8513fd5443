"""Page: which tokens are artefacts?"""

from __future__ import annotations

import streamlit as st

from dashboard import cache, selection, widgets
from vit_inspect.figures import token_norms as norms_figure

spec, subject = widgets.SPECS["token_norms"], widgets.current()
place = widgets.heading(spec.title, spec.question)
layers = len(cache.model(subject).blocks)
layer = selection.choose_number("layer", "Layer", range(layers), start=layers - 1, keys=("J", "K"))
result = cache.token_norms(subject, layer)
photograph, depth = st.columns(2, gap="large")
with photograph:
    widgets.plot(
        spec.plot(result, width=560),
        key="norms",
        alt=f"Token norms of {subject.model} after layer {layer}, on the photograph",
    )
with depth:
    widgets.plot(
        norms_figure.plot_depth(result),
        key="depth",
        alt=f"Token norms of {subject.model} after every layer",
    )
if result.found[0]:
    for column, variant, key in zip(
        st.columns(2, gap="large"), (False, True), ("plain", "variant"), strict=True
    ):
        with column:
            widgets.plot(
                norms_figure.plot_rollout(result, variant=variant, width=560),
                key=key,
                alt=f"Attention rollout of {subject.model}, {key}",
            )
else:
    st.caption("No artefacts, so there is nothing to leave out of rollout.")
with place:
    widgets.export(spec, result, name=widgets.title_of(subject))
widgets.explain(spec)
