"""View: which patches support the output?"""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

import vit_inspect as vi
from vit_inspect.figures import outputs
from vit_inspect.figures.attention_relevance import FIGURE, WAYS
from vit_inspect_dashboard import (
    address,
    as_python,
    canvas,
    controls,
    models,
    page,
    picker,
    records,
    sanity,
    sheets,
    state,
)
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.state import Subject
from vit_inspect_dashboard.wording import class_names, plain

OWN, PATCH, PICTURE = "its own output", "a patch", "another picture"
CLASS, OUTPUT, TEXT = "a class", "a score", "a text"
BEST = "the most probable"

subject = state.current()
model = models.model(subject)
target: int | tuple[int, int] | None = None
other: Picture | None = None
told = ""
named = OUTPUT if model.outputs == "scores" else CLASS
if subject.texts:
    named = TEXT
asked_for = [TEXT] if model.labels is None and model.words is not None else []
above, below = page.controls_and_picture()
with above, st.container(horizontal=True, vertical_alignment="bottom"):
    kind = controls.choose(
        "target",
        "Relevance for",
        (*([OWN] if model.labels is None else [named]), *asked_for, PATCH, PICTURE),
        help="What the patches support: a class, a score or a text of the model, or how similar "
        "its output is to the output for one patch alone, or for another picture.",
    )
    if kind == named:
        names = class_names(model.labels or ())
        found = records.of_capture(vi.predictions, subject, count=len(names))
        shares = {
            names[index]: (int(index), float(share))
            for index, share in zip(found.class_index[0], found.value[0], strict=True)
        }
        # Without their shares: its text is all that tells a choice from one of another picture.
        options = ["the largest score" if found.outputs == "scores" else BEST, *shares]
        name = st.selectbox(
            named.removeprefix("a ").capitalize(),
            options,
            **address.one_of("class", options, start=options[0]),
            width=360,
            help="The classes of the largest outputs come first. Type to search by name.",
        )
        target, share = shares.get(name, next(iter(shares.values())))
        told = (
            f"{outputs.name(found.outputs)} of {names[target]}: "
            f"{outputs.told(share, found.outputs)}"
        )
    elif kind == PATCH:
        target = controls.choose_patch(
            model.layout.grid, help="The output is compared with the output for this patch alone."
        )
    elif kind == PICTURE:
        other = controls.choose_other_picture(
            subject.picture,
            key="like_image",
            help="Patches high on the scale make the two pictures similar for the model.",
        )
if kind in asked_for:
    with above:
        picker.offer_classes(model)
if told:
    above.caption(plain(told))


def relevance(of: Subject) -> vi.AttentionRelevance:
    """For what was chosen, by a model, trained or not."""
    if other is None:
        return records.of_capture(vi.attention_relevance, of, target=target)
    # Another session may have uploaded the same picture by another name.
    return replace(records.relevance_to(of, other), target=(f"similarity to {other.name}",))


result = relevance(subject)
asked = "" if target is None else f", target={target!r}"
asked = asked if other is None else f", target={as_python.picture(other)}"
column = canvas.chosen_name("way", list(WAYS.values()))
way, title = list(WAYS.items())[column]
with below:
    sanity.show(
        subject,
        lambda of: sheets.relevance(relevance(of), column),
        FIGURE.question + ("" if result.target[0] == OWN else f" Shown: {result.target[0]}."),
        head="way",
        about=f"{title} for {result.target[0]}",
        all_about=f"relevance for {result.target[0]}",
        analysis=f"vi.attention_relevance(capture{asked})",
        # Negative contributions are shown as 0.
        values=f"found.{way}.clip(0)",
    )
page.explain(*sanity.words(), FIGURE)
