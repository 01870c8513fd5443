"""View: which patches does one token attend to, in every layer and head?"""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from vit_inspect.analyses.attention_maps import telling_head
from vit_inspect.figures import patch_map
from vit_inspect.figures.attention_maps import FIGURE
from vit_inspect.layout import MEAN_STAGE, READOUT
from vit_inspect_dashboard import canvas, models, page, records, sanity, state
from vit_inspect_dashboard.state import Subject

WHY = (
    "At first the head is open whose map shows most at a glance: neighbours are alike (Moran's I), "
    "few patches get much, and special tokens little."
)

subject = state.current()
capture = models.capture(subject)
layout = capture.layout
readout = records.of_capture(vi.attention_maps, subject)
telling = telling_head(readout)
query = canvas.chosen_query(layout)
layer = canvas.chosen_number("layer", capture.layer_count, start=telling[0])
column = canvas.chosen_column(capture.head_count, start=telling[1])

if query == READOUT and layout.readout == MEAN_STAGE:
    st.caption(
        "The model reads its last stage only. In this stage you see the mean of all patches "
        "instead, until you pick one."
    )
sheet = records.attention_sheet(subject, query, layer, column)
canvas.show(sheet, canvas.invitation(layout, "what each patch attends to"), why=WHY)

maps = records.of_capture(vi.attention_maps, subject, query=query)
name = sheet.columns[column]
kind, analysis, values = canvas.attention_words(sheet, query, layer, column)


def opened(of: Subject) -> vi.PatchMap:
    """The map that is large above, by a model, trained or not."""
    found = records.of_capture(vi.attention_maps, of, query=query)
    values = found.weights[:, layer]
    heads = {"mean": values.mean(axis=1), "max": values.max(axis=1)}
    chosen = heads[name] if name in heads else values[:, column]
    return vi.PatchMap(found.model, found.layout, found.photographs, kind, chosen)


canvas.export(sheet, subject, about=kind, analysis=analysis, values=values, label="Export this map")
page.export(FIGURE, maps, name=page.title_of(subject), label="Export all maps")
if sanity.wanted():
    sanity.map_and_control(patch_map.FIGURE, subject, opened, quantity="values", about=kind)
page.explain(FIGURE)
