"""What is left of a map when nothing was learned? The sanity check with randomised weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from vit_inspect.analyses.faithfulness import rank_correlation
from vit_inspect.figures.faithfulness import control_words
from vit_inspect.figures.figure import FigureSpec, Record
from vit_inspect_dashboard import address, page
from vit_inspect_dashboard.state import Subject


def wanted() -> bool:
    """A switch for the map that `control` shows."""
    return st.toggle(
        "Sanity check: randomised weights",
        help="Shows the same map of the same network with the entries of every weight tensor in a "
        "random order. What is left of the map was not learned.",
        **address.one_of("randomised", (False, True), start=False),
    )


def map_and_control(
    figure: FigureSpec[Record], subject: Subject, make: Callable[[Subject], Record], **told: Any
) -> None:
    """A map once more, and beside it its control, as `control` shows it."""
    learned, randomised = st.columns(2, gap="large")
    with learned:
        page.plot(
            figure.plot(make(subject), width=500),
            key="learned",
            alt=f"The map of {subject.model} with its trained weights",
        )
    with randomised:
        control(figure, subject, make, **told)


def control(
    figure: FigureSpec[Record],
    subject: Subject,
    make: Callable[[Subject], Record],
    *,
    quantity: str,
    about: str = "",
    **look: Any,
) -> None:
    """The same map with randomised weights, and how similar the two maps are.

    make: the record of the subject, and of the same with randomised weights.
    quantity: the record's map. about: what it is for, for the names of files.
    look: how it is shown, as that of the subject.
    """
    other = subject._replace(randomised=True)
    learned, found = make(subject), make(other)
    page.plot(
        figure.plot(found, width=500, **look),
        key="control",
        alt=f"The same map of {subject.model} with randomised weights",
    )
    values, others = (getattr(each, quantity)[0] for each in (learned, found))
    st.write(control_words(rank_correlation(values, others)))
    page.export(
        figure,
        found,
        name=f"{page.title_of(other)} {about}",
        suffix="_control",
        label="Export the control",
        **look,
    )
