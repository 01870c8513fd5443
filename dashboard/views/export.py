"""Page: take everything home."""

from __future__ import annotations

import shlex
from functools import partial

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, widgets
from vit_inspect.catalog import FIGURES

subject = widgets.current()
widgets.heading("Export", "How do the figures get into a paper?")
slow = " and ".join(spec.title for spec in FIGURES if spec.thorough)
st.write(
    "One archive holds the figures of this model and picture: SVG and PDF for print, PNG for "
    "slides, the plotted numbers as NPZ and CSV, a report that opens in any browser, and a file "
    "that says how each was made, down to the hash of the weights. "
    f"{slow}, which run the model many times, are exported on their own pages."
)
height, width = cache.model(subject).layout.input_px
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
st.text(f"{widgets.title_of(subject)}, {height} × {width} px")
st.divider()
st.markdown("**The same from a terminal**")
words = ["python", "-m", "vit_inspect", "figures"]
words += [subject.image if subject.image in vi.SAMPLES else "PHOTO", "--out", "out"]
words += ["--model", subject.model]
words += [] if subject.size is None else ["--img-size", str(subject.size)]
words += [] if subject.stage is None else ["--stage", str(subject.stage)]
st.code(shlex.join([*words, "--fit", subject.fit]), language="sh")
st.caption(f"With --thorough also {slow}.")
st.markdown("**One figure at a time**")
st.write("Each figure's page has an Export button, for the figure as it is shown there.")
