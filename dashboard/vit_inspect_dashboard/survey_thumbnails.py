"""How are pictures of a survey shown, so that a click opens them in Explore?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import streamlit as st

from vit_inspect.errors import InspectError, OutOfMemory
from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.figures.looks import place_name
from vit_inspect.pictures.reading import printable
from vit_inspect_dashboard import pictures, state, surveyed
from vit_inspect_dashboard.wording import plain

FIRST = 6
"""Pictures of a group that are shown; of the others is told how many they are."""
WIDTH_PX = 150


class Head(NamedTuple):
    """A statistic of one head of a survey."""

    survey: str
    folder: Path
    statistic: str
    layer: int
    head: int

    def values(self) -> np.ndarray:
        """Of all pictures, NaN for those without numbers."""
        return surveyed.values(self.folder, self.statistic, self.layer, self.head)


def show(of: Head, numbers: Iterable[int], *, key: str) -> None:
    """Small pictures in a row, each with its value; `key` tells this row from others."""
    entries, values = surveyed.opened(of.folder).entries, of.values()
    words, gone = STATISTICS[of.statistic].words, "This picture is gone."
    with st.container(horizontal=True, key=f"{key}_pictures"):
        for number in numbers:
            picture = pictures.of_entry(of.survey, of.folder, number)
            with st.container(width=WIDTH_PX):
                if picture is None:
                    st.caption(gone)
                    continue
                try:
                    st.image(pictures.thumbnail(picture.key, picture.read), width=WIDTH_PX)
                except OutOfMemory:
                    raise
                except InspectError:
                    # It was there when the survey was made.
                    st.caption(gone)
                st.button(
                    plain(printable(entries[number].name)),
                    key=f"{key}_{number}",
                    on_click=state.open_picture,
                    args=(picture.name, of.layer, of.head),
                    help=f"Open it in Explore at {place_name(of.layer, of.head)}",
                )
                st.caption(words.format(values[number]))


def show_group(of: Head, name: str, numbers: Sequence[int] | np.ndarray, *, key: str) -> None:
    """The first pictures of a group, the highest value first, and how many more there are."""
    values = of.values()[numbers]
    order = np.asarray(numbers)[np.argsort(-values, kind="stable")]
    known = order[: int((~np.isnan(values)).sum())].tolist()
    count = "1 picture" if len(known) == 1 else f"{len(known):,} pictures"
    st.markdown(f"**{plain(name)}: {count}**, the highest values first")
    show(of, known[:FIRST], key=key)
    if len(known) > FIRST:
        st.caption(f"and {len(known) - FIRST:,} more")
