"""What does every page begin with, and which one is it? Streamlit's main script."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import streamlit as st

from vit_inspect_dashboard import (
    address,
    launched,
    models,
    offers,
    operating,
    page,
    picker,
    pictures,
    places,
    sidebar,
    state,
    texts,
    told,
)
from vit_inspect_dashboard.components.screen import screen
from vit_inspect_dashboard.components.strip import strip
from vit_inspect_dashboard.wording import plain

HERE = Path(__file__).parent


def main() -> None:
    """One run: the places, the sidebar with the model and the picture, and what is open."""
    home = st.Page(_home, title="vit_inspect", default=True)
    old = [_old_page(name) for name in (*places.VIEW_NAMES, *places.OLD)]
    came_to = st.navigation([home, *old], position="hidden").url_path
    address.begin()
    first = places.named(came_to)
    view = places.named(address.chosen("at", places.NAMES, start=first))
    operating.came_to(view)
    place = places.place_of(view)
    st.set_page_config(
        page_title=f"{place.views[view]} - vit_inspect",
        page_icon=str(HERE / "icon.png"),
        layout="wide",
    )
    st.html(HERE / "style.css")
    _choose_place(view, place)
    told_here = st.container()
    try:
        with suppress(page.Ended), page.refusals():
            _show(view, place, told_here)
        if told := address.correct():
            told_here.warning("  \n".join(map(plain, told)))
        screen()
    finally:
        address.finish()


def _show(view: str, place: places.Place, told_here: Any) -> None:
    """The sidebar with the model and the picture, and what is open.

    told_here: a place above it for what is wrong with what was chosen.
    """
    with st.sidebar:
        picture = sidebar.choose_picture(told_here)
        name = picker.choose()
        picker.choose_steps(name)
        said = told.choose(of_a_file=offers.is_file(name))
        size, fit = sidebar.wanted_size(name), sidebar.choose_fit()
        subject = state.Subject(name, size, fit, picture, said=said)
        with page.failed_model(subject, told_here):
            offers.check_unchanged(name)
            model = models.model(subject)
        if model.words is not None:
            texts.choose()
            with page.failed_texts(told_here):
                subject = subject._replace(texts=texts.chosen(), template=texts.template())
                models.model(subject)
        sidebar.choose_size(subject, model.layout.input_px[0], model.input_step_px[0])
        subject = subject._replace(stage=sidebar.choose_stage(model))
        facts = st.container()
    state.choose(subject)
    if place.pictures:
        offered = list(pictures.by_name().values())
        strip(offered, picture, key="strip", on_pick=state.pick_picture)
    places.show(view)
    if view != "about":
        page.tell_notices(subject)
    with facts:
        sidebar.show_facts(subject)


def _choose_place(view: str, place: places.Place) -> None:
    """The places side by side, and the views of the one that is open."""
    titles = {each.title: next(iter(each.views)) for each in places.PLACES}
    _links("place", titles, place.title, "Where to go")
    if len(place.views) > 1:
        views = {title: name for name, title in place.views.items()}
        _links("view", views, place.views[view], f"What is in {place.title}")


def _links(key: str, views: dict[str, str], here: str, label: str) -> None:
    """Titles of views side by side; `here` is where the user is."""
    st.session_state[key] = here
    st.segmented_control(
        label,
        list(views),
        key=key,
        required=True,
        label_visibility="collapsed",
        on_change=state.go,
        args=(key, views),
    )


def _old_page(name: str) -> st.Page:
    """An address of its own for a view, as it had once."""
    return st.Page(_home, title=name, url_path=name)


def _home() -> None:
    """Streamlit wants a function for each address; `main` draws them all."""


if __name__ == "__main__":
    launched.give_back_main()
    main()
