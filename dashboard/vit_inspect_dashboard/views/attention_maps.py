"""Page: which patches does one token attend to, in every layer and head?"""

from __future__ import annotations

from functools import partial

import streamlit as st

import vit_inspect as vi
from vit_inspect.figures import patch_map
from vit_inspect.figures.attention_maps import FIGURE, limits_of
from vit_inspect.layout import MEAN_STAGE, READOUT
from vit_inspect.records.names import place_name
from vit_inspect_dashboard import controls, models, page, records, sanity, state
from vit_inspect_dashboard.components.explorer import explorer
from vit_inspect_dashboard.components.magnifier import magnifier
from vit_inspect_dashboard.head_rows import all_queries
from vit_inspect_dashboard.state import Subject

subject = state.current()
place = page.heading(FIGURE.title, FIGURE.question)
capture = models.capture(subject)
layout = capture.layout

with st.container(horizontal=True, vertical_alignment="top"):
    queries = [READOUT, *(each for each in all_queries(layout) if each != layout.readout)]
    query = controls.choose_query(queries, layout, start=READOUT)
    layer = controls.choose_layer(capture.layer_count)
    head = controls.choose_head(capture.head_count)
    scale = controls.choose(
        "scale",
        "Colour scale",
        ("shared", "per map"),
        help="A shared scale compares maps; a scale for each map shows faint ones too.",
    )
maps = records.of_capture(vi.attention_maps, subject, query=query)
limit = limits_of(maps)[1] if scale == "shared" else None
large, overview = st.columns([3, 2], gap="medium")
with large:
    st.markdown(f"**{place_name(layer, head)}**")
    if query == READOUT and layout.readout == MEAN_STAGE:
        st.caption(
            "The model reads its last stage only. In this stage you see the mean of all patches "
            "instead, until you pick one."
        )
    explorer(
        records.head_rows(subject, maps, query, layer=layer, head=head),
        pinned=query,
        limit=limit,
        key="explorer",
        on_pick=partial(state.pick_patch, layout),
    )
with overview:
    magnifier(
        FIGURE.plot(maps, scale=scale),
        key="maps",
        alt=f"Attention maps of all layers and heads of {subject.model}",
        on_pick=state.pick_head,
    )
    st.caption("Hover over a map to enlarge it. Click it to open it.")
kind = f"{place_name(layer, head)} from {maps.query}"


def opened(of: Subject) -> vi.PatchMap:
    """The map that is large above, by a model, trained or not."""
    found = records.of_capture(vi.attention_maps, of, query=query)
    values = found.weights[:, layer, head]
    return vi.PatchMap(found.model, found.layout, found.photographs, kind, values)


with large:
    page.export(
        patch_map.FIGURE,
        opened(subject),
        name=f"{page.title_of(subject)} {kind}",
        label="Export this map",
    )
    checked = sanity.wanted()
if checked:
    sanity.map_and_control(patch_map.FIGURE, subject, opened, quantity="values", about=kind)
with place:
    page.export(FIGURE, maps, name=page.title_of(subject), scale=scale)
page.explain(FIGURE)
