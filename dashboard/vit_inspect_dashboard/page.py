"""What do all pages look like? Heading, figure, explanation, export; and how a refusal is told."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from vit_inspect.catalog import FIGURES, CaptureFigure, ModelFigure
from vit_inspect.errors import InspectError
from vit_inspect.exporting.render import FORMATS, PLOTLY_CONFIG, render
from vit_inspect.figures import looks, outputs, screen_sheet
from vit_inspect.figures.figure import FigureSpec, Record
from vit_inspect.loading.recommended import BUNDLED
from vit_inspect.records.evidence import Predictions
from vit_inspect_dashboard import address, kept, models, offers, records, state, told
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.state import Subject
from vit_inspect_dashboard.wording import file_stem, plain

DARK_INK = "#e6e8eb"
FONT = '"Source Sans", sans-serif'
"""Streamlit's own."""
MEDIA = {
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "png": "image/png",
    "html": "text/html",
    "npz": "application/octet-stream",
    "csv": "text/csv",
}
USES = (
    ("For print", ("svg", "pdf", "png")),
    ("Interactive", ("html",)),
    ("The numbers", ("npz", "csv")),
)


@contextmanager
def refusals() -> Iterator[None]:
    """What cannot be done is a sentence in place of the figure."""
    try:
        yield
    except InspectError as refusal:
        st.error(plain(str(refusal)))
        st.stop()


@contextmanager
def failed_model(subject: Subject, place: Any) -> Iterator[None]:
    """A model that cannot be had is a sentence, with three ways to go on from it."""
    try:
        yield
    except InspectError as refusal:
        first = next(iter(offers.listed()), BUNDLED)
        with place:
            st.error(plain(str(refusal)))
            with st.container(horizontal=True):
                st.button(
                    f"Back to {plain(first)}",
                    type="primary",
                    on_click=state.back_to_first_model,
                    args=(told.KEYS,),
                    help="The first model of the list, as it is at first",
                )
                st.button("Try again", help="A download may fail once and succeed later")
            if not offers.is_in_memory(subject.model):
                words = ["vit-inspect", "figures", "chelsea", "--out", "out"]
                st.caption("The same from a terminal, where it says more:")
                st.code(shlex.join([*words, *models.options(subject)]), language="sh")
        st.stop()


def heading(title: str, question: str) -> Any:
    """The page's name and the question it answers; returns the place for the export button."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="top"):
        with st.container(width="content", gap="xxsmall"):
            st.title(plain(title), anchor=False, width="content")
            st.subheader(question, anchor=False, width="content")
        return st.container(width="content")


def explain(figure: FigureSpec[Any]) -> None:
    """How to read the figure, what it cannot tell, and where it comes from."""
    st.divider()
    reading, caveat, source = st.columns([4, 3, 3], gap="large")
    reading.markdown("**How to read it**")
    reading.write(figure.reading)
    caveat.markdown("**What it cannot tell**")
    caveat.write(figure.caveat)
    source.markdown("**Formula and source**")
    source.text(figure.formula)
    source.caption(figure.source)


def plot(
    figure: go.Figure, *, key: str, alt: str, on_pick: Callable[[list[int]], None] | None = None
) -> None:
    """A plotly figure as the core made it, on the page's paper.

    on_pick: is called before the rerun with the customdata of what was clicked.
    """

    def picked() -> None:
        # Plotly also tells of selections that end by themselves.
        address.stay()
        points = st.session_state[key].selection.points
        if on_pick and points and "customdata" in points[0]:
            on_pick(points[0]["customdata"])

    options: dict[str, Any] = {}
    if on_pick:
        options = {"on_select": picked, "selection_mode": "points"}
    st.plotly_chart(themed(figure), theme=None, key=key, config=PLOTLY_CONFIG, alt=alt, **options)


def themed(figure: go.Figure) -> go.Figure:
    """The colours of the data stay; ink and paper are the page's."""
    dark = st.context.theme.type == "dark"
    shown = screen_sheet.theme(figure, ink=DARK_INK if dark else looks.INK, paper="rgba(0,0,0,0)")
    return shown.update_layout(font_family=FONT)


def export(
    figure: FigureSpec[Record],
    record: Record,
    *,
    name: str,
    suffix: str = "",
    image: int | None = None,
    label: str = "Export",
    formats: Sequence[str] = FORMATS,
    **look: Any,
) -> None:
    """A button that opens the formats; each file is made when it is clicked, and looks as shown.

    name: what the record is of, for the name of the file; suffix: stands after the figure's name.
    image: which of the record's pictures, where each has a button of its own that `label` tells;
        None for the record as it is.
    """
    offered = {use: [each for each in kinds if each in formats] for use, kinds in USES}
    with st.popover(f":material/download: {plain(label)}", help="This figure as a file"):
        uses = (f"{use}: {', '.join(kinds).upper()}." for use, kinds in offered.items() if kinds)
        st.caption(" ".join(uses))
        with st.container(horizontal=True):
            for kind in formats:
                st.download_button(
                    kind.upper(),
                    partial(render, figure, record, kind, image=image, **look),
                    file_name=f"{file_stem(name)}_{figure.slug}{suffix}.{kind}",
                    mime=MEDIA[kind],
                    on_click="ignore",
                    key=f"export_{figure.slug}{suffix}_{image}_{kind}",
                )


def export_each(
    figure: FigureSpec[Record],
    record: Record,
    subject: Subject,
    chosen: Sequence[Picture],
) -> None:
    """A button for each picture that a record shows."""
    with st.container(horizontal=True):
        for image, picture in enumerate(chosen):
            export(
                figure,
                record,
                name=title_of(subject._replace(picture=picture)),
                image=image,
                label="Export" if len(chosen) == 1 else f"Export {picture.name}",
            )


def tell_notices(subject: Subject) -> None:
    """What is assumed of the model, and what was done to the picture."""
    capture = kept.captures().peek(subject.key)
    notices = *models.model(subject).notices, *(capture.photographs[0].notices if capture else ())
    if notices:
        # Names of weights are the file's words.
        st.info(plain(" ".join(notices)))


def show_classes(found: Predictions, names: Sequence[str]) -> None:
    """The classes of the picture's largest outputs, each with a bar if its value is a probability.

    names: of all classes.
    """
    for index, value in zip(found.class_index[0].tolist(), found.value[0].tolist(), strict=True):
        if found.outputs == "scores":
            st.text(f"{names[index]}: {outputs.told(value, found.outputs)}")
        else:
            st.progress(value, text=f"{plain(names[index])}: {value:.1%}")


def of_entry(entry: ModelFigure[Record] | CaptureFigure[Record], subject: Subject) -> Record:
    """The record of an entry of the catalogue, as it is computed without further choices."""
    if isinstance(entry, ModelFigure):
        return records.of_model(entry.analyse, subject)
    return records.of_capture(entry.analyse, subject)


def figure_page(slug: str) -> None:
    """A whole page of a figure that needs no controls."""
    [entry] = [each for each in FIGURES if each.figure.slug == slug]
    figure, subject = entry.figure, state.current()
    place = heading(figure.title, figure.question)
    record = of_entry(entry, subject)
    plot(figure.plot(record), key=slug, alt=f"{figure.title} of {subject.model}")
    with place:
        export(figure, record, name=title_of(subject))
    explain(figure)


def title_of(subject: Subject, pictures: str | None = None) -> str:
    """The model and the picture, or what several pictures are called, in words."""
    stage = "" if subject.stage is None else f" stage {subject.stage}"
    control = " with randomised weights" if subject.randomised else ""
    return f"{subject.model}{stage}{control}, {pictures or subject.picture.name}"
