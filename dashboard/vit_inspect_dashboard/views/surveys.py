"""View: what do the heads do over many pictures?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

import vit_inspect as vi
from vit_inspect.figures.distribution import FIGURE as DISTRIBUTION
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.group_difference import FIGURE as GROUP_DIFFERENCE
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.figures.looks import place_name
from vit_inspect.figures.spread import FIGURE as SPREAD
from vit_inspect.figures.steps import FIGURE as STEPS
from vit_inspect_dashboard import (
    address,
    controls,
    exports,
    models,
    page,
    state,
    survey_beside,
    survey_groups,
    survey_own,
    survey_thumbnails,
    survey_whole,
    surveyed,
    trainings,
)
from vit_inspect_dashboard.components import screen
from vit_inspect_dashboard.survey_thumbnails import Head
from vit_inspect_dashboard.wording import model_title, plain

OF_HEADS: Sequence[FigureSpec[Any]] = (SPREAD, DISTRIBUTION, GROUP_DIFFERENCE)
"""What is shown of the heads of a survey."""


def say_how() -> None:
    """How a survey is made and opened, where there is none."""
    st.write(
        "A survey takes numbers of every head over a folder of pictures, as many as you like. Make "
        "one in a terminal:"
    )
    page.show_command(["vit-inspect", "survey", "pictures", "--out", "surveys/mine"])
    st.write("Then open the dashboard on the folder that holds it:")
    page.show_command(["vit-inspect", "dashboard", "--surveys", "surveys"])


def show_survey(offered: dict[str, Path]) -> Sequence[FigureSpec[Any]]:
    """A survey is chosen, and what is shown of it; returns the figures of which it shows some."""
    with st.container(horizontal=True, vertical_alignment="top"):
        chosen = str(
            st.selectbox(
                "Survey",
                list(offered),
                width=260,
                help="The surveys of this server, the trainings that were surveyed, and the "
                "survey of your own pictures once it is made.",
                **address.one_of("survey", offered, start=next(iter(offered))),
            )
        )
        name, folder = trainings.at_step(chosen, offered[chosen])
        survey = surveyed.opened(folder)
        titles = {STATISTICS[each].title: each for each in survey.statistics}
        shown = survey_whole.choose(survey)
        if titles and shown == survey_whole.HEADS:
            title = st.selectbox(
                "Statistic",
                list(titles),
                width=260,
                help="What is measured of each head, for every picture.",
                **address.one_of("statistic", titles, start=next(iter(titles))),
            )
            other = survey_beside.choose(name, offered)
    tell_what(folder, survey)
    if shown != survey_whole.HEADS:
        return survey_whole.show(name, folder, shown, training=offered[chosen])
    if titles:
        trainings.show_curves(offered[chosen], titles[title])
        show_heads(name, folder, survey.statistics[titles[title]], other)
    curves = [STEPS] if surveyed.is_training(offered[chosen]) else []
    return [*curves, *OF_HEADS]


def tell_what(folder: Path, survey: vi.Survey) -> None:
    """Of what a survey is, and which pictures could not be read."""
    rows, columns = survey.layout.input_px
    subject = state.current()
    here = models.model(subject)
    labels = len(surveyed.labels(folder))
    st.caption(
        plain(
            f"{survey.count:,} pictures, {model_title(survey.model)} at {rows} × {columns} px"
            + (f", {labels:,} labels" if labels else "")
            + (f"; {len(survey.refused)} could not be read" if survey.refused else "")
            + "."
            + (
                ""
                if (here.id, here.layout) == (survey.model, survey.layout)
                else f" Its pictures open in Explore with {subject.model_title} at "
                f"{' × '.join(map(str, here.layout.input_px))} px, the model that is chosen."
            )
        )
    )
    if survey.refused:
        with st.expander("Pictures that could not be read"):
            # Names alone: reasons can say where pictures lie.
            for each, _ in survey.refused[:20]:
                st.text(each)


def show_heads(name: str, folder: Path, spread: vi.Spread, beside: str | None) -> None:
    """How every head is spread; of one its distribution, and the pictures at its ends.

    beside: the name of another survey, which is shown beside this one.
    """
    survey, title = surveyed.opened(folder), STATISTICS[spread.statistic].title
    there = beside and surveyed.listed()[beside]
    if beside and there and spread.statistic in surveyed.opened(there).statistics:
        survey_beside.show_spreads(name, survey, beside, surveyed.opened(there), spread.statistic)
    else:
        if beside:
            st.caption(plain(f"{beside} has no {title}."))
        page.plot(
            SPREAD.plot(spread),
            key="spread",
            alt=f"{title} of every head over {survey.count} pictures, with quantiles",
            on_pick=state.pick_head,
        )
        with place:
            exports.offer(SPREAD, spread, name=name)
        there = None
    st.caption(screen.in_words("Click a dot or a cell: below is that head."))

    layers, heads = spread.mean.shape
    # At first the head that differs most between pictures, as a share of its mean.
    share = spread.std / np.maximum(np.abs(spread.mean), np.finfo(float).tiny)
    layer, head = (int(each) for each in np.unravel_index(share.argmax(), share.shape))
    with st.container(horizontal=True, vertical_alignment="top"):
        layer = controls.choose_number("layer", "Layer", layers, start=layer, keys=("K", "J"))
        head = controls.choose_number("head", "Head", heads, start=head, keys=("H", "L"))

    of = Head(name, folder, spread.statistic, layer, head)
    result = surveyed.of_head(folder, spread.statistic, layer, head, over=name)
    page.plot(
        DISTRIBUTION.plot(result),
        key="distribution",
        alt=f"{title} of {place_name(layer, head)} over {survey.count} pictures, as a histogram",
    )
    exports.offer(DISTRIBUTION, result, name=name, suffix=f"_L{layer}_H{head}")
    for ends, numbers in (("lowest", spread.lowest), ("highest", spread.highest)):
        st.markdown(f"**The pictures with the {ends} values**")
        survey_thumbnails.show(of, numbers[layer, head].tolist(), key=ends)
    if beside and there:
        survey_beside.show_difference(of, beside, there)
    survey_groups.show(of)


offered = surveyed.listed()
place = page.heading("Surveys", "What do the heads do over many pictures?")
if offered:
    told = OF_HEADS
    with suppress(page.Ended), page.refusals():
        told = show_survey(offered)
else:
    say_how()
own = st.container()
if offered:
    page.explain(*told)
# Last, so that the rest of the page is there while it runs.
with own:
    survey_own.offer()
