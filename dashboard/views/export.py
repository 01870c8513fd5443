"""Page: take everything home."""

from __future__ import annotations

import shlex
from functools import partial

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, widgets

subject = widgets.current()
widgets.heading("Export", "How do the figures get into a paper?")
st.write(
    "One archive holds every figure of this model and picture: SVG and PDF for print, PNG for "
    "slides, the plotted numbers as NPZ and CSV, a report that opens in any browser, and a file "
    "that says how each was made, down to the hash of the weights."
)
input_px = cache.model(subject).layout.input_px[0]
st.download_button(
    "Download the bundle",
    partial(cache.archive, subject, inputs.reader(subject.image)),
    file_name=f"vit_inspect_{widgets.file_stem(widgets.title_of(subject))}.zip",
    mime="application/zip",
    on_click="ignore",
    type="primary",
    icon=":material/folder_zip:",
    help="It is made when you click, which takes some seconds.",
)
st.text(f"{widgets.title_of(subject)}, {input_px} px")
st.divider()
st.markdown("**The same from a terminal**")
words = ["python", "-m", "vit_inspect", "figures"]
words += [subject.image if subject.image in vi.SAMPLES else "PHOTO", "--out", "out"]
words += ["--model", subject.model, "--img-size", str(input_px)]
words += [] if subject.stage is None else ["--stage", str(subject.stage)]
st.code(shlex.join([*words, "--fit", subject.fit]), language="sh")
st.markdown("**One figure at a time**")
st.write("Every page has its own Export button, for the figure as it is shown there.")
