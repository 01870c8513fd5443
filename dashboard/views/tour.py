"""Page: how does a photograph become an answer? Eight steps for a first look."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import streamlit as st

import vit_inspect as vi
from dashboard import cache, inputs, selection, widgets
from dashboard.explorer import all_rows_fit, explorer, rows_of_head
from vit_inspect.catalog import FigureSpec
from vit_inspect.errors import UnsupportedModel
from vit_inspect.figures import position_similarity as position_figure
from vit_inspect.figures.overlay import plot_input
from vit_inspect.records.base import Result
from vit_inspect.records.paper import PositionSimilarity

# How a model tells tokens where they lie, by the figure that shows it.
PLACES = {
    "position_similarity": "so the model adds to it a vector that stands for its place. Bright "
    "squares have vectors like that of the square in the middle.",
    "position_bias": "so each head adds to its scores what it prefers at each offset. A tile is "
    "one head: it prefers red offsets from the middle to blue ones.",
    "rotary_similarity": "so the model turns it by its place before tokens are compared. Bright "
    "offsets are those at which an equal token still matches the one in a tile's middle.",
}

widgets.leave_for_picked_head()
subject = widgets.current()
model, capture = cache.model(subject), cache.capture(subject)
layout, photograph = capture.layout, capture.photographs[0]
(rows, columns), depth = layout.grid, len(capture.layers)
staged = model.stage_count > 1


class Step(NamedTuple):
    """A title, two sentences, what shows it, and the page that goes on from there."""

    title: str
    words: str
    show: Callable[[], object] | None = None
    page: str | None = None


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


def positions() -> tuple[FigureSpec, Result] | None:
    """What is known of places, in whichever way the model knows them."""
    for slug in PLACES:
        spec = widgets.SPECS[slug]
        try:
            return spec, cache.result(spec, subject)
        except UnsupportedModel:
            continue
    return None


def show_positions(spec: FigureSpec, result: Result) -> None:
    """The whole figure, or of a table the tile of its middle."""
    if isinstance(result, PositionSimilarity):
        table = result.similarity.shape
        figure = position_figure.plot_tile(result, (table[0] // 2, table[1] // 2))
    else:
        figure = spec.plot(result)
    widgets.plot(figure, key="tour_positions", alt=f"{spec.title} of {subject.model}")


def choose_layer() -> int:
    """One of the layers, at first the last one."""
    return selection.choose_number("layer", "Layer", range(depth), start=depth - 1, keys=("J", "K"))


def show_attention() -> None:
    """Where the patch under the cursor looks."""
    heads = capture.layers[0].queries.shape[1]
    with st.container(horizontal=True):
        query = selection.choose_query(
            [(row, column) for row in range(rows) for column in range(columns)],
            layout,
            start=(rows // 2, columns // 2),
        )
        layer = choose_layer()
        head = selection.choose_number(
            "head", "Head", range(1, heads + 1), start=1, keys=("H", "L")
        )
    maps = cache.result(widgets.SPECS["attention_maps"], subject, query=query)
    # The whole width would be higher than a screen.
    place, _ = st.columns([3, 2])
    with place:
        explorer(
            rows_of_head(capture, maps, query, layer, head - 1),
            pinned=query,
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
    layer = choose_layer()
    widgets.plot(
        spec.plot(cache.result(spec, subject, layer=layer)),
        key="tour_features",
        alt=f"What the tokens of {subject.model} hold after layer {layer}, as colours",
    )


def show_rollout() -> None:
    """What attention carries to the read-out."""
    spec = widgets.SPECS["attention_rollout"]
    start = selection.choose_number(
        "start", "First layer", range(depth), start=depth // 2, keys=("J", "K")
    )
    widgets.plot(
        spec.plot(cache.result(spec, subject, start_layer=start), width=640),
        key="tour_rollout",
        alt=f"Attention rollout of {subject.model} from layer {start}",
    )


def tell_answer() -> int | None:
    """Features, or classes, of which one is chosen where its relevance can be shown."""
    if model.labels is None:
        st.write(
            f"This model gives no names, but {capture.output.shape[-1]} numbers that describe "
            "the picture: pictures that are alike get similar ones."
        )
        return None
    found, names, chosen = vi.predictions(capture), inputs.class_names(model.labels), None
    if not staged:
        chosen = st.selectbox(
            "What speaks for",
            found.class_index[0].tolist(),
            format_func=names.__getitem__,
            key="class",
            bind="query-params",
            help="One of the five most probable classes.",
        )
    widgets.show_classes(found, names)
    return chosen


def show_answer() -> None:
    """The answer, and the patches that speak for it."""
    picture, answer = st.columns([3, 2], gap="large")
    with answer:
        target = tell_answer()
    with picture:
        spec = widgets.SPECS["attention_relevance"]
        widgets.plot(
            spec.plot(cache.result(spec, subject, target=target), width=600),
            key="tour_relevance",
            alt=f"Patches that speak for the answer of {subject.model}",
        )


def steps() -> list[Step]:
    """What is told of this model; each sentence is true of it."""
    (height, width), squares = layout.input_px, f"{rows} × {columns} = {layout.patch_count}"
    cut = (
        f"cuts them into small squares, which merge from stage to stage; here there are {squares}."
        if staged
        else f"cuts them into {squares} squares."
    )
    numbers = capture.tokens[0].shape[-1] if capture.tokens and not staged else "many"
    found = positions()
    windows = any(each.windows is not None for each in capture.layers)
    return [
        Step(
            "A photograph becomes patches",
            f"The model sees {height} × {width} pixels and {cut} From here on it works with "
            "squares, as a language model works with words.",
            show_patches,
            "overview",
        ),
        Step(
            "Each patch becomes a token",
            f"Filters learned in training turn a square into {numbers} numbers, its token. The "
            "tiles are the main patterns among the filters that see the pixels, the strongest "
            "first.",
            show_filters,
            "embedding_filters",
        ),
        Step(
            "Each token has its place",
            f"A token alone does not know its place, {PLACES[found[0].slug]}",
            partial(show_positions, *found),
            "position_similarity",
        )
        if found
        else Step(
            "Each token has its place",
            "A token alone does not know its place, so models tell it, each in its own way. In "
            "this one, none of the ways that are known here was found.",
        ),
        Step(
            "Tokens look at each other",
            "In every layer, heads let each token gather from all tokens"
            f"{' of its window' if windows else ''}, with weights that sum to 1. "
            f"{'Point at' if all_rows_fit(layout) else 'Click'} a square to see where it looks, "
            "and try other layers and heads.",
            show_attention,
            "attention_maps",
        ),
        Step(
            "Do heads look near or far?",
            "Each dot is one head: how far it looks on average. Convolutions look only near in "
            "their first layers; do these heads? Click a dot to see that head.",
            show_distance,
            "attention_distance",
        ),
        Step(
            "Layer by layer, tokens come to hold things",
            "Squares with similar tokens have similar colours. Go back to the first layers: what "
            "begins as colour and place often becomes things and their parts.",
            show_features,
            "feature_pca",
        ),
        Step(
            "What reaches the answer",
            "Tokens of this model merge between its stages. So attention cannot be followed from "
            "a square through all layers to the answer, as where squares stay what they are.",
        )
        if staged
        else Step(
            "What reaches the answer",
            f"The model answers from its {layout.readout_words}. Bright squares are those that "
            "attention carries there through the layers; go back to the first one for the whole "
            "way.",
            show_rollout,
            "attention_rollout",
        ),
        Step(
            "The answer",
            "Last comes the answer. Which squares speak for it is not shown, as tokens of this "
            "model merge between its stages.",
            tell_answer,
            "overview",
        )
        if staged
        else Step(
            "The answer, and what speaks for it",
            "Last comes the answer. Bright squares are those that speak for it, by how much a "
            "little more attention to them would raise it.",
            show_answer,
            "attention_relevance",
        ),
    ]


widgets.heading("Tour", "How does a photograph become an answer?")
told = steps()
number = selection.choose_step(len(told))
step = told[number - 1]
st.header(f"{number}. {step.title}", anchor=False)
st.write(step.words)
if step.page:
    st.page_link(
        widgets.VIEWS / f"{step.page}.py", label="More of this", icon=":material/arrow_forward:"
    )
if step.show:
    step.show()
