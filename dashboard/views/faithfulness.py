"""Page: can a map be trusted?"""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from dashboard import cache, selection, survey, widgets
from vit_inspect.analyses.faithfulness import MAPS
from vit_inspect.analyses.targets import target_classes
from vit_inspect.records.evidence import PatchMap

OF_NO_CLASS = ("rollout", "attention")

spec, subject = widgets.SPECS["faithfulness"], widgets.current()
place = widgets.heading(spec.title, spec.question)
with st.container(horizontal=True, vertical_alignment="bottom"):
    tested, images, called = survey.choose_pictures(
        subject, help="One picture says little: curves are averaged over all of them."
    )
    steps = st.segmented_control(
        "Steps",
        (10, 20, 40),
        default=20,
        required=True,
        key="steps",
        bind="query-params",
        help="Steps of each curve, at most one for each patch; the model is run for each.",
    )
curves = st.container()
st.divider()
with st.container(horizontal=True, vertical_alignment="bottom"):
    name = selection.choose(
        "map", "Map", MAPS, help="The maps that are tested, as far as the model has them."
    )
    controlled = widgets.wants_control()
waiting = st.container()
learned, randomised = st.columns(2, gap="large")
widgets.explain(spec)


def chosen(other: selection.Subject) -> PatchMap:
    """The chosen map of a model, trained or not."""
    seen, values = cache.capture(other), cache.maps(other, target)[name]
    return PatchMap(seen.model.id, seen.layout, seen.photographs, words, values)


with waiting:
    capture = cache.capture(subject)
    # The trained model's class for both: whether another class has another map is not asked here.
    target = next(iter(target_classes(capture, None)), None)
    words, labels = name, capture.model.labels
    if labels and target is not None and name not in OF_NO_CLASS:
        words += f" for {labels[target]}"
    there = name in cache.maps(subject, target)
    if there and controlled:
        # Here, where one sees that it waits for the device.
        cache.maps(subject._replace(randomised=True), target)
    if not there:
        st.caption("This model has no such map: its page under Evidence or Attention tells why.")
if there:
    shown, look = widgets.single_map(words), {"from_least": name == "relevance"}
    found = chosen(subject)
    with learned:
        widgets.plot(
            shown.plot(found, width=500, **look), key="map_shown", alt=f"{words} of {subject.model}"
        )
        widgets.export(shown, found, name=widgets.title_of(subject), label="Export the map", **look)
    if controlled:
        with randomised:
            widgets.control(shown, subject, chosen, quantity="values", **look)

# Last, so that the rest of the page is there while it runs.
with curves:
    result = cache.kept_curves(tested, images, steps=steps) or survey.when_asked(
        (spec.slug, subject._replace(size=capture.layout.input_px[0], image=""), *images, steps),
        lambda tell: cache.curves(
            tested,
            images,
            lambda number, done, total: tell(
                (number + done / total) / len(images),
                f"Picture {number + 1} of {len(images)}: {done} of {total} runs",
            ),
            steps=steps,
        ),
        label="Run",
        words="The model is run on each picture some hundred times, with ever more patches taken "
        "out or put back. Others may use the device in between.",
    )
    if result is not None:
        widgets.plot(spec.plot(result), key="curves", alt=f"Curves of {subject.model}")
        with place:
            of_all = replace(spec, scope="images") if len(images) > 1 else spec
            widgets.export(of_all, result, name=called)
