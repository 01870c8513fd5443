"""View: how do the figures get into a paper?"""

from __future__ import annotations

import shlex
from functools import partial

import streamlit as st

import vit_inspect as vi
from vit_inspect.catalog import FIGURES
from vit_inspect_dashboard import as_python, models, offers, page, records, state
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
st.download_button(
    "Download the archive",
    partial(records.archive, subject),
    file_name=f"vit_inspect_{file_stem(page.title_of(subject))}.zip",
    mime="application/zip",
    on_click="ignore",
    type="primary",
    icon=":material/folder_zip:",
    help="It is made when you click, which takes some seconds.",
)
st.text(f"{page.title_of(subject)}, {height} × {width} px")
st.divider()
if offers.is_in_memory(subject.model):
    st.markdown("**The same in Python**")
    lines = [*as_python.capture_lines(subject), 'vi.export(capture, "out")']
    st.code("\n".join(lines), language="python")
else:
    st.markdown("**The same from a terminal**")
    words = ["python", "-m", "vit_inspect", "figures"]
    words += [subject.picture.key if subject.picture.key in vi.SAMPLES else "PHOTO", "--out", "out"]
    words += models.options(subject)
    words += [] if subject.size is None else ["--img-size", str(subject.size)]
    words += [] if subject.stage is None else ["--stage", str(subject.stage)]
    st.code(shlex.join([*words, "--fit", subject.fit]), language="sh")
    st.caption(f"With --thorough it also makes {slow}.")
st.markdown("**One figure at a time**")
st.write("The page of each figure has an Export button. It saves the figure as you see it.")
