"""Page: which patches speak for a class?"""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, selection, widgets
from vit_inspect.analyses.attention_relevance import Target
from vit_inspect.figures import attention_relevance as figure

OWN, PATCH, PICTURE, CLASS = "its own output", "a patch", "another picture", "a class"

spec, subject = widgets.SPECS["attention_relevance"], widgets.current()
place = widgets.heading(spec.title, spec.question)
model = cache.model(subject)
rows, columns = model.layout.grid
with st.container(horizontal=True, vertical_alignment="bottom"):
    kinds = (OWN, PATCH, PICTURE) if model.labels is None else (CLASS, PATCH, PICTURE)
    kind = selection.choose(
        "target",
        "Relevance for",
        kinds,
        help="What is asked of the model: a class of its head, or how similar what it returns is "
        "to what it would return for a patch alone, or for another picture.",
    )
    target: Target = None
    other = ""
    if kind == CLASS:
        found = vi.predictions(cache.capture(subject))
        best = found.class_index[0].tolist()
        names = {index: f"{name}" for index, name in enumerate(model.labels or ())}
        shares = dict(zip(best, found.probability[0].tolist(), strict=True))
        target = st.selectbox(
            "Class",
            [*best, *(index for index in names if index not in shares)],
            format_func=lambda index: (
                names[index] + (f" ({shares[index]:.1%})" if index in shares else "")
            ),
            key="class",
            width=360,
            help="The five most probable ones come first. Type to search by name.",
        )
    elif kind == PATCH:
        picked = st.selectbox(
            "Patch",
            [(row, column) for row in range(rows) for column in range(columns)],
            index=rows // 2 * columns + columns // 2,
            format_func=lambda patch: f"{patch[0]}, {patch[1]}",
            key="like_patch",
            width=160,
            help="Row and column from 0, at the top left.",
        )
        target = (int(picked[0]), int(picked[1]))
    elif kind == PICTURE:
        keys = {name: key for name, key in inputs.keys().items() if key != subject.image}
        name = st.selectbox(
            "Picture to compare with",
            list(keys),
            key="like_image",
            bind="query-params",
            width=260,
            help="Its bright patches are those that make the two alike for the model.",
        )
        other = keys[str(name)]
result = cache.relevance_to(subject, other) if other else cache.result(spec, subject, target=target)
large, beside = st.columns([3, 2], gap="large")
with large:
    widgets.plot(
        spec.plot(result, width=640),
        key="relevance",
        alt=f"Attention relevance of {subject.model} for {result.target[0]}",
    )
with beside:
    for way in list(figure.WAYS)[1:]:
        widgets.plot(
            spec.plot(result, way=way, width=400),
            key=way,
            alt=f"{figure.WAYS[way]} of {subject.model} for {result.target[0]}",
        )
with place:
    widgets.export(spec, result, name=widgets.title_of(subject))
widgets.explain(spec)
