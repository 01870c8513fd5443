"""Page: how do two models, or two pictures, differ?"""

from __future__ import annotations

import streamlit as st

from dashboard import cache, inputs, selection, widgets
from vit_inspect.catalog import FIGURES
from vit_inspect.errors import BadParameter, InspectError
from vit_inspect.figures import difference
from vit_inspect.loading.recommended import ZOO

subject = widgets.current()
widgets.heading("Compare", "How do two models, or two pictures, differ?")
# One that runs the model many times has progress and a way out on its own page alone.
specs = {spec.title: spec for spec in FIGURES if not spec.thorough}
with st.container(horizontal=True, vertical_alignment="bottom"):
    title = st.selectbox(
        "Figure",
        list(specs),
        index=list(specs).index(widgets.SPECS["attention_maps"].title),
        key="figure",
        bind="query-params",
        width=220,
        help="The figure that is shown twice.",
    )
    against = selection.choose(
        "against",
        "Against another",
        ("picture", "model"),
        help="What changes from the left figure to the right one.",
    )
    if against == "picture":
        image = selection.choose_other(
            subject.image, key="right_image", help="The left one is the picture of the sidebar."
        )
        other = subject._replace(image=str(image))
    else:
        models = [each.name for each in ZOO if each.name != subject.model]
        name = st.selectbox(
            "Right model",
            models,
            key="right_model",
            bind="query-params",
            accept_new_options=True,
            width=380,
            help="The left one is the model of the sidebar. Any timm id can be typed in.",
        )
        name = str(name)[: selection.NAME_LENGTH]
        other = subject._replace(model=name, size=selection.wanted_size(name), stage=None)
        try:
            cache.model(other)
        except BadParameter:
            other = other._replace(size=selection.own_size(name))
spec = specs[title]
records = [cache.result(spec, each) for each in (subject, other)]
options = {}
# What was asked of the model, where that has a unit of its own.
targets = [getattr(record, "target", None) for record in records]
if spec.limits and targets[0] == targets[1]:
    ends = [spec.limits(record) for record in records]
    options["limits"] = min(low for low, _ in ends), max(high for _, high in ends)
for column, record, each, side in zip(
    st.columns(2), records, (subject, other), ("left", "right"), strict=True
):
    with column:
        input_px = cache.model(each).layout.input_px[0]
        st.text(f"{side.capitalize()}: {widgets.title_of(each)}, {input_px} px")
        alt = f"{spec.title} of {record.model}, {side}"
        widgets.plot(spec.plot(record, **options), key=f"compare_{side}", alt=alt)
if spec.scope == "model" and against == "picture":
    st.caption("This figure is of the model alone: it is the same for every picture.")
elif targets[0] != targets[1]:
    st.caption(
        "The two are of different targets, which have no common unit: each has a scale of its own, "
        "and no difference is drawn."
    )
elif spec.compared is None:
    st.caption("No difference is drawn for this figure.")
else:
    first, second = records
    try:
        figure = difference.plot(first, second, spec.compared, shown=spec.shown(first))
    except InspectError as refusal:
        st.caption(inputs.plain(f"No difference: {refusal}"))
    else:
        widgets.plot(figure, key="difference", alt="Second less first")
widgets.explain(spec)
