"""View: what do the heads do over many pictures?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

import vit_inspect as vi
from vit_inspect.errors import InspectError
from vit_inspect.figures.distribution import FIGURE as DISTRIBUTION
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
    pictures,
    state,
    surveyed,
    trainings,
)
from vit_inspect_dashboard.components import screen
from vit_inspect_dashboard.wording import model_title, plain


def say_how() -> None:
    """How a survey is made and opened, where there is none."""
    st.write(
        "A survey takes numbers of every head over a folder of pictures, as many as you like. Make "
        "one in a terminal:"
    )
    page.show_command(["vit-inspect", "survey", "pictures", "--out", "surveys/mine"])
    st.write("Then open the dashboard on the folder that holds it:")
    page.show_command(["vit-inspect", "dashboard", "--surveys", "surveys"])


def show_survey(offered: dict[str, Path]) -> None:
    """A survey and a statistic are chosen; what it says of all heads, and of one."""
    with st.container(horizontal=True, vertical_alignment="top"):
        chosen = str(
            st.selectbox(
                "Survey",
                list(offered),
                width=260,
                help="The surveys of this server, and the trainings that were surveyed.",
                **address.one_of("survey", offered, start=next(iter(offered))),
            )
        )
        name, folder = trainings.at_step(chosen, offered[chosen])
        survey = surveyed.opened(folder)
        titles = {STATISTICS[each].title: each for each in survey.statistics}
        if titles:
            title = st.selectbox(
                "Statistic",
                list(titles),
                width=260,
                help="What is measured of each head, for every picture.",
                **address.one_of("statistic", titles, start=next(iter(titles))),
            )
    rows, columns = survey.layout.input_px
    subject = state.current()
    here = models.model(subject)
    labels = surveyed.label_count(folder)
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
    if titles:
        trainings.show_curves(offered[chosen], titles[title])
        show_heads(name, folder, survey.statistics[titles[title]])
    of_training = [STEPS] if surveyed.is_training(offered[chosen]) else []
    page.explain(*of_training, SPREAD, DISTRIBUTION)


def show_heads(name: str, folder: Path, spread: vi.Spread) -> None:
    """How every head is spread; of one its distribution, and the pictures at its ends."""
    survey, title = surveyed.opened(folder), STATISTICS[spread.statistic].title
    page.plot(
        SPREAD.plot(spread),
        key="spread",
        alt=f"{title} of every head over {survey.count} pictures, with quantiles",
        on_pick=state.pick_head,
    )
    st.caption(screen.in_words("Click a dot or a cell: below is that head."))
    with place:
        exports.offer(SPREAD, spread, name=name)

    layers, heads = spread.mean.shape
    # At first the head that differs most between pictures, as a share of its mean.
    share = spread.std / np.maximum(np.abs(spread.mean), np.finfo(float).tiny)
    layer, head = (int(each) for each in np.unravel_index(share.argmax(), share.shape))
    with st.container(horizontal=True, vertical_alignment="top"):
        layer = controls.choose_number("layer", "Layer", layers, start=layer, keys=("K", "J"))
        head = controls.choose_number("head", "Head", heads, start=head, keys=("H", "L"))

    result = surveyed.of_head(folder, spread.statistic, layer, head)
    page.plot(
        DISTRIBUTION.plot(result),
        key="distribution",
        alt=f"{title} of {place_name(layer, head)} over {survey.count} pictures, as a histogram",
    )
    exports.offer(DISTRIBUTION, result, name=name, suffix=f"_L{layer}_H{head}")

    words, values = STATISTICS[spread.statistic].words, np.sort(result.values)
    at_ends = (("lowest", spread.lowest, values), ("highest", spread.highest, values[::-1]))
    for ends, numbers, extreme in at_ends:
        st.markdown(f"**The pictures with the {ends} values**")
        with st.container(horizontal=True, key=f"{ends}_pictures"):
            for number, value in zip(numbers[layer, head].tolist(), extreme, strict=False):
                picture = pictures.Picture(*surveyed.picture(name, folder, number))
                with st.container(width=150):
                    try:
                        st.image(pictures.thumbnail(picture.key, picture.read), width=150)
                    except InspectError:
                        # It was there when the survey was made.
                        st.caption("This picture is gone.")
                    st.button(
                        plain(survey.entries[number].name),
                        key=f"{ends}_{number}",
                        on_click=state.open_picture,
                        args=(picture.name, layer, head),
                        help=f"Open it in Explore at {place_name(layer, head)}",
                    )
                    st.caption(words.format(value))


offered = surveyed.listed()
place = page.heading("Surveys", "What do the heads do over many pictures?")
if offered:
    show_survey(offered)
else:
    say_how()
