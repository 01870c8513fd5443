"""View: how do the figures get into a paper?"""

from __future__ import annotations

from functools import partial

import streamlit as st

from vit_inspect.catalog import FIGURES
from vit_inspect.pictures.samples import EVERY
from vit_inspect_dashboard import as_python, exports, models, offers, page, records, state, survey
from vit_inspect_dashboard.wording import file_stem

subject = state.current()
page.heading("Export", "How do the figures get into a paper?")
slow = " and ".join(entry.figure.title for entry in FIGURES if entry.thorough)
st.write(
    "One archive holds all figures of this model and picture: SVG and PDF for print, PNG for "
    "slides, the plotted numbers as NPZ and CSV, and a report that opens in any browser. One more "
    "file says how each figure was made, including the hash of the weights. "
    f"{slow} run the model many times; export them on their own pages."
)
height, width = models.model(subject).layout.input_px
with page.refusals():
    printed = exports.choose_print("archive")
archive = records.kept_archive(subject, printed) or survey.when_asked(
    ("archive", subject.key, printed),
    partial(records.archive, subject, printed),
    label="Make the archive",
    words="It takes some seconds to a minute, by the size of the model and of its input.",
)
if archive is not None:
    st.download_button(
        f"Download the archive ({len(archive) / 1e6:.1f} MB)",
        archive,
        file_name=f"vit_inspect_{file_stem(page.title_of(subject))}.zip",
        mime="application/zip",
        on_click="ignore",
        type="primary",
        icon=":material/folder_zip:",
        help="All figures of this model and picture",
    )
st.text(f"{page.title_of(subject)}, {height} × {width} px")
st.divider()
if offers.is_in_memory(subject.model):
    st.markdown("**The same in Python**")
    told = as_python.print_options(printed)
    options = "".join(f", {name}={value!r}" for name, value in told.items())
    lines = [*as_python.capture_lines(subject), f'vi.export(capture, "out"{options})']
    st.code("\n".join(lines), language="python", wrap_lines=True)
else:
    st.markdown("**The same from a terminal**")
    words = ["python", "-m", "vit_inspect", "figures"]
    words += [subject.picture.key if subject.picture.key in EVERY else "PHOTO", "--out", "out"]
    words += models.options(subject)
    words += [] if subject.size is None else ["--img-size", str(subject.size)]
    words += [] if subject.stage is None else ["--stage", str(subject.stage)]
    words += ["--fit", subject.fit, *as_python.print_words(printed)]
    page.show_command(words)
    st.caption(f"With `--thorough` it also makes {slow}.")
st.markdown("**One figure at a time**")
st.write(
    "The page of each figure has an Export button. A map on the canvas is saved as you see it."
    " Width, font, title and caption are chosen there."
)
