"""Page: how far does each head look?"""

from __future__ import annotations

from typing import get_args

import streamlit as st

from dashboard import selection, survey, widgets
from vit_inspect.analyses.attention_distance import Definition

widgets.leave_for_picked_head()
spec, subject = widgets.SPECS["attention_distance"], widgets.current()
place = widgets.heading(spec.title, spec.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    definition = selection.choose(
        "definition",
        "Distance",
        get_args(Definition),
        help="The paper counts attention on prefix tokens as distance 0. 'renormalised' divides "
        "by the attention on patches first.",
    )
    subject, images, name = survey.choose_pictures(
        subject, help="One picture says little; the paper averages 128."
    )
result = survey.averaged(spec, subject, images, definition=definition)
widgets.plot(
    spec.plot(result),
    key="distance",
    alt=f"Mean attention distance of every head at every depth of {subject.model}",
    on_pick=selection.leave_for_head,
)
st.caption("Click a dot to open that head's maps.")
with place:
    widgets.export(spec, result, name=name)
widgets.explain(spec)
