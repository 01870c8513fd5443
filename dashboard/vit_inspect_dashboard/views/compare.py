"""View: how do two models, two pictures, or two heads differ?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import streamlit as st

import vit_inspect as vi
from vit_inspect.analyses.attention_maps import telling_head
from vit_inspect.catalog import FIGURES, ModelFigure
from vit_inspect.errors import BadParameter, InspectError
from vit_inspect.figures import attention_maps, difference, token_norms
from vit_inspect.figures.lit import Look
from vit_inspect.figures.looks import SHARED_SCALE_PERCENTILE, ends_of
from vit_inspect.layout import READOUT
from vit_inspect_dashboard import (
    address,
    canvas,
    controls,
    exports,
    models,
    page,
    picker,
    records,
    sidebar,
    state,
)
from vit_inspect_dashboard.sheets import CLIPS, Sheet, attention_limits
from vit_inspect_dashboard.sheets import norms as norms_sheet
from vit_inspect_dashboard.state import Subject
from vit_inspect_dashboard.wording import plain

PICTURE, MODEL, HEAD, LAYER = "picture", "model", "layer or head", "layer"
LINK = "compare"
GREY: Look = "heat on grey"
PLACES = {attention_maps.FIGURE.title: (HEAD,), token_norms.FIGURE.title: (LAYER,)}
"""What else of a figure can be compared, where it is on the canvas."""
NOT_CHOSEN = "choose a model"
"""At first: another model may have to be downloaded."""

WORDS = page.Words(
    title="Compare",
    reading="The left side is what the sidebar has chosen; the right one differs in one thing. "
    "Values of one unit have one scale on both sides, so equal colours are equal values: at first "
    "the photographs are grey, since their own colours could be taken for values. Where a "
    "difference is drawn, it is right minus left: red is more at the right, blue is more at the "
    "left.",
    caveat="A difference does not say which side is better, nor why they differ. Heads of two "
    "models do not belong together because they have the same number. One picture is one example.",
    formula="right − left, for each value; its colours end at percentile "
    f"{SHARED_SCALE_PERCENTILE:g} of the sizes of all differences",
    source="as for the figure that is shown twice",
)


class Side(NamedTuple):
    """An explorer: what it is of, and where the address holds its layer and its head."""

    subject: Subject
    layer: str
    head: str


def chosen_other(subject: Subject, against: str, place: Any) -> Subject:
    """What stands at the right; that it cannot be had is told in `place`."""
    if against == PICTURE:
        picture = controls.choose_other_picture(
            subject.picture, key="right_image", help="The left one is the picture of the sidebar."
        )
        return subject if picture is None else subject._replace(picture=picture)
    if against in (HEAD, LAYER):
        return subject
    name = controls.choose_other_model(
        "Right model",
        [NOT_CHOSEN, *picker.others(subject.model)],
        key="right_model",
        help="The left one is the model of the sidebar.",
    )
    if name == NOT_CHOSEN:
        return subject
    other = subject.beside(name, sidebar.wanted_size(name))
    with page.failed_model(other, place, second="right_model"):
        try:
            models.model(other)
        except BadParameter:
            other = other._replace(size=sidebar.own_size(name))
            models.model(other)
    return other


class Map(NamedTuple):
    """What an explorer shows: its maps, what the large one is, and what makes that in Python."""

    sheet: Sheet
    place: str
    about: str
    analysis: str
    values: str
    words: str = ""


def attention(left: Subject, right: Subject, against: str) -> list[tuple[Side, Map]]:
    """Attention of both sides, whose query is the same."""
    grids = [models.capture(each).layout for each in (left, right)]
    query = canvas.chosen_query(grids[0])
    if canvas.chosen_query(grids[1]) != query:
        query = READOUT
    start = telling_head(records.of_capture(vi.attention_maps, left))
    others = ("right_layer", "right_head") if against == HEAD else ("layer", "head")
    sides = Side(left, "layer", "head"), Side(right, *others)
    # Where heads are compared, the right side begins with the mean of the layer's heads.
    starts = start, (start[0], models.capture(right).head_count) if against == HEAD else start
    found = []
    for side, (first_layer, first_column) in zip(sides, starts, strict=True):
        capture = models.capture(side.subject)
        layers, heads = capture.layer_count, capture.head_count
        layer = canvas.chosen_number(side.layer, layers, start=min(first_layer, layers - 1))
        column = canvas.chosen_column(heads, start=min(first_column, heads), key=side.head)
        sheet = records.attention_sheet(side.subject, query, layer, column)
        readout = records.of_capture(vi.attention_maps, side.subject)
        # Of the map that is large: a scale of all heads would show most of them as one colour.
        sheet = replace(sheet, limits=attention_limits(readout, sheet.opened))
        words = canvas.attention_words(sheet.layout, heads, query, layer, column)
        found.append((side, Map(sheet, words[0].partition(" from ")[0], *words)))
    return found


def norms(left: Subject, right: Subject, against: str) -> list[tuple[Side, Map]]:
    """Token norms of both sides."""
    found = []
    for subject, key in ((left, "layer"), (right, "right_layer" if against == LAYER else "layer")):
        layers = models.capture(subject).layer_count
        start = layers // 2 if key == "right_layer" else layers - 1
        layer = canvas.chosen_number(key, layers, start=start)
        result = records.token_norms(subject, layer)
        sheet = norms_sheet(result)
        values = sheet.values[sheet.opened]
        sheet = replace(
            sheet, limits={clip: ends_of(values, clip, from_zero=False) for clip in CLIPS}
        )
        shown = Map(
            sheet,
            f"layer {layer}",
            f"norms after layer {layer}",
            f"vi.token_norms(capture, layer={layer})",
            f"found.norm[:, {layer}]",
            token_norms.verdict(result),
        )
        found.append((Side(subject, key, "head"), shown))
    return found


def show_explorers(found: list[tuple[Side, Map]], against: str, *, one_unit: bool) -> None:
    """Two explorers; what is pointed at in one is shown in both.

    one_unit: whether values of both can be compared; then they have one scale, and a difference.
    """
    ends = [shown.sheet.limits for _, shown in found]
    common = {
        clip: (min(each[clip][0] for each in ends), max(each[clip][1] for each in ends))
        for clip in CLIPS
    }
    scale = "shared" if one_unit else "own"
    for place, name, (side, shown) in zip(st.columns(2), ("left", "right"), found, strict=True):
        sheet = replace(shown.sheet, limits=common)
        at = f", {shown.place}" if against in (HEAD, LAYER) else ""
        with place:
            canvas.show(
                sheet,
                f"{name.capitalize()}: {page.title_of(side.subject)}, "
                f"{sheet.layout.input_px[0]} px{at}",
                key=f"canvas_{name}",
                layer=side.layer,
                head=side.head,
                link=LINK,
                scale=scale,
                first_look=GREY,
            )
            canvas.export(
                sheet,
                side.subject,
                about=shown.about,
                analysis=shown.analysis,
                values=shown.values,
                label=f"Export the {name} map",
                suffix=f"_{name}",
                scale=scale,
                first_look=GREY,
            )
            if shown.words:
                st.caption(plain(shown.words))
    if one_unit:
        show_difference(found)
    else:
        st.caption(
            "No difference is drawn, and each map has a scale of its own: norms of two networks "
            "have no common unit."
        )


def show_difference(found: list[tuple[Side, Map]]) -> None:
    """Patch by patch, where both show the same picture in the same way."""
    (left, first), (right, second) = ((side.subject, shown.sheet) for side, shown in found)
    same = left.picture == right.picture and left.fit == right.fit
    if not same or first.layout.grid != second.layout.grid:
        st.caption(
            "No difference is drawn: the two maps are not of the same patches of one picture."
        )
        return
    if left == right and first.opened == second.opened:
        st.caption("Both sides show the same map: choose another one for the right side.")
        return
    here, there = (
        canvas.record_of(shown.sheet, side.subject, shown.about) for side, shown in found
    )
    show_record(vi.difference(here, there, "values", words=first.unit))


def show_record(found: vi.Difference) -> None:
    """A difference, and its files."""
    page.plot(difference.FIGURE.plot(found), key="difference", alt="Right - left")
    name = " ".join(filter(None, (found.both, found.right, "minus", found.left)))
    exports.offer(difference.FIGURE, found, name=name, label="Export the difference")


def show_figures(title: str, left: Subject, right: Subject, against: str) -> None:
    """A figure twice, with one scale, and their difference."""
    entry = entries[title]
    figure = entry.figure
    first, second = results = [page.of_entry(entry, each) for each in (left, right)]
    options: dict[str, Any] = {}
    # What was asked of the model and what it returns; raw scores have a unit of their model alone.
    targets = []
    for result in results:
        returned = getattr(result, "outputs", None)
        unit = (returned, result.model) if returned == "scores" else returned
        targets.append((getattr(result, "target", None), unit))
    if figure.limits and targets[0] == targets[1]:
        ends = [figure.limits(result) for result in results]
        options["limits"] = min(low for low, _ in ends), max(high for _, high in ends)
    for column, result, each, side in zip(
        st.columns(2), results, (left, right), ("left", "right"), strict=True
    ):
        with column:
            input_px = models.model(each).layout.input_px[0]
            st.text(f"{side.capitalize()}: {page.title_of(each)}, {input_px} px")
            alt = f"{figure.title} of {result.model}, {side}"
            page.plot(figure.plot(result, **options), key=f"compare_{side}", alt=alt)
            exports.offer(figure, result, name=page.title_of(each), suffix=f"_{side}", **options)
    if isinstance(entry, ModelFigure) and against != MODEL:
        st.caption("This figure shows the model alone: it is the same on both sides.")
    elif targets[0] != targets[1]:
        st.caption(
            "The two figures have no common unit. So each has its own scale, and no difference is "
            "drawn."
        )
    elif figure.compared is None:
        st.caption("No difference is drawn for this figure.")
    else:
        seen = (
            ("", "") if isinstance(entry, ModelFigure) else (left.picture.name, right.picture.name)
        )
        try:
            found = vi.difference(
                first, second, figure.compared, pictures=seen, shown=figure.shown(first)
            )
        except InspectError as refusal:
            st.caption(plain(f"No difference: {refusal}"))
        else:
            show_record(found)


subject = state.current()
page.heading("Compare", "How do two models, two pictures, or two heads differ?")
# One that runs the model many times has progress and a way out on its own page alone.
entries = {entry.figure.title: entry for entry in FIGURES if not entry.thorough}
maps = attention_maps.FIGURE
above, below = page.controls_and_picture()
with above, st.container(horizontal=True, vertical_alignment="bottom"):
    shown = st.selectbox(
        "Figure",
        list(entries),
        width=220,
        help="The figure that is shown twice.",
        **address.one_of("figure", entries, start=maps.title),
    )
    differing = controls.choose(
        "against",
        "Compare with another",
        (PICTURE, MODEL, *PLACES.get(shown, ())),
        help="What changes from the left figure to the right one.",
    )
    other = chosen_other(subject, differing, below)
with below:
    if shown == maps.title:
        show_explorers(attention(subject, other, differing), differing, one_unit=True)
    elif shown == token_norms.FIGURE.title:
        found = norms(subject, other, differing)
        show_explorers(found, differing, one_unit=subject.model == other.model)
    else:
        show_figures(shown, subject, other, differing)
page.explain(WORDS, entries[shown].figure)
