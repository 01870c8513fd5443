"""Page: which tokens are artefacts?"""

from __future__ import annotations

import streamlit as st

from vit_inspect.figures.token_norms import FIGURE, plot_depth, plot_rollout
from vit_inspect_dashboard import controls, models, page, records, state

subject = state.current()
place = page.heading(FIGURE.title, FIGURE.question)
layer = controls.choose_layer(len(models.model(subject).blocks))
result = records.token_norms(subject, layer)
photograph, depth = st.columns(2, gap="large")
with photograph:
    page.plot(
        FIGURE.plot(result, width=560),
        key="norms",
        alt=f"Token norms of {subject.model} after layer {layer}, on the photograph",
    )
with depth:
    page.plot(
        plot_depth(result),
        key="depth",
        alt=f"Token norms of {subject.model} after every layer",
    )
if result.found[0]:
    for column, variant, key in zip(
        st.columns(2, gap="large"), (False, True), ("plain", "variant"), strict=True
    ):
        with column:
            page.plot(
                plot_rollout(result, variant=variant, width=560),
                key=key,
                alt=f"Attention rollout of {subject.model}, {key}",
            )
else:
    st.caption("No artefacts found, so there is nothing to remove from rollout.")
with place:
    page.export(FIGURE, result, name=page.title_of(subject))
page.explain(FIGURE)
