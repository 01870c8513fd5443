"""View: the figures of the ViT paper, composed as it prints them, for this model."""

from __future__ import annotations

from typing import Any

import streamlit as st

from vit_inspect.catalog import figure_of
from vit_inspect.exporting.render import BUNDLE_FORMATS, render
from vit_inspect_dashboard import (
    address,
    as_python,
    canvas,
    controls,
    page,
    records,
    sidebar,
    state,
    survey,
)

NUMBERS = ("6", "7", "10", "11")
WIDTHS_IN = ("3.25", "5.5", "6.9")
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
    width = controls.choose(
        "width",
        "Width in inches",
        WIDTHS_IN,
        start="5.5",
        help="5.5 is a page of the paper, 3.25 a column of two: panels stand below each other. 6.9 "
        "is both columns.",
    )
    caption = st.toggle(
        "Caption",
        help="Without it you write the words yourself.",
        **address.one_of("caption", (True, False), start=True),
    )
    name, subjects, chosen = page.title_of(subject), [subject], [subject.picture]
    if number in ("10", "11"):
        names = [NOBODY, *(each for each in sidebar.listed() if each != subject.model)]
        other = controls.choose_other_model(
            "Beside it", names, key="other_model", help="A second model, in the same figure."
        )
        if other != NOBODY:
            subjects.append(subject._replace(model=other, size=None, stage=None, said=()))
            name = f"{name}, with {other}"
    else:
        _, chosen, name = survey.choose_pictures(
            subject,
            label="Of",
            help="The paper has many pictures in Figure 6, and 128 in Figure 7.",
        )
record = records.paper_figure(int(number), subjects, chosen)
figure = figure_of(record)
look: dict[str, Any] = {"width_in": float(width), "caption": caption}
st.image(
    render(figure, record, "png", **look),
    width=round(96 * float(width)) if float(width) < 5 else 860,
    alt=f"{figure.title} of {name}",
)
with st.container(horizontal=True):
    page.export(figure, record, name=name, formats=BUNDLE_FORMATS, **look)
    canvas.offer_lines(as_python.paper_lines(int(number), subjects, chosen, look))
page.explain(figure)
