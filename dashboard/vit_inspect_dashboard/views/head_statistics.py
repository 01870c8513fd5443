"""View: what does each head do? All heads in colours, and ranked in a table."""

from __future__ import annotations

from functools import partial

import numpy as np
import streamlit as st

import vit_inspect as vi
from vit_inspect.figures.head_statistics import FIGURE, STATISTICS, means
from vit_inspect_dashboard import address, exports, page, state, survey
from vit_inspect_dashboard.components import screen

SHARES = ("prefix_mass", "self_mass", "local_mass")
# What the first row has least (1) or most (-1) of.
RANKINGS = {
    "sharpest": ("entropy", 1),
    "broadest": ("entropy", -1),
    "most local": ("local_mass", -1),
    "longest distance": ("distance_px", -1),
    "most on special tokens": ("prefix_mass", -1),
    "most on themselves": ("self_mass", -1),
    "most dependent on the query": ("nmi", -1),
    "least dependent on the query": ("nmi", 1),
}

subject = state.current()
titles = {statistic.title: name for name, statistic in STATISTICS.items()}
place = page.heading(FIGURE.title, FIGURE.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    large = st.selectbox(
        "Large panel",
        list(titles),
        **address.one_of("large", titles, start=next(iter(titles))),
        width=220,
        help="The statistic that is shown large.",
    )
    subject, chosen, called = survey.choose_pictures(
        subject, help="One picture says little: numbers are averaged over all of them."
    )
result = survey.averaged(vi.head_statistics, subject, chosen)
page.plot(
    FIGURE.plot(result, large=titles[large]),
    key="heads",
    alt=f"{large} and six other numbers of every layer and head of {subject.model_title}",
    on_pick=state.open_head,
)
st.caption(
    "Tap a head to open its maps."
    if screen.touched()
    else "Hover over a head for all its numbers. Click it to open its maps."
)

panels = means(result)
layers, heads = panels["entropy"].shape
with st.container(horizontal=True, vertical_alignment="bottom"):
    ranking = st.selectbox(
        "Show first",
        list(RANKINGS),
        **address.one_of("ranking", RANKINGS, start=next(iter(RANKINGS))),
        width=260,
        help=screen.in_words(
            "Which heads come first. You can also click the name of a column to sort by it."
        ),
    )
    within = st.selectbox(
        "Of layer",
        ["all", *map(str, range(layers))],
        **address.one_of("within", ["all", *map(str, range(layers))], start="all"),
        width=120,
        help="Heads of all layers, or of one layer. Layers count from 0.",
    )
name, sign = RANKINGS[ranking]
order = np.argsort(sign * panels[name], axis=None, kind="stable")
cells = [
    (int(layer), int(head))
    for layer, head in zip(*np.unravel_index(order, (layers, heads)), strict=True)
    if within in ("all", str(layer))
]
listed = tuple(np.transpose(cells))
st.dataframe(
    {"layer": listed[0], "head": listed[1]}
    | {each: panels[each][listed] * (100 if each in SHARES else 1) for each in STATISTICS},
    key="ranked",
    height=390,
    hide_index=True,
    on_select=partial(state.open_row, "ranked", cells),
    selection_mode="single-row",
    column_config={
        each: st.column_config.NumberColumn(each.capitalize(), pinned=True, width="small")
        for each in ("layer", "head")
    }
    | {
        each: st.column_config.NumberColumn(
            statistic.title,
            format="%.1f%%" if each in SHARES else "%.3f" if each == "nmi" else "%.2f",
            help=statistic.meaning,
        )
        for each, statistic in STATISTICS.items()
    },
)
st.caption("Select a row at its left end to open that head's maps.")
with place:
    exports.offer(FIGURE, result, name=called, large=titles[large])
page.explain(FIGURE)
