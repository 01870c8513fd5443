"""Which two groups of a survey's pictures are compared, and how do they differ?"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import streamlit as st

import vit_inspect as vi
from vit_inspect.errors import InspectError
from vit_inspect.figures import looks
from vit_inspect.figures.group_difference import FIGURE as DIFFERENCE
from vit_inspect.figures.group_distribution import FIGURE as DISTRIBUTION
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.surveys.results import MOST_LABELS
from vit_inspect_dashboard import (
    address,
    controls,
    exports,
    page,
    state,
    survey_thumbnails,
    surveyed,
)
from vit_inspect_dashboard.components import screen
from vit_inspect_dashboard.survey_thumbnails import Head
from vit_inspect_dashboard.wording import plain

NONE, LABELS, CORRECT, RANGE = "none", "two labels", "correct and wrong", "a range of values"
OTHERS = "all others"
PERCENT = list(range(101))
UPPER = (75, 100)
"""The range at first: the upper quarter of the pictures."""


class Groups(NamedTuple):
    """Two groups of pictures by their numbers, what they are called, and what to know of them."""

    names: tuple[str, str]
    numbers: tuple[np.ndarray, np.ndarray]
    words: str = ""


def show(of: Head) -> None:
    """Two groups are chosen, or none; how they differ."""
    st.divider()
    st.subheader("Compare groups of pictures", anchor=False)
    ways = [NONE, RANGE]
    labels, correct = surveyed.labels(of.folder), surveyed.correct(of.folder)
    # More are no classes but texts, and no list that anybody reads.
    if 1 < len(labels) <= MOST_LABELS:
        ways.insert(1, LABELS)
    if {0, 1} <= set(correct.tolist()):
        ways.insert(-1, CORRECT)
    way = controls.choose(
        "groups",
        "Groups",
        ways,
        help="Two labels of the survey, what the model classified correctly against the rest, or "
        "the pictures for which the head above has values in a range against the rest.",
    )
    if way == NONE:
        return
    if way == LABELS:
        chosen = _of_labels(labels)
    elif way == CORRECT:
        chosen = _of_correct(of.folder, correct)
    else:
        chosen = _of_range(of)
    with page.refusals():
        _compare(of, chosen)


def _of_labels(labels: dict[str, np.ndarray]) -> Groups:
    with st.container(horizontal=True):
        first = _choose_label("first_label", "First group", list(labels), labels)
        rest = [OTHERS, *(each for each in labels if each != first)]
        second = _choose_label("second_label", "Second group", rest, labels, start=rest[1])
    numbers = labels.get(second)
    if numbers is None:
        numbers = np.concatenate([labels[each] for each in rest[1:]])
    return Groups((first, second), (labels[first], numbers))


def _choose_label(
    key: str,
    label: str,
    options: list[str],
    labels: dict[str, np.ndarray],
    start: str | None = None,
) -> str:
    return str(
        st.selectbox(
            label,
            options,
            format_func=lambda each: f"{each} ({len(labels[each]):,})" if each in labels else each,
            width=260,
            help="The label that the survey has of its pictures.",
            **address.one_of(key, options, start=start or options[0]),
        )
    )


def _of_correct(folder: Path, correct: np.ndarray) -> Groups:
    unknown = int((correct < 0).sum()) - len(surveyed.opened(folder).refused)
    words = f"{unknown:,} more have no label that names a class of the model." if unknown else ""
    groups = np.flatnonzero(correct == 1), np.flatnonzero(correct == 0)
    return Groups(("correct", "wrong"), groups, words)


def _of_range(of: Head) -> Groups:
    values, statistic = of.values(), STATISTICS[of.statistic]
    at = np.nanquantile(values, np.array(PERCENT) / 100)
    st.caption(plain(f"{statistic.title} of {looks.place_name(of.layer, of.head)}"))
    with st.container(horizontal=True):
        ends = [
            st.select_slider(
                label,
                PERCENT,
                width=300,
                format_func=lambda share: f"{looks.number(at[share])} ({share}%)",
                help="A value of this head, and the share of the pictures that are below it. "
                "Another head has the same share, and another value.",
                **address.one_of(key, PERCENT, start=start),
            )
            for key, label, start in zip(("from", "to"), ("From", "To"), UPPER, strict=True)
        ]
    low, high = sorted(ends)
    # What is not a number counts in neither.
    inside = (values >= at[low]) & (values <= at[high])
    words = (
        f"The pictures were chosen by {looks.place_name(of.layer, of.head)}, so this head differs "
        "by choice: look at the others."
    )
    name = f"values {looks.number(at[low])} to {looks.number(at[high])}"
    return Groups((name, OTHERS), (np.flatnonzero(inside), np.flatnonzero(~inside)), words)


def _compare(of: Head, chosen: Groups) -> None:
    record = surveyed.compared(of.folder, of.statistic, chosen.numbers, chosen.names)
    page.plot(
        DIFFERENCE.plot(record),
        key="groups_of_heads",
        alt=f"Effect size of every head between {chosen.names[0]} and {chosen.names[1]}",
        on_pick=state.pick_head,
    )
    st.caption(
        screen.in_words("Click a cell or a dot: its two groups are below.")
        + f" {plain(chosen.words)}"
    )
    exports.offer(DIFFERENCE, record, name=of.survey)
    show_head(
        of,
        *(
            surveyed.of_head(
                of.folder, of.statistic, of.layer, of.head, over=name, pictures=numbers
            )
            for name, numbers in zip(chosen.names, chosen.numbers, strict=True)
        ),
    )
    for key, name, numbers in zip(("first", "second"), chosen.names, chosen.numbers, strict=True):
        survey_thumbnails.show_group(of, name, numbers, key=key)


def show_head(of: Head, first: vi.HeadValues, second: vi.HeadValues, *, what: str = "") -> None:
    """One head's distributions in two groups; that there is none of a group is told.

    what: tells it from other groups of the page, also in the names of files.
    """
    try:
        both = vi.head_groups(first, second)
    except InspectError as refusal:
        st.caption(plain(str(refusal)))
        return
    page.plot(
        DISTRIBUTION.plot(both),
        key=f"both_groups{what}",
        alt=f"{looks.place_name(of.layer, of.head)} in both groups, as two histograms",
    )
    exports.offer(DISTRIBUTION, both, name=of.survey, suffix=f"_L{of.layer}_H{of.head}{what}")
