"""Page: how do two models, or two pictures, differ?"""

from __future__ import annotations

import streamlit as st

from dashboard import cache, inputs, selection, widgets
from vit_inspect.catalog import FIGURES
from vit_inspect.errors import InspectError
from vit_inspect.figures import difference
from vit_inspect.zoo import ZOO

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
        help="The figure that is shown twice, with one colour scale.",
    )
    against = selection.choose(
        "against",
        "Against another",
        ("picture", "model"),
        help="What changes from the left figure to the right one.",
    )
    if against == "picture":
        keys = {name: key for name, key in inputs.keys().items() if key != subject.image}
        name = st.selectbox(
            "Right picture",
            list(keys),
            key="right_image",
            bind="query-params",
            width=260,
            help="The left one is the picture of the sidebar.",
        )
        other = subject._replace(image=keys[str(name)])
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
spec = specs[title]
records = [cache.result(spec, each) for each in (subject, other)]
options = {}
if spec.limits:
    ends = [spec.limits(record) for record in records]
    options["limits"] = min(low for low, _ in ends), max(high for _, high in ends)
for column, record, each, side in zip(
    st.columns(2), records, (subject, other), ("left", "right"), strict=True
):
    with column:
        st.text(f"{side.capitalize()}: {widgets.title_of(each)}")
        alt = f"{spec.title} of {record.model}, {side}"
        widgets.plot(spec.plot(record, **options), key=f"compare_{side}", alt=alt)
if spec.scope == "model" and against == "picture":
    st.caption("This figure is of the model alone: it is the same for every picture.")
elif spec.compared is None:
    st.caption("These have no common order, sign or unit, so there is no difference to show.")
else:
    first, second = records
    try:
        figure = difference.plot(first, second, spec.compared, shown=spec.shown(first))
    except InspectError as refusal:
        st.caption(inputs.plain(f"No difference: {refusal}"))
    else:
        widgets.plot(figure, key="difference", alt="Second less first")
widgets.explain(spec)
