"""What do all pages look like? Heading, figure, explanation; and how a refusal is told."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any, NamedTuple

import plotly.graph_objects as go
import streamlit as st

from vit_inspect.catalog import CaptureFigure, ModelFigure
from vit_inspect.errors import InspectError, memory_told
from vit_inspect.exporting.render import PLOTLY_CONFIG
from vit_inspect.figures import looks, narrow_sheet, outputs, overlay, screen_sheet
from vit_inspect.figures.figure import FigureSpec, Record
from vit_inspect.loading.recommended import DEFAULT
from vit_inspect.records.base import Photograph
from vit_inspect.records.evidence import Predictions
from vit_inspect_dashboard import address, kept, models, offers, records, state, texts, told
from vit_inspect_dashboard.components import screen
from vit_inspect_dashboard.state import Subject
from vit_inspect_dashboard.wording import plain

# Plotly looks into it once any thread has begun to import it, as scikit-learn does, and fails where
# it is half there.
import_module("pandas")

DARK_INK, DARK_QUIET = "#e6e8eb", "#a3acb8"
INPUT_PX = 640
"""Of the long side of the photograph on a page about it."""
FONT = '"Source Sans", sans-serif'
"""Streamlit's own."""


class Ended(Exception):
    """A page has said all that it can; what all pages share still comes."""


@contextmanager
def refusals() -> Iterator[None]:
    """What cannot be done is a sentence in place of the figure."""
    try:
        with memory_told():
            yield
    except InspectError as refusal:
        st.error(plain(str(refusal)))
        raise Ended from refusal


@contextmanager
def failed_model(subject: Subject, place: Any, second: str = "") -> Iterator[None]:
    """A model that cannot be had is a sentence, with three ways to go on from it.

    second: where the address holds it, if it is not the sidebar's model but one beside it.
    """
    try:
        with memory_told():
            yield
    except InspectError as refusal:
        first = next(iter(offers.listed()), DEFAULT)
        with place:
            st.error(plain(str(refusal)))
            with st.container(horizontal=True):
                if second:
                    st.button(
                        "Back to one model",
                        type="primary",
                        on_click=address.put,
                        kwargs={second: None},
                        help="The page as it is before a second model is chosen",
                    )
                else:
                    st.button(
                        f"Back to {plain(first)}",
                        type="primary",
                        on_click=state.back_to_first_model,
                        args=(told.KEYS,),
                        help="The first model of the list, as it is at first",
                    )
                st.button("Try again", help="A download may fail once and succeed later")
            if offers.is_file(subject.model):
                where = "once it is the model of the sidebar" if second else "below its name"
                st.caption(
                    "Its architecture, and what else no file says, can be said in 'What the "
                    f"weights do not say', {where}."
                )
            if not offers.is_in_memory(subject.model):
                words = ["vit-inspect", "figures", "chelsea", "--out", "out"]
                st.caption("The same from a terminal, where it says more:")
                show_command([*words, *models.options(subject)])
        raise Ended from refusal


@contextmanager
def failed_texts(place: Any) -> Iterator[None]:
    """Texts that cannot be classes are a sentence, with the form to mend them."""
    try:
        with memory_told():
            yield
    except InspectError as refusal:
        with place:
            st.error(plain(str(refusal)))
            texts.form("refused")
            st.button(
                "Leave out the words",
                type="primary",
                on_click=texts.leave_out,
                help="The model as it is without them",
            )
        raise Ended from refusal


def heading(title: str, question: str) -> Any:
    """The page's name and the question it answers; returns the place for the export button."""
    with st.container(
        key="heading",
        horizontal=True,
        horizontal_alignment="distribute",
        vertical_alignment="top",
    ):
        with st.container(gap="xxsmall"):
            st.title(plain(title), anchor=False, width="content")
            st.subheader(question, anchor=False, width="content")
        return st.container(width="content")


def show_command(words: Sequence[str]) -> None:
    """A command for a terminal, an option in each line: a browser would break lines in options."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(word)
    st.code(" \\\n  ".join(map(shlex.join, lines)), language="sh", wrap_lines=True)


def controls_and_picture() -> tuple[Any, Any]:
    """Places for controls and, below them, for a picture; on a phone the picture comes first."""
    with st.container(key="picture_first"):
        return st.container(), st.container()


class Words(NamedTuple):
    """What is said of a way to look at a figure, as `FigureSpec` says it of the figure."""

    title: str
    reading: str
    caveat: str
    formula: str
    source: str


def explain(*told: FigureSpec[Any] | Words) -> None:
    """How to read what is shown, what it cannot tell, and where it comes from.

    Where several things are said, each has its title.
    """
    st.divider()
    for each in told:
        if len(told) > 1:
            st.subheader(each.title, anchor=False)
        reading, caveat, source = st.columns([4, 3, 3], gap="large")
        reading.markdown("**How to read it**")
        reading.write(each.reading)
        caveat.markdown("**What it cannot tell**")
        caveat.write(each.caveat)
        source.markdown("**Formula and source**")
        source.text(each.formula)
        source.caption(each.source)


def plot(
    figure: go.Figure,
    *,
    key: str,
    alt: str,
    on_pick: Callable[[list[int]], None] | None = None,
) -> None:
    """A plotly figure as the core made it, on the page's paper, laid out for the page's width.

    What cannot be as narrow as the page is moved sideways.

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
    width = screen.width()
    if width < screen_sheet.SCREEN_PX:
        figure = narrow_sheet.narrow(figure, width)
    place: Any = nullcontext()
    if proportion := narrow_sheet.proportion(figure):
        place = picture_content(key, figure, proportion)
    elif (least := narrow_sheet.least_width(figure)) > width:
        place = wide_content(key, least)
    with place:
        st.plotly_chart(
            themed(figure), theme=None, key=key, config=PLOTLY_CONFIG, alt=alt, **options
        )


def picture_content(key: str, figure: go.Figure, proportion: float) -> Any:
    """A place for a chart that keeps its proportion: where it is narrow, the chart is lower too."""
    layout, margin = figure.layout, figure.layout.margin
    height = f"{margin.t + margin.b}px + {proportion:.4f} * (100cqw - {margin.l + margin.r}px)"
    st.html(
        f"<style>.st-key-picture_{key} {{ container-type: inline-size; }} "
        f".st-key-picture_{key} > .stElementContainer {{ flex-basis: auto; "
        f"height: min({layout.height}px, {height}) !important; }}</style>"
    )
    return st.container(key=f"picture_{key}")


def wide_content(key: str, width: int) -> Any:
    """A place for what is so wide, and is moved sideways; see `style.css`. In CSS px."""
    st.html(f"<style>.st-key-wide_{key} {{ --least: {width}px; }}</style>")
    return st.container(key=f"wide_{key}")


def themed(figure: go.Figure) -> go.Figure:
    """The colours of the data stay; ink and paper are the page's."""
    dark = st.context.theme.type == "dark"
    ink, quiet = (DARK_INK, DARK_QUIET) if dark else (looks.INK, looks.QUIET)
    shown = screen_sheet.theme(figure, ink=ink, quiet=quiet, paper="rgba(0,0,0,0)")
    return shown.update_layout(font_family=FONT, hoverlabel_font_family=FONT)


def show_input(photograph: Photograph, grid: tuple[int, int]) -> None:
    """What the model saw of a photograph, cut into patches."""
    picture = overlay.input_picture(photograph, grid)
    st.image(
        picture,
        width=round(INPUT_PX * min(1, picture.width / picture.height)),
        alt="The picture, the part that the model saw cut into patches, the rest faded",
    )


def tell_notices(subject: Subject) -> None:
    """What is assumed of the model, and what was done to the picture."""
    capture = kept.captures().peek(subject.key)
    notices = *models.model(subject).notices, *(capture.photographs[0].notices if capture else ())
    if notices:
        # Names of weights are the file's words.
        st.caption(f":material/info: {plain(' '.join(notices))}")


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


def title_of(subject: Subject, pictures: str | None = None) -> str:
    """The model and the picture, or what several pictures are called, in words."""
    stage = "" if subject.stage is None else f" stage {subject.stage}"
    control = " with randomised weights" if subject.randomised else ""
    return f"{subject.model_title}{stage}{control}, {pictures or subject.picture.name}"
