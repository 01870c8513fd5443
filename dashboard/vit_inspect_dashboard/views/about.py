"""View: what is this model, and what did it see of the picture?"""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from vit_inspect.errors import UnsupportedModel
from vit_inspect.figures.anatomy import FIGURE
from vit_inspect.figures.looks import parameter_count
from vit_inspect.records.base import Photograph
from vit_inspect_dashboard import exports, models, page, picker, records, state
from vit_inspect_dashboard.components import screen
from vit_inspect_dashboard.wording import COUNTING, class_names, plain, query_name, token_name


def shown(count: int | None) -> str:
    """A number of a row, where all blocks have the same."""
    return "differs" if count is None else f"{count:,}"


def is_whole(photograph: Photograph) -> bool:
    """Whether the model saw all of the picture, to half a pixel: then nothing of it is faded."""
    (rows, columns), (left, top, right, bottom) = photograph.size_px, photograph.seen
    return max(left, top, columns - right, rows - bottom) < 0.5


subject = state.current()
model = models.model(subject)
capture = models.capture(subject)
layout, photograph = model.layout, capture.photographs[0]

page.heading(model.id, "What is this model, and what did it see?")
picture, facts = st.columns([3, 2], gap="large")
with picture:
    page.show_input(photograph, layout.grid)
    st.caption(
        f"{layout.grid[0]} × {layout.grid[1]} patches of {layout.patch_px[0]} × "
        f"{layout.patch_px[1]} px."
        + ("" if is_whole(photograph) else " The model never saw the faded part.")
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
        "Special tokens": ", ".join(map(token_name, layout.prefix)) or "none",
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
        picker.offer_classes(model)
    else:
        scored = found.outputs == "scores"
        st.markdown("**Largest raw scores**" if scored else "**Five most probable classes**")
        page.show_classes(found, class_names(model.labels or ()))

page.tell_notices(subject)

st.divider()
st.markdown("**Beside the nearest size that has a name, and what it is made of**")
made = records.of_model(vi.anatomy, subject)
named = made.variant
said = [(subject.model_title, made.row), *([(named.name, named.row)] if named else [])]
with st.container(key="table_1"):
    st.table(
        {
            "Model": [name for name, _ in said],
            "Layers": [str(row.layers) for _, row in said],
            "Hidden size D": [shown(row.width) for _, row in said],
            "MLP size": [shown(row.mlp) for _, row in said],
            "Heads": [shown(row.heads) for _, row in said],
            "Parameters": [parameter_count(row.parameters) for _, row in said],
        },
        border="horizontal",
    )
if named is None:
    st.caption("No named size has layers, width, MLP and heads close to these.")
else:
    fits = "It has the shape of" if made.exact else "The nearest named size is"
    st.caption(plain(f"{fits} {named.name} ({named.source})."))
page.plot(
    FIGURE.plot(made, width=screen.width()),
    key="anatomy",
    alt=f"The parts of {subject.model_title}",
)
exports.offer(FIGURE, made, name=subject.model_title, formats=("svg", "pdf", "png", "html"))
page.explain(FIGURE)
