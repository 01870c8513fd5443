"""Which pages are there, and what does every page begin with? Streamlit's main script."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st

from vit_inspect.catalog import FIGURES, Group
from vit_inspect_dashboard import models, page, sidebar, state, told

HERE = Path(__file__).parent


def main() -> None:
    """One run: the menu, the sidebar with the model and the picture, and the chosen page."""
    st.set_page_config(page_title="vit_inspect", page_icon=str(HERE / "icon.png"), layout="wide")
    chosen = st.navigation(
        {
            "": [
                _page("overview", "Overview", default=True),
                _page("tour", "Tour"),
            ],
            "Paper figures": _figures("paper"),
            "Tests": _figures("evidence"),
            "Compare and export": [_page("compare", "Compare"), _page("export", "Export")],
        },
        position="top",
    )
    st.html(HERE / "style.css")
    with page.refusals():
        with st.sidebar:
            picture = sidebar.choose_picture()
            name = sidebar.choose_model()
            said = told.choose(of_a_file=name in models.offered())
            size, fit = sidebar.wanted_size(name), sidebar.choose_fit()
            subject = state.Subject(name, size, fit, picture, said=said)
            model = models.model(subject)
            sidebar.choose_size(subject, model.layout.input_px[0], model.input_step_px[0])
            subject = subject._replace(stage=sidebar.choose_stage(model))
            facts = st.container()
        state.choose(subject)
        chosen.run()
        with facts:
            sidebar.show_facts(subject)


def _figures(group: Group) -> list[st.Page]:
    """The pages of a group's figures, in the order of the catalogue."""
    return [
        _figure(entry.figure.slug, entry.figure.title)
        for entry in FIGURES
        if entry.page is None and entry.group == group
    ]


def _figure(slug: str, title: str) -> st.Page:
    """The page of a figure; a figure without controls of its own needs no file in `views/`."""
    if (page.VIEWS / f"{slug}.py").is_file():
        return _page(slug, title)
    return st.Page(partial(page.figure_page, slug), title=title, url_path=slug)


def _page(name: str, title: str, *, default: bool = False) -> st.Page:
    return st.Page(page.VIEWS / f"{name}.py", title=title, default=default)


if __name__ == "__main__":
    main()
