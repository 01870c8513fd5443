"""Page: how does a photograph become an answer? Eight steps for a first look."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import streamlit as st

import vit_inspect as vi
from dashboard import cache, selection, widgets
from dashboard.explorer import explorer, rows_of_head
from vit_inspect.errors import UnsupportedModel
from vit_inspect.figures import position_similarity as position_figure
from vit_inspect.figures.overlay import plot_input
from vit_inspect.results import PositionSimilarity

widgets.leave_for_picked_head()
subject = widgets.current()
model, capture = cache.model(subject), cache.capture(subject)
layout, photograph = capture.layout, capture.photographs[0]
(rows, columns), depth = layout.grid, len(capture.layers)
middle = rows // 2, columns // 2


class Step(NamedTuple):
    """A title, two sentences, what shows it, and the page that goes on from there."""

    title: str
    words: str
    show: Callable[[], None]
    page: str


def show_patches() -> None:
    """The photograph, cut up."""
    widgets.plot(
        plot_input(photograph, layout.grid, width=760),
        key="tour_patches",
        alt="The picture, the part that the model saw cut into patches, the rest shaded",
    )


def show_filters() -> None:
    """What a patch is compared with."""
    spec = widgets.SPECS["embedding_filters"]
    widgets.plot(
        spec.plot(cache.result(spec, subject)),
        key="tour_filters",
        alt=f"Principal components of the filters of {subject.model}",
    )


def show_positions() -> None:
    """What is known of places, in whichever way the model knows them."""
    for slug in ("position_similarity", "position_bias", "rotary_similarity"):
        spec = widgets.SPECS[slug]
        try:
            result = cache.result(spec, subject)
        except UnsupportedModel:
            continue
        if isinstance(result, PositionSimilarity):
            table = result.similarity.shape
            figure = position_figure.plot_tile(result, (table[0] // 2, table[1] // 2))
        else:
            figure = spec.plot(result)
        widgets.plot(figure, key="tour_positions", alt=f"{spec.title} of {subject.model}")
        return
    st.info("This model is told nothing of places, in any of the ways that are known here.")


def show_attention() -> None:
    """Where the patch under the cursor looks."""
    heads = capture.layers[0].queries.shape[1]
    with st.container(horizontal=True):
        layer = selection.choose_number(
            "layer", "Layer", range(depth), start=depth - 1, keys=("J", "K")
        )
        head = selection.choose_number(
            "head", "Head", range(1, heads + 1), start=1, keys=("H", "L")
        )
    maps = cache.result(widgets.SPECS["attention_maps"], subject, query=middle)
    # The whole width would be higher than a screen.
    place, _ = st.columns([3, 2])
    with place:
        explorer(
            rows_of_head(capture, maps, middle, layer, head - 1),
            pinned=middle,
            limit=None,
            key="tour_attention",
            on_pick=partial(selection.pick_patch, layout),
        )


def show_distance() -> None:
    """How far every head looks."""
    spec = widgets.SPECS["attention_distance"]
    widgets.plot(
        spec.plot(cache.result(spec, subject, definition="paper")),
        key="tour_distance",
        alt=f"Mean attention distance of every head of {subject.model}",
        on_pick=selection.leave_for_head,
    )


def show_features() -> None:
    """Tokens as colours."""
    spec = widgets.SPECS["feature_pca"]
    layer = st.slider("After layer", 0, depth - 1, depth - 1, key="tour_layer", width=420)
    widgets.plot(
        spec.plot(cache.result(spec, subject, layer=layer)),
        key="tour_features",
        alt=f"What the tokens of {subject.model} hold after layer {layer}, as colours",
    )


def show_rollout() -> None:
    """What attention carries to the read-out."""
    spec = widgets.SPECS["attention_rollout"]
    start = st.slider("From layer", 0, depth - 1, depth // 2, key="tour_start", width=420)
    widgets.plot(
        spec.plot(cache.result(spec, subject, start_layer=start), width=640),
        key="tour_rollout",
        alt=f"Attention rollout of {subject.model} from layer {start}",
    )


def show_answer() -> None:
    """Classes, or features, and the patches that speak for them."""
    spec = widgets.SPECS["attention_relevance"]
    picture, answer = st.columns([3, 2], gap="large")
    target = None
    with answer:
        if model.labels is None:
            st.write(
                f"This model gives no names, but {capture.output.shape[-1]} numbers that describe "
                "the picture: pictures that are alike get similar ones."
            )
        else:
            found = vi.predictions(capture)
            names = dict(zip(found.class_index[0].tolist(), found.labels[0], strict=True))
            target = st.radio("What speaks for", list(names), format_func=names.__getitem__)
            for name, share in zip(found.labels[0], found.probability[0].tolist(), strict=True):
                st.progress(share, text=f"{name}: {share:.1%}")
    with picture:
        widgets.plot(
            spec.plot(cache.result(spec, subject, target=target), width=600),
            key="tour_relevance",
            alt=f"Patches that speak for the answer of {subject.model}",
        )


STEPS = (
    Step(
        "A photograph becomes patches",
        f"The model sees {layout.input_px[0]} × {layout.input_px[1]} pixels and cuts them into "
        f"{rows} × {columns} = {layout.patch_count} squares. From here on it works with squares, "
        "as a language model works with words.",
        show_patches,
        "overview",
    ),
    Step(
        "Each patch becomes a token",
        f"Filters learned in training turn a square into "
        f"{capture.tokens[0].shape[-1] if capture.tokens else 'some hundred'} numbers, its token. "
        "The tiles are the main patterns among these filters, the strongest first.",
        show_filters,
        "embedding_filters",
    ),
    Step(
        "Tokens are told where they lie",
        "A token alone does not know its place, so the model adds or turns in what it has learned "
        "of places. The bright spot says that near places look alike to the model.",
        show_positions,
        "position_similarity",
    ),
    Step(
        "Tokens look at each other",
        "In every layer several heads let each token gather from all others, with weights that sum "
        "to 1. Point at a square to see where it looks, and try other layers and heads.",
        show_attention,
        "attention_maps",
    ),
    Step(
        "Some heads look near, others far",
        "Each dot is one head: how far it looks on average. Convolutions only look near in their "
        "first layers, but here near and far are mixed; click a dot to see that head.",
        show_distance,
        "attention_distance",
    ),
    Step(
        "Layer by layer, tokens come to hold things",
        "Squares with similar tokens have similar colours. Go back to the first layers to see what "
        "begins as colour and place become things and their parts.",
        show_features,
        "feature_pca",
    ),
    Step(
        "What reaches the answer",
        f"The model answers from its {layout.readout_words}. Bright squares are those that "
        "attention carries there through the layers; go back to the first one for the whole way.",
        show_rollout,
        "attention_rollout",
    ),
    Step(
        "The answer, and what speaks for it",
        "Last comes the answer. Bright squares are those that speak for it, by how much a little "
        "more attention to them would raise it.",
        show_answer,
        "attention_relevance",
    ),
)

widgets.heading("Tour", "How does a photograph become an answer?")
number = selection.choose_step(len(STEPS))
step = STEPS[number - 1]
st.header(f"{number}. {step.title}", anchor=False)
st.write(step.words)
st.page_link(
    widgets.VIEWS / f"{step.page}.py", label="More of this", icon=":material/arrow_forward:"
)
step.show()
