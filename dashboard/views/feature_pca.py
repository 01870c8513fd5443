"""Page: what do the patches' tokens hold? As colours, as likeness, and as the model's class."""

from __future__ import annotations

import streamlit as st

from dashboard import cache, inputs, selection, widgets
from vit_inspect.catalog import FigureSpec
from vit_inspect.figures import logit_lens as lens_figure
from vit_inspect.records.base import Result

HOME = widgets.SPECS["feature_pca"]
SHOWN = {
    "colours": HOME,
    "similar patches": widgets.SPECS["token_similarity"],
    "class in every layer": widgets.SPECS["logit_lens"],
}
ALONE = "none"
subject = widgets.current()
head = st.container()
spec = SHOWN[
    selection.choose(
        "tokens",
        "Show tokens as",
        list(SHOWN),
        help="Colours of what varies most, likeness to one patch, or the class that the model's "
        "own head reads from them.",
    )
]
with head:
    place = widgets.heading(HOME.title, spec.question)


def choose_layer(layers: int) -> int:
    """Whose tokens, by number or by key."""
    return selection.choose_number(
        "layer", "Layer", range(layers), start=layers - 1, keys=("J", "K")
    )


def choose_other() -> str | None:
    """Another picture of the sidebar's list, to compare with."""
    return selection.choose_other(
        subject.image,
        key="beside",
        none=ALONE,
        help="Shown beside the one of the sidebar, by the same measure.",
    )


def offer_exports(spec: FigureSpec, result: Result, pictures: list[str]) -> None:
    """A button for each picture that is shown."""
    with place, st.container(horizontal=True):
        for image, picture in enumerate(pictures):
            widgets.export(
                spec,
                result,
                name=widgets.title_of(subject._replace(image=picture)),
                image=image,
                label="Export" if len(pictures) == 1 else f"Export {inputs.name_of(picture)}",
            )


def show_colours(spec: FigureSpec) -> None:
    """The three strongest directions; of two pictures, those that they have in common."""
    with st.container(horizontal=True, vertical_alignment="top"):
        layer = choose_layer(len(cache.model(subject).blocks))
        other = choose_other()
    if other is None:
        result = cache.result(spec, subject, layer=layer)
    else:
        result = cache.beside(spec, subject, other, layer, basis="common")
    for image, photograph in enumerate(result.photographs):
        widgets.plot(
            spec.plot(result, image=image),
            key=f"colours_{image}",
            alt=f"{photograph.name}, and its patches coloured by the tokens of layer {layer}",
        )
    offer_exports(spec, result, [subject.image, *filter(None, [other])])


def show_similarity(spec: FigureSpec) -> None:
    """One patch against all, here and in another picture."""
    with st.container(horizontal=True, vertical_alignment="top"):
        patch = selection.choose_patch(
            cache.model(subject).layout.grid,
            help="The patch that all are compared with. Or click one in the picture.",
        )
        layer = choose_layer(len(cache.model(subject).blocks))
        other = choose_other()
    if other is None:
        result = cache.result(spec, subject, layer=layer, patch=patch)
    else:
        result = cache.beside(spec, subject, other, layer, patch=patch, image=0)
    here, there = st.columns(2, gap="large")
    with here:
        widgets.plot(
            spec.plot(result, width=430),
            key="similar",
            alt=f"Similarity of the patches of {inputs.name_of(subject.image)} to patch {patch}",
            on_pick=selection.pick_token,
        )
        st.caption("Click a patch to compare all with it.")
    if other is not None:
        with there:
            widgets.plot(
                spec.plot(result, image=1, width=430),
                key="similar_there",
                alt=f"Similarity of the patches of {inputs.name_of(other)} to it",
            )
    offer_exports(spec, result, [subject.image, *filter(None, [other])])


def show_lens(spec: FigureSpec) -> None:
    """The class in every layer, and one of them over the photograph."""
    result = cache.result(spec, subject)
    layer = choose_layer(result.readout_rank.shape[1])
    layers, large = st.columns([4, 3], gap="medium")
    with layers:
        widgets.plot(
            spec.plot(result),
            key="lens",
            alt=f"{result.labels[0]} in every layer of {subject.model}, in patches and read-out",
            on_pick=selection.pick_layer,
        )
    with large:
        widgets.plot(
            lens_figure.plot_layer(result, layer, width=370),
            key="lens_layer",
            alt=f"Probability of {result.labels[0]} in the patches of layer {layer}",
        )
        st.caption("Click a map or a bar to see its layer here.")
    with place:
        widgets.export(spec, result, name=widgets.title_of(subject))


show = {
    "feature_pca": show_colours,
    "token_similarity": show_similarity,
    "logit_lens": show_lens,
}
show[spec.slug](spec)
widgets.explain(spec)
