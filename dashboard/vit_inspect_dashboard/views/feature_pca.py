"""View: which patches have similar tokens? Their main directions as colours."""

from __future__ import annotations

from typing import Any

import streamlit as st

import vit_inspect as vi
from vit_inspect.figures import feature_pca
from vit_inspect_dashboard import as_python, canvas, controls, exports, models, page, records, state

FIGURE = feature_pca.FIGURE

subject = state.current()
layers = len(models.model(subject).blocks)
layer = canvas.chosen_number("layer", layers, start=layers - 1)
canvas.show(records.features_sheet(subject, layer), FIGURE.question)
look: dict[str, Any] = {"edges": canvas.chosen_look()["edges"]}
other = controls.choose_other_picture(
    subject.picture,
    key="beside",
    none=controls.NO_OTHER,
    help="Both pictures by the directions that they have in common.",
)
result = records.of_capture(vi.feature_pca, subject, layer=layer)
if other is not None:
    result = records.beside(vi.feature_pca, subject, other, layer=layer, basis="common")
    for image, photograph in enumerate(result.photographs):
        page.plot(
            feature_pca.plot(result, image=image, **look),
            key=f"colours_{image}",
            alt=f"{photograph.name}, and its patches coloured by the tokens of layer {layer}",
        )
with st.container(horizontal=True):
    exports.offer_each(FIGURE, result, subject, [subject.picture, *filter(None, [other])], **look)
    exports.offer_lines(
        as_python.figure_lines(
            subject,
            f"vi.feature_pca(capture, layer={layer})",
            as_python.print_options(exports.chosen_print()) | look,
        )
    )
page.explain(FIGURE)
