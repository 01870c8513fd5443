"""Page: what is this model, and what did it see of the picture?"""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from vit_inspect.errors import UnsupportedModel
from vit_inspect.figures.overlay import plot_input
from vit_inspect_dashboard import address, models, page, pictures, records, state
from vit_inspect_dashboard.wording import COUNTING, class_names, plain, query_name

subject = state.current()
model = models.model(subject)
capture = models.capture(subject)
layout, photograph = model.layout, capture.photographs[0]

page.heading(model.id, "What is this model, and what did it see?")
picture, facts = st.columns([3, 2], gap="large")
with picture:
    page.plot(
        plot_input(photograph, layout.grid, width=640),
        key="overview",
        alt="The picture, the part that the model saw cut into patches, the rest shaded",
    )
    st.caption(
        f"{layout.grid[0]} × {layout.grid[1]} patches of {layout.patch_px[0]} × "
        f"{layout.patch_px[1]} px. The model never saw the shaded part."
    )
    st.caption(f"{COUNTING} L7 H2 is head 2 of layer 7; patch (5, 7) is in row 5, column 7.")
with facts:
    heads, width = capture.head_count, capture.layers[0].queries.shape[3]
    stage = (
        f", in stage {model.stage} of 0..{model.stage_count - 1}" if model.stage_count > 1 else ""
    )
    rows = {
        "Layers": f"{capture.layer_count}{stage}",
        "Heads": f"{heads} in each layer, {width} wide",
        "Width": f"{heads * width}",
        "Parameters": f"{model.parameter_count:,}",
        "Input": f"{layout.input_px[0]} × {layout.input_px[1]} px",
        "Tokens": f"{layout.token_count:,}",
        "Special tokens": ", ".join(layout.prefix) or "none",
        "Output read from": query_name(layout.readout, layout),
        "Weights": model.source,
        "Device": f"{model.device}, {str(model.dtype).removeprefix('torch.')}",
        "Verified": f"{capture.error:.0e} of the largest value",
    }
    st.table(rows, border="horizontal", width="stretch")
    st.caption(
        "Verified: attention was computed again from the recorded queries and keys. It differs "
        "from the result of the model's own kernel by no more than this."
    )
    try:
        found = records.of_capture(vi.predictions, subject)
    except UnsupportedModel:
        st.markdown("**Predictions**")
        st.write("No classifier: the model outputs a feature vector.")
    else:
        scored = found.outputs == "scores"
        st.markdown("**Largest raw scores**" if scored else "**Five most probable classes**")
        page.show_classes(found, class_names(model.labels or ()))

if notices := (*model.notices, *photograph.notices):
    # Names of weights are the file's words.
    st.info(plain(" ".join(notices)))
st.divider()
st.markdown("**Choose a picture**")
with st.container(horizontal=True, gap="small"):
    for name, each in pictures.by_name().items():
        with st.container(width=128, gap="xxsmall"):
            st.image(pictures.thumbnail(each.key, each.read), width=128, alt=each.title)
            st.button(
                plain(each.title),
                key=f"open_{each.key}",
                on_click=address.put,
                kwargs={"image": name},
                type="secondary" if each == subject.picture else "tertiary",
            )
