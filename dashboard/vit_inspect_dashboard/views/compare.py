"""Page: how do two models, or two pictures, differ?"""

from __future__ import annotations

import streamlit as st

from vit_inspect.catalog import FIGURES, ModelFigure
from vit_inspect.errors import BadParameter, InspectError
from vit_inspect.figures import attention_maps, difference
from vit_inspect.loading.recommended import ZOO
from vit_inspect_dashboard import address, controls, models, page, sidebar, state
from vit_inspect_dashboard.wording import plain

subject = state.current()
page.heading("Compare", "How do two models, or two pictures, differ?")
# One that runs the model many times has progress and a way out on its own page alone.
entries = {entry.figure.title: entry for entry in FIGURES if not entry.thorough}
with st.container(horizontal=True, vertical_alignment="bottom"):
    title = st.selectbox(
        "Figure",
        list(entries),
        **address.one_of("figure", entries, start=attention_maps.FIGURE.title),
        width=220,
        help="The figure that is shown twice.",
    )
    against = controls.choose(
        "against",
        "Compare with another",
        ("picture", "model"),
        help="What changes from the left figure to the right one.",
    )
    if against == "picture":
        picture = controls.choose_other_picture(
            subject.picture, key="right_image", help="The left one is the picture of the sidebar."
        )
        other = subject if picture is None else subject._replace(picture=picture)
    else:
        name = controls.choose_other_model(
            "Right model",
            [each.name for each in ZOO if each.name != subject.model],
            key="right_model",
            help="The left one is the model of the sidebar.",
        )
        other = subject._replace(model=name, size=sidebar.wanted_size(name), stage=None, said=())
        try:
            models.model(other)
        except BadParameter:
            other = other._replace(size=sidebar.own_size(name))
entry = entries[title]
figure = entry.figure
results = [page.of_entry(entry, each) for each in (subject, other)]
options = {}
# What was asked of the model and what it returns; raw scores have a unit of their model alone.
targets = []
for result in results:
    returned = getattr(result, "outputs", None)
    unit = (returned, result.model) if returned == "scores" else returned
    targets.append((getattr(result, "target", None), unit))
if figure.limits and targets[0] == targets[1]:
    ends = [figure.limits(result) for result in results]
    options["limits"] = min(low for low, _ in ends), max(high for _, high in ends)
for column, result, each, side in zip(
    st.columns(2), results, (subject, other), ("left", "right"), strict=True
):
    with column:
        input_px = models.model(each).layout.input_px[0]
        st.text(f"{side.capitalize()}: {page.title_of(each)}, {input_px} px")
        alt = f"{figure.title} of {result.model}, {side}"
        page.plot(figure.plot(result, **options), key=f"compare_{side}", alt=alt)
if isinstance(entry, ModelFigure) and against == "picture":
    st.caption("This figure shows the model alone: it is the same for every picture.")
elif targets[0] != targets[1]:
    st.caption(
        "The two figures have no common unit. So each has its own scale, and no difference is "
        "drawn."
    )
elif figure.compared is None:
    st.caption("No difference is drawn for this figure.")
else:
    left, right = results
    try:
        drawn = difference.plot(left, right, figure.compared, shown=figure.shown(left))
    except InspectError as refusal:
        st.caption(plain(f"No difference: {refusal}"))
    else:
        page.plot(drawn, key="difference", alt="Right - left")
page.explain(figure)
