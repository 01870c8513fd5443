"""View: can a map be trusted?"""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from vit_inspect.analyses.faithfulness import MAPS, check_moves
from vit_inspect.analyses.targets import target_classes
from vit_inspect.figures.faithfulness import FIGURE
from vit_inspect_dashboard import (
    controls,
    exports,
    models,
    page,
    records,
    sanity,
    sheets,
    state,
    survey,
    trials,
)
from vit_inspect_dashboard.state import Subject

OF_NO_CLASS = ("rollout", "attention")


class Tested(NamedTuple):
    """A map that is tested: what makes it in Python, its unit, and where its scale starts."""

    analysis: str
    values: str
    unit: str
    from_zero: bool = True


TESTED = {
    "rollout": Tested("vi.attention_rollout", "found.relevance", "rollout weight", from_zero=False),
    "attention": Tested(
        "vi.attention_maps", "found.weights[:, -1].mean(axis=1)", "attention weight"
    ),
    "relevance": Tested("vi.attention_relevance", "found.relevance", "relevance", from_zero=False),
    "input × gradient": Tested(
        "vi.attention_relevance", "found.input_gradient", "input × gradient"
    ),
    "Grad-CAM": Tested("vi.attention_relevance", "found.grad_cam", "Grad-CAM"),
}
"""As they are tested: the view of relevance shows what speaks against its class as 0."""

subject = state.current()
place = page.heading(FIGURE.title, FIGURE.question)
above, below = page.controls_and_picture()
with above, st.container(horizontal=True, vertical_alignment="bottom"):
    tested, chosen, called = survey.choose_pictures(
        subject, help="One picture says little: curves are averaged over all of them."
    )
    steps = controls.choose_steps()
curves = above.container()
above.divider()
with above:
    name = controls.choose(
        "map",
        "Map that is shown",
        MAPS,
        help="One of the maps that are tested. Some models lack some of them.",
    )
tested_as = TESTED[name]
capture = models.capture(subject)
# The trained model's class for both: whether another class has another map is not asked here.
target = next(iter(target_classes(capture, None)), None)
about, labels = name, capture.model.labels
if labels and target is not None and name not in OF_NO_CLASS:
    about += f" for {labels[target]}"


def sheet(of: Subject) -> sheets.Sheet:
    """The chosen map of a model, trained or not."""
    seen, values = models.capture(of), records.tested_maps(of, target)[name]
    return sheets.still(
        name.capitalize(),
        tested_as.unit,
        seen.photographs[0],
        seen.layout,
        values,
        layer=0,
        from_zero=tested_as.from_zero,
    )


with below:
    if name in records.tested_maps(subject, target):
        asked = "" if name in OF_NO_CLASS or target is None else f", target={target}"
        sanity.show(
            subject,
            sheet,
            f"One of the maps that are tested: {about}",
            about=about,
            analysis=f"{tested_as.analysis}(capture{asked})",
            values=tested_as.values,
        )
    else:
        st.caption(
            "This model has no such map. The page of attention rollout, attention maps or "
            "relevance says why."
        )
page.explain(*sanity.words(), FIGURE)

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
        label="Test all maps",
        words="The model runs some hundred times on each picture, with more and more patches "
        "removed or put back. Others may use the device in between.",
    )
    if result is not None:
        # Of all pictures together: one of a single colour among others changes nothing.
        check_moves(result)
        page.plot(FIGURE.plot(result), key="curves", alt=f"Curves of {subject.model_title}")
        with place:
            exports.offer(FIGURE, result, name=called)
