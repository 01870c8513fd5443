"""What does a survey know beside its heads? Classes, artefacts, and how similar its layers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import streamlit as st

import vit_inspect as vi
from vit_inspect.figures.artefact_rate import FIGURE as ARTEFACT_RATE
from vit_inspect.figures.chosen_classes import FIGURE as CHOSEN_CLASSES
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.layer_cka import FIGURE as LAYER_CKA
from vit_inspect.figures.layer_steps import FIGURE as LAYER_STEPS
from vit_inspect_dashboard import address, exports, page, surveyed, trainings

HEADS = "heads"


class Whole(NamedTuple):
    """A figure of all pictures of a survey.

    there: whether a survey has what it shows. alt: its words for who cannot see it.
    quantity: of `LayerSteps`, which shows the same over the steps of a training; "" for none.
    """

    figure: FigureSpec[Any]
    there: Callable[[vi.Survey], bool]
    make: Callable[[vi.Survey], surveyed.Whole]
    alt: str
    quantity: str = ""


SHOWN = {
    "classes": Whole(
        CHOSEN_CLASSES,
        lambda survey: survey.plan["labels"] is not None,
        vi.Survey.classes,
        "The classes chosen for the pictures, and their mean probabilities",
    ),
    "artefacts": Whole(
        ARTEFACT_RATE,
        lambda survey: "artefacts" in survey.plan.get("tokens", ()),
        vi.Survey.artefacts,
        "The share of pictures with artefacts in each layer, and their mean number",
        "artefacts",
    ),
    "layers (CKA)": Whole(
        LAYER_CKA,
        lambda survey: "cka" in survey.plan.get("tokens", ()),
        vi.Survey.cka,
        "The similarity of each layer to each other layer, as a matrix",
        "cka",
    ),
}


def choose(survey: vi.Survey) -> str:
    """What is shown of a survey, at first its heads."""
    there = [name for name, each in SHOWN.items() if survey.count and each.there(survey)]
    if not there:
        return HEADS
    return str(
        st.selectbox(
            "Show",
            options := [HEADS, *there],
            width=170,
            help="The heads one by one, or what the survey says of the whole model: the classes "
            "that it chose, tokens that are artefacts, how similar its layers are. Artefacts and "
            "layers are there if the survey was made with --tokens.",
            **address.one_of("show", options, start=HEADS),
        )
    )


def show(name: str, folder: Path, shown: str, *, training: Path) -> Sequence[FigureSpec[Any]]:
    """The figure and its files, of a training below its curves; returns the figures.

    training: the folder that was chosen, which may be no training.
    """
    whole = SHOWN[shown]
    curves = [LAYER_STEPS] if trainings.show_layers(training, whole.quantity) else []
    record = surveyed.whole(folder, shown, whole.make, over=name)
    page.plot(whole.figure.plot(record), key="whole", alt=whole.alt)
    exports.offer(whole.figure, record, name=name)
    return [*curves, whole.figure]
