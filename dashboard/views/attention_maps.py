"""Page: where does one token look, in every layer and head?"""

from __future__ import annotations

from functools import partial

import streamlit as st

from dashboard import cache, selection, widgets
from dashboard.explorer import all_queries, explorer, rows_of_head
from dashboard.magnifier import magnifier
from vit_inspect.layout import MEAN_STAGE, READOUT
from vit_inspect.records.evidence import PatchMap

spec, subject = widgets.SPECS["attention_maps"], widgets.current()
place = widgets.heading(spec.title, spec.question)
capture = cache.capture(subject)
layout = capture.layout
layers, heads = len(capture.layers), capture.layers[0].queries.shape[1]

with st.container(horizontal=True, vertical_alignment="top"):
    queries = [READOUT, *(each for each in all_queries(layout) if each != layout.readout)]
    query = selection.choose_query(queries, layout, start=READOUT)
    layer = selection.choose_number(
        "layer", "Layer", range(layers), start=layers - 1, keys=("J", "K")
    )
    head = selection.choose_number("head", "Head", range(1, heads + 1), start=1, keys=("H", "L"))
    scale = selection.choose(
        "scale",
        "Colour scale",
        ("shared", "per map"),
        help="A shared scale compares maps; one per map shows the faint ones too.",
    )
maps = cache.result(spec, subject, query=query)
limit = spec.limits(maps)[1] if spec.limits and scale == "shared" else None
large, overview = st.columns([3, 2], gap="medium")
with large:
    st.markdown(f"**Layer {layer}, head {head}**")
    if query == READOUT and layout.readout == MEAN_STAGE:
        st.caption(
            "The model reads the last stage only. Here the mean of this stage's patches stands in, "
            "until you pick one of them."
        )
    explorer(
        rows_of_head(capture, maps, query, layer, head - 1),
        pinned=query,
        limit=limit,
        key="explorer",
        on_pick=partial(selection.pick_patch, layout),
    )
with overview:
    magnifier(
        spec.plot(maps, scale=scale),
        key="maps",
        alt=f"Attention maps of all layers and heads of {subject.model}",
        on_pick=selection.pick_head,
    )
    st.caption("Point at a map to look at it, click it to open it.")


def chosen(of: selection.Subject) -> PatchMap:
    """The map that is large above, by a model, trained or not."""
    found = cache.result(spec, of, query=query)
    kind = f"layer {layer}, head {head}, from {found.query}"
    values = found.weights[:, layer, head - 1]
    return PatchMap(found.model, found.layout, found.photographs, kind, values)


single = widgets.single_map(f"layer {layer} head {head} from {maps.query}")
with large:
    widgets.export(single, chosen(subject), name=widgets.title_of(subject), label="Export this map")
    controlled = widgets.wants_control()
if controlled:
    widgets.map_and_control(single, subject, chosen, quantity="values")
with place:
    widgets.export(spec, maps, name=widgets.title_of(subject), scale=scale)
widgets.explain(spec)
