"""View: can a map be trusted?"""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from vit_inspect.analyses.faithfulness import MAPS, check_moves
from vit_inspect.analyses.targets import target_classes
from vit_inspect.figures import patch_map
from vit_inspect.figures.faithfulness import FIGURE
from vit_inspect_dashboard import controls, models, page, records, sanity, state, survey, trials
from vit_inspect_dashboard.state import Subject

OF_NO_CLASS = ("rollout", "attention")

subject = state.current()
place = page.heading(FIGURE.title, FIGURE.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    tested, chosen, called = survey.choose_pictures(
        subject, help="One picture says little: curves are averaged over all of them."
    )
    steps = controls.choose_steps()
curves = st.container()
st.divider()
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = controls.choose(
        "map", "Map", MAPS, help="The maps that are tested. Some models lack some of them."
    )
    checked = sanity.wanted()
waiting = st.container()
learned, randomised = st.columns(2, gap="large")
page.explain(FIGURE)


def tested_map(of: Subject) -> vi.PatchMap:
    """The chosen map of a model, trained or not."""
    seen, values = models.capture(of), records.tested_maps(of, target)[name]
    return vi.PatchMap(seen.model.id, seen.layout, seen.photographs, words, values)


with waiting:
    capture = models.capture(subject)
    # The trained model's class for both: whether another class has another map is not asked here.
    target = next(iter(target_classes(capture, None)), None)
    words, labels = name, capture.model.labels
    if labels and target is not None and name not in OF_NO_CLASS:
        words += f" for {labels[target]}"
    there = name in records.tested_maps(subject, target)
    if there and checked:
        # Here, where one sees that it waits for the device.
        records.tested_maps(subject._replace(randomised=True), target)
    if not there:
        st.caption(
            "This model has no such map. The page of attention rollout, attention maps or "
            "relevance says why."
        )
if there:
    look = {"from_least": name == "relevance"}
    found = tested_map(subject)
    with learned:
        page.plot(
            patch_map.FIGURE.plot(found, width=500, **look),
            key="map_shown",
            alt=f"{words} of {subject.model}",
        )
        page.export(
            patch_map.FIGURE,
            found,
            name=f"{page.title_of(subject)} {words}",
            label="Export the map",
            **look,
        )
    if checked:
        with randomised:
            sanity.control(
                patch_map.FIGURE, subject, tested_map, quantity="values", about=words, **look
            )

# Last, so that the rest of the page is there while it runs.
with curves:
    size = capture.layout.input_px[0]
    result = trials.kept_curves(tested, chosen, steps=steps) or survey.when_asked(
        (FIGURE.slug, subject._replace(size=size, picture=chosen[0]).key, *chosen, steps),
        lambda on_progress: trials.curves(
            tested,
            chosen,
            lambda number, done, total: on_progress(
                (number + done / total) / len(chosen),
                f"Picture {number + 1} of {len(chosen)}: {done} of {total} runs",
            ),
            state.begun("curves"),
            steps=steps,
        ),
        label="Run",
        words="The model runs some hundred times on each picture, with more and more patches "
        "removed or put back. Others may use the device in between.",
    )
    if result is not None:
        # Of all pictures together: one of a single colour among others changes nothing.
        check_moves(result)
        page.plot(FIGURE.plot(result), key="curves", alt=f"Curves of {subject.model}")
        with place:
            page.export(FIGURE, result, name=called)
