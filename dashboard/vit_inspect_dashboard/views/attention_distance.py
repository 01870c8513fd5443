"""View: how far does each head attend?"""

from __future__ import annotations

from typing import get_args

import streamlit as st

import vit_inspect as vi
from vit_inspect.analyses.attention_distance import Definition
from vit_inspect.figures.attention_distance import FIGURE
from vit_inspect_dashboard import controls, exports, page, state, survey
from vit_inspect_dashboard.components import screen

subject = state.current()
place = page.heading(FIGURE.title, FIGURE.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    definition = controls.choose(
        "definition",
        "Distance",
        get_args(Definition),
        help="The paper counts attention to special tokens, such as the class token, as distance "
        "0. 'renormalised' divides by the attention to patches first.",
    )
    subject, chosen, name = survey.choose_pictures(
        subject, help="One picture says little; the paper averages 128."
    )
result = survey.averaged(vi.attention_distance, subject, chosen, definition=definition)
page.plot(
    FIGURE.plot(result),
    key="distance",
    alt=f"Mean attention distance of every head at every depth of {subject.model_title}",
    on_pick=state.open_head,
)
st.caption(screen.in_words("Click a dot to open that head's maps."))
with place:
    exports.offer(FIGURE, result, name=name)
page.explain(FIGURE)
