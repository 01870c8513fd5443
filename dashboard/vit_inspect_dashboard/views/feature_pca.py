"""Page: what do the patches' tokens hold? As colours, as similarity, and as the model's class."""

from __future__ import annotations

from typing import Any

import streamlit as st

import vit_inspect as vi
from vit_inspect.figures import feature_pca, logit_lens, outputs, token_similarity
from vit_inspect.figures.figure import FigureSpec, Record
from vit_inspect_dashboard import controls, models, page, records, state
from vit_inspect_dashboard.pictures import Picture

SHOWN: dict[str, FigureSpec[Any]] = {
    "colours": feature_pca.FIGURE,
    "similar patches": token_similarity.FIGURE,
    "logit lens": logit_lens.FIGURE,
}
ALONE = "none"
subject = state.current()
head = st.container()
shown = controls.choose(
    "tokens",
    "Show tokens as",
    list(SHOWN),
    help="Colours of their main directions, similarity to one patch, or the class that the "
    "model's own head reads from them.",
)
with head:
    place = page.heading(feature_pca.FIGURE.title, SHOWN[shown].question)


def choose_layer() -> int:
    """Whose tokens, by number or by key."""
    return controls.choose_layer(len(models.model(subject).blocks))


def choose_other() -> Picture | None:
    """Another picture of the sidebar's list, to compare with."""
    return controls.choose_other_picture(
        subject.picture,
        key="beside",
        none=ALONE,
        help="Shown beside the picture of the sidebar, by the same measure.",
    )


def offer_exports(figure: FigureSpec[Record], result: Record, chosen: list[Picture]) -> None:
    """A button for each picture that is shown."""
    with place, st.container(horizontal=True):
        for image, picture in enumerate(chosen):
            page.export(
                figure,
                result,
                name=page.title_of(subject._replace(picture=picture)),
                image=image,
                label="Export" if len(chosen) == 1 else f"Export {picture.name}",
            )


def show_colours() -> None:
    """The three strongest directions; of two pictures, those that they have in common."""
    with st.container(horizontal=True, vertical_alignment="top"):
        layer = choose_layer()
        other = choose_other()
    if other is None:
        result = records.of_capture(vi.feature_pca, subject, layer=layer)
    else:
        result = records.beside(vi.feature_pca, subject, other, layer=layer, basis="common")
    for image, photograph in enumerate(result.photographs):
        page.plot(
            feature_pca.plot(result, image=image),
            key=f"colours_{image}",
            alt=f"{photograph.name}, and its patches coloured by the tokens of layer {layer}",
        )
    offer_exports(feature_pca.FIGURE, result, [subject.picture, *filter(None, [other])])


def show_similarity() -> None:
    """One patch compared with all, here and in another picture."""
    with st.container(horizontal=True, vertical_alignment="top"):
        patch = controls.choose_patch(
            models.model(subject).layout.grid,
            help="All patches are compared with this one. You can also click one in the picture.",
        )
        layer = choose_layer()
        other = choose_other()
    if other is None:
        result = records.of_capture(vi.token_similarity, subject, layer=layer, patch=patch)
    else:
        result = records.beside(
            vi.token_similarity, subject, other, layer=layer, patch=patch, image=0
        )
    here, there = st.columns(2, gap="large")
    with here:
        page.plot(
            token_similarity.plot(result, width=430),
            key="similar",
            alt=f"Similarity of the patches of {subject.picture.name} to patch {patch}",
            on_pick=state.pick_token,
        )
        st.caption("Click a patch to compare all patches with it.")
    if other is not None:
        with there:
            page.plot(
                token_similarity.plot(result, image=1, width=430),
                key="similar_there",
                alt=f"Similarity of the patches of {other.name} to it",
            )
    offer_exports(token_similarity.FIGURE, result, [subject.picture, *filter(None, [other])])


def show_lens() -> None:
    """The class in every layer, and one layer over the photograph."""
    result = records.of_capture(vi.logit_lens, subject)
    layer = choose_layer()
    layers, large = st.columns([4, 3], gap="medium")
    with layers:
        page.plot(
            logit_lens.plot(result),
            key="lens",
            alt=f"{result.labels[0]} in every layer of {subject.model}, in patches and output",
            on_pick=state.pick_layer,
        )
    with large:
        page.plot(
            logit_lens.plot_layer(result, layer, width=370),
            key="lens_layer",
            alt=f"{outputs.name(result.outputs)} of {result.labels[0]} in the patches of layer "
            f"{layer}",
        )
        st.caption("Click a map or a bar to see its layer here.")
    with place:
        page.export(logit_lens.FIGURE, result, name=page.title_of(subject))


show = {"colours": show_colours, "similar patches": show_similarity, "logit lens": show_lens}
show[shown]()
page.explain(SHOWN[shown])
