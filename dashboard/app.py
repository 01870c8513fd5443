"""The dashboard: `python -m streamlit run dashboard/app.py`."""

from __future__ import annotations

import sys
from pathlib import Path

# Streamlit puts this folder on the path, not the one that holds both packages.
sys.path.insert(0, str(Path(__file__).parents[1]))

import streamlit as st

from dashboard import cache, selection, widgets
from vit_inspect.catalog import FIGURES

st.set_page_config(
    page_title="vit_inspect", page_icon=str(Path(__file__).parent / "icon.png"), layout="wide"
)
figures = {
    group: [
        st.Page(widgets.VIEWS / f"{spec.slug}.py", title=spec.title)
        for spec in FIGURES
        if spec.page is None and spec.group == group
    ]
    for group in ("paper", "evidence")
}
page = st.navigation(
    {
        "": [
            st.Page(widgets.VIEWS / "overview.py", title="Overview", default=True),
            st.Page(widgets.VIEWS / "tour.py", title="Tour"),
        ],
        "The paper's figures": figures["paper"],
        "Evidence": figures["evidence"],
        "Take home": [
            st.Page(widgets.VIEWS / "compare.py", title="Compare"),
            st.Page(widgets.VIEWS / "export.py", title="Export"),
        ],
    },
    position="top",
)
st.html(Path(__file__).parent / "style.css")
with widgets.refusals():
    with st.sidebar:
        image = selection.choose_image()
        name = selection.choose_model()
        size = selection.wanted_size(name)
        fit = selection.choose_fit()
        subject = selection.Subject(name, size, fit, image)
        model = cache.model(subject)
        selection.choose_size(subject, model.layout.input_px[0], model.input_step_px[0])
        subject = subject._replace(stage=selection.choose_stage(model))
        facts = st.container()
    st.session_state["subject"] = subject
    page.run()
    with facts:
        widgets.show_facts(subject)
