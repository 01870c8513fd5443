"""How does another survey differ from this one: another model, or another checkpoint?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

import vit_inspect as vi
from vit_inspect.errors import InspectError
from vit_inspect.figures import screen_sheet
from vit_inspect.figures.group_difference import FIGURE as DIFFERENCE
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.figures.spread import FIGURE as SPREAD
from vit_inspect.figures.spread import limits_of
from vit_inspect.surveys.groups import check_units
from vit_inspect_dashboard import address, exports, page, state, survey_groups, surveyed
from vit_inspect_dashboard.components import screen
from vit_inspect_dashboard.survey_thumbnails import Head
from vit_inspect_dashboard.wording import model_title, plain

NONE = "none"
COLUMN_PX = 535
"""The width of one of two figures side by side, on a usual screen."""


def choose(name: str, offered: dict[str, Path]) -> str | None:
    """The name of another survey, at first none."""
    others = [
        NONE,
        *(
            each
            for each, folder in offered.items()
            if each != name and not surveyed.is_training(folder)
        ),
    ]
    if len(others) == 1:
        return None
    chosen = st.selectbox(
        "Beside",
        others,
        width=260,
        help="Another survey: of another model or checkpoint, or of other pictures.",
        **address.one_of("other_survey", others, start=NONE),
    )
    return None if chosen == NONE else str(chosen)


def show_spreads(name: str, survey: vi.Survey, other: str, there: vi.Survey, title: str) -> None:
    """All heads of both, on one scale where the statistic has one unit."""
    sides = [(name, survey.statistics[title]), (other, there.statistics[title])]
    limits: dict[str, Any] = {}
    try:
        check_units(survey, there, title)
    except InspectError as refusal:
        st.caption(plain(f"Each has a scale of its own. {refusal}"))
    else:
        ends = [limits_of(spread) for _, spread in sides]
        limits = {"limits": (min(low for low, _ in ends), max(high for _, high in ends))}
    # A screen that is narrower than two of them has them one below the other.
    width = COLUMN_PX if screen.width() == screen.FULL else screen_sheet.SCREEN_PX
    for column, (called, spread), key in zip(
        st.columns(2), sides, ("spread", "beside"), strict=True
    ):
        with column:
            rows, columns = spread.layout.input_px
            st.text(
                f"{called}: {spread.count:,} pictures, {model_title(spread.model)}, "
                f"{rows} × {columns} px"
            )
            page.plot(
                SPREAD.plot(spread, width=width, **limits),
                key=f"{key}_spread",
                alt=f"{STATISTICS[title].title} of every head of {called}, with quantiles",
                on_pick=state.pick_head,
            )
            exports.offer(SPREAD, spread, name=called, suffix=f"_{key}", **limits)


def show_difference(of: Head, other: str, folder: Path) -> None:
    """One head in both, and where they have the same pictures the paired difference."""
    survey, there = surveyed.opened(of.folder), surveyed.opened(folder)
    st.divider()
    st.subheader(plain(f"{of.survey} and {other}"), anchor=False)
    names = of.survey, other
    try:
        check_units(survey, there, of.statistic)
        layers, heads = there.statistics[of.statistic].mean.shape
        if of.layer < layers and of.head < heads:
            survey_groups.show_head(
                of,
                *(
                    surveyed.of_head(each, of.statistic, of.layer, of.head, over=name)
                    for each, name in ((of.folder, of.survey), (folder, other))
                ),
                what="_surveys",
            )
        record = surveyed.beside(of.folder, folder, of.statistic, names)
    except InspectError as refusal:
        st.caption(plain(f"No difference of heads: {refusal}"))
        return
    page.plot(
        DIFFERENCE.plot(record),
        key="surveys_of_heads",
        alt=f"Effect size of every head between {of.survey} and {other}",
        on_pick=state.pick_head,
    )
    exports.offer(DIFFERENCE, record, name=f"{of.survey} and {other}", suffix="_surveys")
