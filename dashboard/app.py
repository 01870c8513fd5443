"""Every figure of a photograph on one page: `python -m streamlit run dashboard/app.py`."""

from __future__ import annotations

import streamlit as st

import vit_inspect as vi
from vit_inspect.catalog import FIGURES, analyse
from vit_inspect.errors import InspectError
from vit_inspect.images import SUFFIXES

st.set_page_config(page_title="vit_inspect", layout="wide")


@st.cache_resource(max_entries=2)
def model_of(img_size: int) -> vi.Model:
    """The bundled model, shared by all sessions."""
    return vi.load(img_size=img_size)


def show() -> None:
    """Read a picture, run the model once, and show each figure with its question."""
    upload = st.sidebar.file_uploader("Photograph", type=[suffix[1:] for suffix in SUFFIXES])
    sample = st.sidebar.selectbox("Sample", list(vi.SAMPLES), disabled=upload is not None)
    img_size = st.sidebar.select_slider("Model input (px)", [224, 336, 448, 518])
    image = vi.read_image(upload.getvalue(), name=upload.name) if upload else vi.sample(sample)
    capture = vi.capture(model_of(img_size), image)
    found = analyse(capture)
    st.caption(f"{capture.model.id}, {img_size} px; attention verified to {capture.error:.0e}")
    for spec in FIGURES:
        st.header(spec.title)
        st.write(spec.question)
        result = spec.analyse(capture.model) if spec.scope == "model" else found[spec.slug]
        if isinstance(result, InspectError):
            st.info(str(result))
            continue
        st.plotly_chart(spec.plot(result), theme=None, key=spec.slug)
        st.write(spec.reading)
        st.caption(spec.caveat)


try:
    show()
except InspectError as refusal:
    st.error(str(refusal))
