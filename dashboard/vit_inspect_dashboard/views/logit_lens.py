"""View: which class does the model's own head read from the tokens of each layer?"""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from vit_inspect.figures import logit_lens, outputs
from vit_inspect_dashboard import controls, exports, models, page, picker, records, state
from vit_inspect_dashboard.components import screen

FIGURE = logit_lens.FIGURE

subject = state.current()
place = page.heading(FIGURE.title, FIGURE.question)
if models.model(subject).labels is None:
    st.info(
        "The lens asks the model's own classifier what it reads in each layer. This model has none."
    )
    picker.offer_classes(models.model(subject))
else:
    result = records.of_capture(vi.logit_lens, subject)
    name, layer = result.labels[0], controls.choose_layer(len(models.model(subject).blocks))
    layers, large = st.columns([4, 3], gap="medium")
    with layers:
        page.plot(
            logit_lens.plot(result),
            key="lens",
            alt=f"{name} in every layer of {subject.model_title}, in patches and output",
            on_pick=state.pick_layer,
        )
    with large:
        page.plot(
            logit_lens.plot_layer(result, layer, width=370),
            key="lens_layer",
            alt=f"{outputs.name(result.outputs)} of {name} in the patches of layer {layer}",
        )
        st.caption(screen.in_words("Click a map or a bar to see its layer here."))
    with place:
        exports.offer(FIGURE, result, name=page.title_of(subject))
page.explain(FIGURE)
