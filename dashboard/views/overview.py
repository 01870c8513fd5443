"""Page: what is this model, and what did it see of the picture?"""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, widgets
from vit_inspect.errors import UnsupportedModel
from vit_inspect.figures.overlay import plot_input

subject = widgets.current()
model = cache.model(subject)
capture = cache.capture(subject)
layout, photograph = model.layout, capture.photographs[0]

widgets.heading(model.id, "What is this model, and what did it see?")
picture, facts = st.columns([3, 2], gap="large")
with picture:
    widgets.plot(
        plot_input(photograph, layout.grid, width=640),
        key="overview",
        alt="The picture, the part that the model saw cut into patches, the rest shaded",
    )
    st.caption(
        f"{layout.grid[0]} × {layout.grid[1]} patches of {layout.patch_px[0]} × "
        f"{layout.patch_px[1]} px. What the model never saw is shaded."
    )
with facts:
    layer = capture.layers[0]
    stage = f", in stage {model.stage} of 0..{model.stage_count - 1}" if model.stages else ""
    width = layer.queries.shape[1] * layer.queries.shape[3]
    prefix = ", ".join(layout.prefix) or "none"
    rows = {
        "Layers": f"{len(capture.layers)}{stage}",
        "Heads": f"{layer.queries.shape[1]} in each layer, {layer.queries.shape[3]} wide",
        "Width": f"{width}",
        "Parameters": f"{model.parameter_count:,}",
        "Input": f"{layout.input_px[0]} × {layout.input_px[1]} px",
        "Tokens": f"{layout.token_count:,}",
        "Prefix tokens": prefix,
        "Read-out": layout.readout,
        "Weights": model.source,
        "Device": f"{model.device}, {str(model.dtype).removeprefix('torch.')}",
        "Verified": f"{capture.error:.0e} of the largest value",
    }
    st.table(rows, border="horizontal", width="stretch")
    st.caption(
        "Verified: attention recomputed from the recorded queries and keys gives what the model's "
        "own kernel returned, up to this."
    )
    try:
        found = vi.predictions(capture)
    except UnsupportedModel:
        st.markdown("**Predictions**")
        st.write("This model has no classes: it gives features, not names.")
    else:
        st.markdown("**Five most probable classes**")
        widgets.show_classes(found, inputs.class_names(model.labels or ()))

if notices := (*model.notices, *photograph.notices):
    # Names of weights are the file's words.
    st.info(inputs.plain(" ".join(notices)))
st.divider()
st.markdown("**Pictures at hand**")
with st.container(horizontal=True, gap="small"):
    for name, key in inputs.keys().items():
        with st.container(width=128, gap="xxsmall"):
            st.image(inputs.thumbnail(key), width=128, alt=inputs.title_of(key))
            st.button(
                inputs.plain(inputs.title_of(key)),
                key=f"open_{key}",
                on_click=st.session_state.__setitem__,
                args=("image", name),
                type="secondary" if key == subject.image else "tertiary",
            )
