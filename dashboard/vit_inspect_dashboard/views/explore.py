"""View: which patches does one token attend to, in every layer and head?"""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from vit_inspect.analyses.attention_maps import telling_head
from vit_inspect.figures.attention_maps import FIGURE
from vit_inspect.layout import MEAN_STAGE, READOUT
from vit_inspect_dashboard import canvas, models, page, records, sanity, state

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
about, analysis, values = canvas.attention_words(layout, capture.head_count, query, layer, column)
sanity.show(
    subject,
    lambda of: records.attention_sheet(of, query, layer, column),
    canvas.invitation(layout, "what each patch attends to"),
    why=WHY,
    about=about,
    analysis=analysis,
    values=values,
    all_about=f"attention from {canvas.query_words(query, layout)}",
)
page.explain(*sanity.words(), FIGURE)
