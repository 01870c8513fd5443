"""View: which tokens are artefacts?"""

from __future__ import annotations

import streamlit as st

from vit_inspect.figures.token_norms import FIGURE, plot_depth, plot_rollout, verdict
from vit_inspect_dashboard import canvas, exports, models, page, records, sheets, state

subject = state.current()
layers = len(models.model(subject).blocks)
layer = canvas.chosen_number("layer", layers, start=layers - 1)
result = records.token_norms(subject, layer)
sheet = sheets.norms(result)
st.subheader(FIGURE.question, anchor=False)
canvas.show(sheet, verdict(result))
canvas.export(
    sheet,
    subject,
    about=f"norms after layer {layer}",
    analysis=f"vi.token_norms(capture, layer={layer})",
    values=f"found.norm[:, {layer}]",
    label="Export this map",
    all_about="norms after every layer",
)
page.plot(
    plot_depth(result),
    key="depth",
    alt=f"Token norms of {subject.model_title} after every layer",
)
if result.found[0]:
    for column, variant, key in zip(
        st.columns(2, gap="large"), (False, True), ("plain", "variant"), strict=True
    ):
        with column:
            page.plot(
                plot_rollout(result, variant=variant, width=560),
                key=key,
                alt=f"Attention rollout of {subject.model_title}, {key}",
            )
else:
    st.caption("No artefacts found, so there is nothing to remove from rollout.")
exports.offer(FIGURE, result, name=page.title_of(subject), label="Export with the curves")
page.explain(FIGURE)
