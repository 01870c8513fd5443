"""How does a figure leave the page? As a file, printed as a journal wants it, and as Python."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

import streamlit as st

from vit_inspect.errors import BadParameter
from vit_inspect.exporting.render import FORMATS, render
from vit_inspect.exporting.saving import PRINT_FORMATS
from vit_inspect.figures.figure import FigureSpec, Record
from vit_inspect.figures.printing import USUAL_IN, Font, Print
from vit_inspect_dashboard import address, page
from vit_inspect_dashboard.pictures import Picture
from vit_inspect_dashboard.state import Subject
from vit_inspect_dashboard.wording import file_stem, plain

OWN = "as it is"
"""The width of a figure for which no other is chosen."""

MEDIA = {
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "png": "image/png",
    "html": "text/html",
    "npz": "application/octet-stream",
    "csv": "text/csv",
}
USES = (
    ("For print", PRINT_FORMATS),
    ("Interactive", ("html",)),
    ("The numbers", ("npz", "csv")),
)


def offer(
    figure: FigureSpec[Record],
    record: Record,
    *,
    name: str,
    suffix: str = "",
    image: int | None = None,
    label: str = "Export",
    formats: Sequence[str] = FORMATS,
    print: Print | None = None,
    **look: Any,
) -> None:
    """A button that opens the formats; each file is made when it is clicked, and looks as shown.

    name: what the record is of, for the name of the file; suffix: stands after the figure's name.
    image: which of the record's pictures, where each has a button of its own that `label` tells;
        None for the record as it is.
    print: how it is printed, where the page has asked already.
    """
    key = f"{figure.slug}{suffix}_{image}"
    with st.popover(f":material/download: {plain(label)}", help="This figure as a file"):
        if print is None:
            try:
                print = choose_print(key)
            except BadParameter as refusal:
                st.error(plain(str(refusal)))
                return
        for use, kinds in USES:
            offered = [each for each in kinds if each in formats]
            with st.container(horizontal=True, vertical_alignment="center"):
                if offered:
                    st.caption(use, width=90)
                for kind in offered:
                    st.download_button(
                        kind.upper(),
                        partial(render, figure, record, kind, image=image, print=print, **look),
                        file_name=f"{file_stem(name)}_{figure.slug}{suffix}.{kind}",
                        mime=MEDIA[kind],
                        on_click="ignore",
                        key=f"export_{key}_{kind}",
                    )


def choose_print(key: str, *, titled: bool = True) -> Print:
    """How figures are printed: one choice for all pages, which the address holds.

    key: tells these controls from others of the page. titled: whether the figure has a title.

    Raises `BadParameter` for a width that is none.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        width = st.selectbox(
            "Width in inches",
            widths := [OWN, *map(str, USUAL_IN)],
            accept_new_options=True,
            width=130,
            help="3.25 is a column of two, 5.5 the text of a page, 6.9 both columns. Type any "
            "other. No word becomes smaller.",
            **address.one_of("width", widths, start=OWN, typed=True, control=f"{key}_width"),
        )
        font = st.selectbox(
            "Font",
            fonts := get_args(Font),
            format_func=str.title,
            width=175,
            help="That of your text: Times for most journals, Computer Modern for LaTeX.",
            **address.one_of("font", fonts, start=fonts[0], control=f"{key}_font"),
        )
    with st.container(horizontal=True):
        title = not titled or st.toggle(
            "Title",
            help="The model, and what the figure is.",
            **address.one_of("title", (True, False), start=True, control=f"{key}_title"),
        )
        caption = st.toggle(
            "Caption",
            help="The words about the figure. Without them you write your own.",
            **address.one_of("caption", (True, False), start=True, control=f"{key}_caption"),
        )
    return Print(_inches(width), font, title, caption)


def chosen_print() -> Print:
    """The same, for who shows no controls; the usual width in place of one that is none."""
    try:
        width = _inches(address.get("width") or OWN)
    except BadParameter:
        width = None
    fonts: dict[str | None, Font] = {name: name for name in get_args(Font)}
    title, caption = (address.get(each) != "False" for each in ("title", "caption"))
    return Print(width, fonts.get(address.get("font"), "sans"), title, caption)


def _inches(width: str) -> float | None:
    if width == OWN:
        return None
    try:
        return Print(width_in=float(width.replace(",", "."))).width_in
    except ValueError as error:
        raise BadParameter(
            f"the width {width!r}", "a number of inches", "write one such as 3.25"
        ) from error


def offer_each(
    figure: FigureSpec[Record],
    record: Record,
    subject: Subject,
    chosen: Sequence[Picture],
    **look: Any,
) -> None:
    """A button for each picture that a record shows; `look` is as for `offer`."""
    with st.container(horizontal=True, width="content"):
        for image, picture in enumerate(chosen):
            offer(
                figure,
                record,
                name=page.title_of(subject._replace(picture=picture)),
                image=image,
                label="Export" if len(chosen) == 1 else f"Export {picture.name}",
                **look,
            )


def offer_lines(lines: str) -> None:
    """A button that opens lines of Python, to be copied."""
    with st.popover(":material/code: Copy as Python", help="The lines that make what is shown"):
        st.code(lines, language="python", wrap_lines=True)
