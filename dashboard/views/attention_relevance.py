"""Page: which patches speak for a class?"""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, selection, widgets
from vit_inspect.analyses.attention_relevance import Target
from vit_inspect.figures import attention_relevance as figure
from vit_inspect.records.evidence import AttentionRelevance

OWN, PATCH, PICTURE, CLASS = "its own output", "a patch", "another picture", "a class"
BEST = "the most probable"

spec, subject = widgets.SPECS["attention_relevance"], widgets.current()
place = widgets.heading(spec.title, spec.question)
model = cache.model(subject)
target: Target = None
other, told = None, ""
with st.container(horizontal=True, vertical_alignment="bottom"):
    kind = selection.choose(
        "target",
        "Relevance for",
        (OWN, PATCH, PICTURE) if model.labels is None else (CLASS, PATCH, PICTURE),
        help="What is asked of the model: a class of its head, or how similar what it returns is "
        "to what it would return for a patch alone, or for another picture.",
    )
    if kind == CLASS:
        names = inputs.class_names(model.labels or ())
        found = vi.predictions(cache.capture(subject), count=len(names))
        shares = {
            names[index]: (int(index), share)
            for index, share in zip(found.class_index[0], found.probability[0], strict=True)
        }
        # Without their shares: its text is all that tells a choice from one of another picture.
        name = st.selectbox(
            "Class",
            [BEST, *shares],
            key="class",
            bind="query-params",
            width=360,
            help="The most probable ones of this picture come first. Type to search by name.",
        )
        target, share = shares.get(name, next(iter(shares.values())))
        told = f"Probability of {names[target]}: {share:.1%}"
    elif kind == PATCH:
        target = selection.choose_patch(
            model.layout.grid, help="Row and column from 0, at the top left."
        )
    elif kind == PICTURE:
        other = selection.choose_other(
            subject.image,
            key="like_image",
            help="Bright patches are those that make the two alike for the model.",
        )
if told:
    st.caption(inputs.plain(told))


def relevance(of: selection.Subject) -> AttentionRelevance:
    """For what was chosen, by a model, trained or not."""
    if other is None:
        found: AttentionRelevance = cache.result(spec, of, target=target)
        return found
    # Only a session knows what it calls its pictures.
    words = f"similarity to {inputs.name_of(other)}"
    return replace(cache.relevance_to(of, other), target=(words,))


result = relevance(subject)
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
if widgets.wants_control():
    widgets.map_and_control(
        spec, subject, relevance, quantity="relevance", about=f"for {result.target[0]}"
    )
with place:
    widgets.export(spec, result, name=f"{widgets.title_of(subject)} for {result.target[0]}")
widgets.explain(spec)
