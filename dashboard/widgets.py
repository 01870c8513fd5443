"""What do all pages look like? Heading, figure, explanation, export; and how a refusal is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard import cache, inputs
from dashboard.selection import Subject
from vit_inspect.analyses.faithfulness import rank_correlation
from vit_inspect.catalog import FIGURES, FigureSpec
from vit_inspect.errors import InspectError
from vit_inspect.exporting.render import FORMATS, PLOTLY_CONFIG, render
from vit_inspect.figures import looks, patch_map, screen_sheet
from vit_inspect.figures.faithfulness import control_words
from vit_inspect.records.base import Result
from vit_inspect.records.evidence import Predictions

SPECS = {spec.slug: spec for spec in FIGURES}
VIEWS = Path(__file__).parent / "views"
DARK_INK = "#e6e8eb"
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
    ("To explore", ("html",)),
    ("The numbers", ("npz", "csv")),
)


@contextmanager
def refusals() -> Iterator[None]:
    """What cannot be done is a sentence in place of the figure."""
    try:
        yield
    except InspectError as refusal:
        st.error(inputs.plain(str(refusal)))
        st.stop()


def current() -> Subject:
    """What the sidebar has chosen."""
    subject: Subject = st.session_state["subject"]
    return subject


def show_facts(subject: Subject) -> None:
    """The model in four lines."""
    model = cache.model(subject)
    layout = model.layout
    prefix = ", ".join(layout.prefix) or "no prefix tokens"
    stage = f" in stage {model.stage}" if model.stages else ""
    lines = [
        f"{model.parameter_count / 1e6:,.1f} M parameters, {len(model.blocks)} layers{stage}",
        f"{layout.token_count:,} tokens: {prefix}, {layout.patch_count:,} patches",
        f"On {model.device}; weights: {model.source}",
    ]
    if capture := cache.captures().peek(subject):
        lines.append(f"Attention verified to {capture.error:.0e}")
    st.caption("  \n".join(lines))


def heading(title: str, question: str) -> Any:
    """The page's name and the question it answers; returns the place for the export button."""
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="top"):
        with st.container(width="content", gap="xxsmall"):
            st.title(inputs.plain(title), anchor=False, width="content")
            st.subheader(question, anchor=False, width="content")
        return st.container(width="content")


def explain(spec: FigureSpec) -> None:
    """How to read the figure, what it cannot tell, and where it comes from."""
    st.divider()
    reading, caveat, source = st.columns([4, 3, 3], gap="large")
    reading.markdown("**How to read it**")
    reading.write(spec.reading)
    caveat.markdown("**What it cannot tell**")
    caveat.write(spec.caveat)
    source.markdown("**Formula and source**")
    source.text(spec.formula)
    source.caption(spec.source)


def plot(
    figure: go.Figure, *, key: str, alt: str, on_pick: Callable[[list[int]], None] | None = None
) -> None:
    """A plotly figure as the core made it, on the page's paper.

    on_pick: is called before the rerun with the customdata of what was clicked.
    """

    def picked() -> None:
        points = st.session_state[key].selection.points
        if on_pick and points and "customdata" in points[0]:
            on_pick(points[0]["customdata"])

    options: dict[str, Any] = {}
    if on_pick:
        options = {"on_select": picked, "selection_mode": "points"}
    st.plotly_chart(themed(figure), theme=None, key=key, config=PLOTLY_CONFIG, alt=alt, **options)


def leave_for_picked_head() -> None:
    """Go to the maps of the head that was picked just before this run, if one was."""
    if head := st.session_state.pop("leave_for", None):
        # What the widgets hold, such as the picture, is in the address without our doing, and
        # Streamlit refuses to be told it.
        st.switch_page(VIEWS / "attention_maps.py", query_params=head)


def themed(figure: go.Figure) -> go.Figure:
    """The colours of the data stay; ink and paper are the page's."""
    dark = st.context.theme.type == "dark"
    return screen_sheet.theme(figure, ink=DARK_INK if dark else looks.INK, paper="rgba(0,0,0,0)")


def export(
    spec: FigureSpec,
    result: Result,
    *,
    name: str,
    image: int = 0,
    label: str = "Export",
    formats: Sequence[str] = FORMATS,
    **look: Any,
) -> None:
    """A button that opens the formats; each file is made on its click, and looks as shown.

    image: which of the record's pictures; each has a button of its own, and `label` tells it.
    """
    offered = {purpose: [each for each in kinds if each in formats] for purpose, kinds in USES}
    with st.popover(f":material/download: {inputs.plain(label)}", help="This figure as a file"):
        uses = (f"{use}: {', '.join(kinds).upper()}." for use, kinds in offered.items() if kinds)
        st.caption(" ".join(uses))
        with st.container(horizontal=True):
            for kind in formats:
                st.download_button(
                    kind.upper(),
                    partial(render, spec, result, kind, image=image, **look),
                    file_name=f"{file_stem(name)}_{spec.slug}.{kind}",
                    mime=MEDIA[kind],
                    on_click="ignore",
                    key=f"export_{spec.slug}_{image}_{kind}",
                )


def show_classes(found: Predictions, names: Sequence[str]) -> None:
    """The most probable classes of the picture, each with a bar; `names` are those of all."""
    shares = found.probability[0].tolist()
    for index, share in zip(found.class_index[0].tolist(), shares, strict=True):
        st.progress(share, text=f"{inputs.plain(names[index])}: {share:.1%}")


def figure_page(slug: str) -> None:
    """A whole page of a figure that needs no controls."""
    spec, subject = SPECS[slug], current()
    place = heading(spec.title, spec.question)
    result = cache.result(spec, subject)
    plot(spec.plot(result), key=slug, alt=f"{spec.title} of {subject.model}")
    with place:
        export(spec, result, name=title_of(subject))
    explain(spec)


def wants_control() -> bool:
    """A switch for the map that `control` shows."""
    return st.toggle(
        "The same map with randomised weights",
        key="randomised",
        bind="query-params",
        help="A control: what is left of the map when nothing was learned. The entries of every "
        "weight tensor are put in a random order.",
    )


def map_and_control(
    spec: FigureSpec, subject: Subject, make: Callable[[Subject], Result], **parameters: Any
) -> None:
    """A map once more, and beside it its control, as `control` shows it."""
    learned, randomised = st.columns(2, gap="large")
    with learned:
        plot(
            spec.plot(make(subject), width=500),
            key="learned",
            alt=f"The map of {subject.model} as it was trained",
        )
    with randomised:
        control(spec, subject, make, **parameters)


def control(
    spec: FigureSpec,
    subject: Subject,
    make: Callable[[Subject], Result],
    *,
    quantity: str,
    about: str = "",
    **look: Any,
) -> None:
    """The same map with randomised weights, and what the likeness tells.

    make: the record of the subject, and of the same with randomised weights.
    quantity: the record's map. about: what it is for, for the names of files.
    look: how it is shown, as that of the subject.
    """
    other = subject._replace(randomised=True)
    learned, found = make(subject), make(other)
    plot(
        spec.plot(found, width=500, **look),
        key="control",
        alt=f"The same map of {subject.model} with randomised weights",
    )
    values, others = (getattr(each, quantity)[0] for each in (learned, found))
    st.write(control_words(rank_correlation(values, others)))
    export(
        replace(spec, slug=f"{spec.slug}_control"),
        found,
        name=f"{title_of(other)} {about}",
        label="Export the control",
        **look,
    )


def single_map(kind: str) -> FigureSpec:
    """What shows and exports a map of the kind, in words, that is no figure of the catalogue."""
    return replace(
        SPECS["faithfulness"],
        slug=f"{file_stem(kind)}_map",
        title=kind,
        scope="image",
        draw=patch_map.draw,
        plot=patch_map.plot,
    )


def title_of(subject: Subject, pictures: str | None = None) -> str:
    """The model and the picture, or what several pictures are called, in words."""
    stage = "" if subject.stage is None else f" stage {subject.stage}"
    control = " with randomised weights" if subject.randomised else ""
    return f"{subject.model}{stage}{control}, {pictures or inputs.name_of(subject.image)}"


def file_stem(name: str) -> str:
    """A name that is safe in any file system, whatever a stranger called the picture."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:120] or "figure"
