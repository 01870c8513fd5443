"""Page: what does each head do? All heads in colours, and ranked in a table."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st

from dashboard import selection, survey, widgets
from vit_inspect.figures.head_statistics import STATISTICS, means

SHARES = ("prefix_mass", "self_mass", "local_mass")
# What the first row has least (1) or most (-1) of.
RANKINGS = {
    "sharpest": ("entropy", 1),
    "broadest": ("entropy", -1),
    "most local": ("local_mass", -1),
    "farthest looking": ("distance_px", -1),
    "resting on prefix tokens": ("prefix_mass", -1),
    "resting on themselves": ("self_mass", -1),
    "most dependent on the query": ("nmi", -1),
    "least dependent on the query": ("nmi", 1),
}
MEANINGS = {
    "entropy": "Of an attention row; 0 is a single token.",
    "effective_tokens": "exp of a row's entropy, mean over the queries.",
    "nmi": "Mutual information of query and key: 0 is all queries alike, 1 each to its own.",
    "distance_px": "Mean attention distance; attention on prefix tokens counts as 0.",
    "prefix_mass": "Attention on the class token, registers and other tokens before the patches.",
    "self_mass": "Attention of a patch on itself.",
    "local_mass": "Attention on the patch and the up to 8 around it.",
}

widgets.leave_for_picked_head()
spec, subject = widgets.SPECS["head_statistics"], widgets.current()
titles = {statistic.title: name for name, statistic in STATISTICS.items()}
place = widgets.heading(spec.title, spec.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    large = st.selectbox(
        "Large panel",
        list(titles),
        key="large",
        bind="query-params",
        width=220,
        help="The number of each head that is shown large.",
    )
    subject, images, called = survey.choose_pictures(
        subject, help="One picture says little: numbers are averaged over all of them."
    )
result = survey.averaged(spec, subject, images)
widgets.plot(
    spec.plot(result, large=titles[large]),
    key="heads",
    alt=f"{large} and six other numbers of every layer and head of {subject.model}",
    on_pick=selection.leave_for_head,
)
st.caption("Point at a head for all its numbers; click it to open its maps.")

panels = means(result)
layers, heads = panels["entropy"].shape
with st.container(horizontal=True, vertical_alignment="bottom"):
    ranking = st.selectbox(
        "Show first",
        list(RANKINGS),
        key="ranking",
        bind="query-params",
        width=260,
        help="Which heads come first. A click on the name of a column sorts by that column.",
    )
    within = st.selectbox(
        "Of layer",
        ["all", *map(str, range(layers))],
        key="within",
        bind="query-params",
        width=120,
        help="Heads of all layers, or of one.",
    )
name, sign = RANKINGS[ranking]
order = np.argsort(sign * panels[name], axis=None, kind="stable")
cells = [
    (int(layer), int(head))
    for layer, head in zip(*np.unravel_index(order, (layers, heads)), strict=True)
    if within in ("all", str(layer))
]
chosen = tuple(np.transpose(cells))
st.dataframe(
    {"layer": chosen[0], "head": chosen[1] + 1}
    | {each: panels[each][chosen] * (100 if each in SHARES else 1) for each in STATISTICS},
    key="ranked",
    height=390,
    hide_index=True,
    on_select=partial(selection.leave_for_row, "ranked", cells),
    selection_mode="single-row",
    column_config={
        each: st.column_config.NumberColumn(each.capitalize(), pinned=True, width="small")
        for each in ("layer", "head")
    }
    | {
        each: st.column_config.NumberColumn(
            statistic.title,
            format="%.1f%%" if each in SHARES else "%.3f" if each == "nmi" else "%.2f",
            help=MEANINGS[each],
        )
        for each, statistic in STATISTICS.items()
    },
)
st.caption("Select a row, at its left end, to open that head's maps.")
with place:
    widgets.export(spec, result, name=called, large=titles[large])
widgets.explain(spec)
