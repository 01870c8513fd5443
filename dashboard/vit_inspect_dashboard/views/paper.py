"""View: the figures of the ViT paper, composed as it prints them, for this model."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import streamlit as st

from vit_inspect.catalog import figure_of
from vit_inspect.exporting.render import BUNDLE_FORMATS, render
from vit_inspect.figures.paper_sheet import TEXT_WIDTH_IN
from vit_inspect_dashboard import (
    as_python,
    controls,
    exports,
    models,
    page,
    picker,
    records,
    state,
    survey,
)
from vit_inspect_dashboard.components import screen

NUMBERS = ("6", "7", "10", "11")
PX_PER_IN, MOST_PX = 156, 860
"""Size on the screen: larger than on paper, up to the width of a column of text."""
READABLE, COLUMN_IN = 96, 3.25
"""Fewer px for an inch cannot be read. The width of a column of a paper with two."""
NOBODY = "no other model"

subject = state.current()
page.heading("Paper figures", "What would the figures of the paper be for this model?")
with st.container(horizontal=True, vertical_alignment="bottom"):
    number = controls.choose(
        "paper",
        "Figure of the paper",
        NUMBERS,
        start="7",
        help="6: what attention lights up. 7: filters, positions and distance. 10: positions of "
        "models. 11: distance in two models.",
    )
    name, subjects, chosen = page.title_of(subject), [subject], [subject.picture]
    if number in ("10", "11"):
        names = [NOBODY, *picker.others(subject.model)]
        other = controls.choose_other_model(
            "Beside it", names, key="other_model", help="A second model, in the same figure."
        )
        if other != NOBODY:
            subjects.append(subject.beside(other, None))
            name = f"{name}, with {other}"
    else:
        _, chosen, name = survey.choose_pictures(
            subject,
            label="Of",
            help="The paper has many pictures in Figure 6, and 128 in Figure 7.",
        )
for second in subjects[1:]:
    with page.failed_model(second, st.container(), second="other_model"):
        models.model(second)
with page.refusals():
    printed = exports.choose_print("paper", titled=False)
record = records.paper_figure(int(number), subjects, chosen)
figure = figure_of(record)
looked_at, room = printed, screen.width()
if printed.width_in is None and room < READABLE * TEXT_WIDTH_IN:
    looked_at = replace(printed, width_in=COLUMN_IN)
    st.caption(
        f"For this narrow screen the figure is {COLUMN_IN} inches wide. The file is as wide as the "
        "text of a page, unless you choose another width."
    )
wide = looked_at.width_in or TEXT_WIDTH_IN
least = min(round(READABLE * wide), MOST_PX)
with page.wide_content("paper_figure", least) if least > room else nullcontext():
    st.image(
        render(figure, record, "png", print=looked_at),
        width=min(MOST_PX, round(PX_PER_IN * wide)),
        alt=f"{figure.title} of {name}",
    )
with st.container(horizontal=True):
    exports.offer(figure, record, name=name, formats=BUNDLE_FORMATS, print=printed)
    look = as_python.print_options(printed)
    exports.offer_lines(as_python.paper_lines(int(number), subjects, chosen, look))
page.explain(figure)
