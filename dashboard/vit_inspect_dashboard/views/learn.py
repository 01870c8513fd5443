"""View: how does a photograph become an output? Eight steps for a first look."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import streamlit as st

import vit_inspect as vi
from vit_inspect.analyses.attention_maps import telling_head
from vit_inspect.errors import UnsupportedModel
from vit_inspect.figures import (
    attention_distance,
    embedding_filters,
    position_similarity,
)
from vit_inspect.figures.attention_relevance import WAYS
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.figures.position_bias import FIGURE as POSITION_BIAS
from vit_inspect.figures.rotary_similarity import FIGURE as ROTARY_SIMILARITY
from vit_inspect.loading.bundled import FASHION
from vit_inspect.records.base import Result
from vit_inspect_dashboard import (
    address,
    canvas,
    controls,
    models,
    offers,
    page,
    picker,
    records,
    sheets,
    state,
)
from vit_inspect_dashboard.components import screen
from vit_inspect_dashboard.components.magnifier import magnifier
from vit_inspect_dashboard.sheets import all_rows_fit
from vit_inspect_dashboard.state import HOME
from vit_inspect_dashboard.wording import class_names

SUPPORT_INSIDE = "57%"
"""Of relevance for a garment, over held-out canvases: `python -m tests.benchmarks.truth`."""


class Task(NamedTuple):
    """A question, what to do to find out, and what is found then."""

    question: str
    do: str
    answer: str


# How a model tells its tokens where they lie: the figure that shows it, and what it says.
PLACES: tuple[tuple[FigureSpec[Any], Callable[[vi.Model], Result], str, Task], ...] = (
    (
        position_similarity.FIGURE,
        vi.position_similarity,
        "so the model adds a vector to each token that stands for its position. Each tile is one "
        "position: bright where others have a vector similar to its own.",
        Task(
            "Does the model know which squares are neighbours?",
            screen.in_words(
                "Hover over the tiles from left to right and from top to bottom, and watch the "
                "bright spot of each, shown large."
            ),
            "A spot of several squares that moves along with the tile means yes: near positions "
            "have similar vectors. "
            "Bright rows and columns say that the model knows these, too. A table that was learned "
            "began as noise: training has found out what lies near what.",
        ),
    ),
    (
        POSITION_BIAS,
        vi.position_bias,
        "so each head adds a number to its scores for each offset between two patches. Each tile "
        "is one head: it prefers red offsets from the middle to blue ones.",
        Task(
            "Do all heads prefer what is near?",
            screen.in_words("Hover over")
            + " some tiles of the first layer, and then some of the last one.",
            "A tile that is red around its middle alone prefers near squares. In most trained "
            "models some heads do, others prefer far squares or one direction: these numbers are "
            "learned.",
        ),
    ),
    (
        ROTARY_SIMILARITY,
        vi.rotary_similarity,
        "so the model rotates each token by its position before tokens are compared. At bright "
        "offsets, an equal token still matches the one in the middle of a tile.",
        Task(
            "At which offset do two equal tokens match best?",
            "Compare the tiles with their mean, at the right.",
            "At none: the mean is brightest in its middle, where both are rotated alike. Single "
            "tiles repeat themselves, and only all of them together tell one offset from another.",
        ),
    ),
)
subject = state.current()
model, capture = models.model(subject), models.capture(subject)
layout, photograph = capture.layout, capture.photographs[0]
(rows, columns), depth = layout.grid, capture.layer_count
staged = model.stage_count > 1


class Step(NamedTuple):
    """A title, some sentences, what shows it, the page with the whole figure, and a task."""

    title: str
    words: str
    show: Callable[[], object] | None = None
    page: str | None = None
    task: Task | None = None


def show_patches() -> None:
    """The photograph, cut into patches."""
    page.show_input(photograph, layout.grid)


def show_filters() -> None:
    """What a patch is compared with."""
    page.plot(
        embedding_filters.plot(records.of_model(vi.embedding_filters, subject)),
        key="learn_filters",
        alt=f"Principal components of the filters of {subject.model_title}",
    )


def filter_shares() -> str:
    """How much of the filters the tiles make up, if they can be shown."""
    try:
        found = records.of_model(vi.embedding_filters, subject)
    except UnsupportedModel:
        return ""
    shares = found.explained_variance_ratio[: len(found.components)]
    return (
        f"The first tile makes up {shares[0]:.1%} of the differences between the filters, all "
        f"{len(shares)} together {shares.sum():.1%}. "
    )


def positions() -> tuple[FigureSpec[Any], Result, str, Task] | None:
    """How the model knows positions: as a figure, in words, and what to ask about it."""
    for figure, analyse, words, task in PLACES:
        try:
            return figure, records.of_model(analyse, subject), words, task
        except UnsupportedModel:
            continue
    return None


def show_positions(figure: FigureSpec[Any], result: Result) -> None:
    """The whole figure; small tiles are enlarged under the cursor."""
    show = page.plot if isinstance(result, vi.RotarySimilarity) else magnifier
    show(
        figure.plot(result),
        key="learn_positions",
        alt=f"{figure.title} of {subject.model_title}",
    )


def show_attention() -> None:
    """What the patch under the cursor attends to."""
    readout = telling_head(records.of_capture(vi.attention_maps, subject))
    query = canvas.chosen_query(layout)
    layer = canvas.chosen_number("layer", depth, start=readout[0])
    column = canvas.chosen_column(capture.head_count, start=readout[1])
    canvas.show(
        records.attention_sheet(subject, query, layer, column),
        canvas.invitation(layout, "what each patch attends to"),
    )


def show_distance() -> None:
    """How far every head attends."""
    page.plot(
        attention_distance.plot(
            records.of_capture(vi.attention_distance, subject, definition="paper")
        ),
        key="learn_distance",
        alt=f"Mean attention distance of every head of {subject.model_title}",
        on_pick=state.open_head,
    )


def show_features() -> None:
    """Tokens as colours."""
    layer = canvas.chosen_number("layer", depth, start=depth - 1)
    canvas.show(records.features_sheet(subject, layer), "Tokens as colours, layer by layer.")


def show_rollout() -> None:
    """What attention carries to the output."""
    start = canvas.chosen_number("start", depth, start=depth - 1)
    whole = records.of_capture(vi.attention_rollout, subject)
    canvas.show(
        sheets.rollout(whole, start), "What attention carries to the output.", layer="start"
    )


def show_output() -> int | None:
    """Features, or classes, of which one is chosen where its relevance can be shown."""
    if model.labels is None:
        st.write(
            f"This model is no classifier. It outputs {capture.output.shape[-1]} numbers that "
            "describe the picture: similar pictures get similar numbers. With a classifier you can "
            "ask which patches speak for a class."
        )
        picker.offer_classes(model)
        return None
    found, names = records.of_capture(vi.predictions, subject), class_names(model.labels)
    chosen: int | None = None
    if not staged:
        # By name, as the full page does, which goes on with the class of the address.
        best = {names[index]: index for index in found.class_index[0].tolist()}
        name = st.selectbox(
            "Patches that support",
            list(best),
            **address.one_of("class", best, start=next(iter(best))),
            help="One of the five largest outputs.",
        )
        chosen = best[name]
    page.show_classes(found, names)
    return chosen


def show_support() -> None:
    """The output, and the patches that support it."""
    target = show_output()
    found = records.of_capture(vi.attention_relevance, subject, target=target)
    column = canvas.chosen_name("way", list(WAYS.values()))
    canvas.show(sheets.relevance(found, column), "Which patches support the output?", head="way")


def steps() -> list[Step]:
    """What is said of this model; each sentence is true of it."""
    (height, width), squares = layout.input_px, f"{rows} × {columns} = {layout.patch_count}"
    cut = (
        "cuts them into small squares, which it merges from stage to stage. In this stage there "
        f"are {squares}."
        if staged
        else f"cuts them into {squares} squares, called patches."
    )
    numbers = capture.tokens[0].shape[-1] if capture.tokens and not staged else "many"
    found = positions()
    windows = {each.windows is not None for each in capture.layers}
    inside = " of its window" if windows == {True} else ""
    inside = " (in some layers, only those of its window)" if len(windows) > 1 else inside
    return [
        Step(
            "A photograph becomes patches",
            f"The model sees {height} × {width} pixels and {cut} From here on it works with "
            "squares, as a language model works with words.",
            show_patches,
            "about",
            Task(
                "Does a larger input have more squares, or larger ones?",
                "In the sidebar, choose another 'Model input in px'.",
                f"More of them: a square always has {' × '.join(map(str, layout.cell_px))} px of "
                f"the input. Here they make {rows} rows of {columns}. With twice the side there "
                "are four times as many squares, and each sees a smaller part of the photograph.",
            )
            if not offers.is_in_memory(subject.model)
            else Task(
                "Which part of the photograph does the model see?",
                "In the sidebar, choose 'whole' at 'Model sees', and then 'crop' again.",
                "Of what lies outside of the squares, faded, the model knows nothing. 'whole' "
                "leaves nothing out, but changes proportions. The squares are as many each time: "
                f"{rows} rows of {columns}.",
            ),
        ),
        Step(
            "Each patch becomes a token",
            f"Filters learned in training turn a square into {numbers} numbers, its token. The "
            "tiles are the main patterns among the filters that see the pixels, the strongest "
            "first.",
            show_filters,
            "embedding_filters",
            Task(
                "Do a few patterns make up all filters?",
                "Hover over the first tile, and over the last one: each says its share.",
                f"{filter_shares()}If the first share is large, filters are alike: often they "
                "compare dark with light. If no share stands out, they differ in many ways. With "
                "random weights all tiles are like noise.",
            ),
        ),
        Step(
            "Each token has a position",
            f"A token alone does not know its position, {found[2]}{_resampled(found[1])}",
            partial(show_positions, *found[:2]),
            "position_similarity",
            found[3],
        )
        if found
        else Step(
            "Each token has a position",
            "A token alone does not know its position, so each model has a way to tell it. This "
            "program knows none of the ways that this model uses.",
        ),
        Step(
            "Tokens attend to each other",
            "In every layer, each head lets a token collect information from all tokens"
            f"{inside}, with weights that sum to 1. "
            + screen.in_words("Hover over" if all_rows_fit(layout) else "Click")
            + " a square to see what it attends to, and try other layers and heads.",
            show_attention,
            HOME,
            Task(
                "Do two squares ask for the same?",
                "Tap a square of the object, then one of the background. Then go to other layers "
                "and heads."
                if screen.touched()
                else "Point at a square of the object, then at one of the background. Then press J "
                "and K for other layers, H and L for other heads.",
                "The square that you chose is the query. What every square offers is its "
                "key, and the head says which keys answer which queries. Many heads answer each"
                " query in another way. Some give the same few squares to all: compare them in "
                "the small maps.",
            ),
        ),
        Step(
            "Do heads attend near or far?",
            "Each dot is one head: how far it attends on average. The first layers of a "
            "convolutional network see only what is near; do these heads? "
            + screen.in_words("Click a dot to see that head."),
            show_distance,
            "attention_distance",
            Task(
                "Which head attends nearest, and which one farthest?",
                screen.in_words("Click the lowest dot, and come back. Then click the highest one."),
                "The lowest ones attend to the squares around the query, as a convolution "
                "does. The dashed line is a head that attends to all squares alike. In many "
                "trained models some heads attend far in the first layers already, which no "
                "convolution can.",
            ),
        ),
        Step(
            "Layer by layer, tokens come to describe objects",
            "Squares with similar tokens have similar colours. Go back to the first layers: they "
            "often follow the colours of the photograph, later ones objects and their parts.",
            show_features,
            "feature_pca",
            Task(
                "From which layer on do the parts of one object have one colour?",
                f"Press Play, or go through the layers{'' if screen.touched() else ' by J and K'}.",
                "Early on, squares of one colour in the photograph often have one colour here. "
                "Later, parts of one object do, also where the photograph has other colours. "
                "Colours of two layers cannot be compared: each layer has directions of its own.",
            ),
        ),
        Step(
            "What reaches the output",
            "This model merges its tokens between stages. So attention cannot be followed from "
            "a square through all layers to the output.",
        )
        if staged
        else Step(
            "What reaches the output",
            f"{_reads()} Attention carries squares high on the scale there through the layers. "
            "Go back to layer 0 for the whole way.",
            show_rollout,
            "attention_rollout",
            Task(
                "Which squares reach the output?",
                "Begin with the last layer, and go back to layer 0"
                f"{'' if screen.touched() else ' by K'}.",
                "The last layer alone shows what is read there. From layer 0 on, attention of "
                "all layers is multiplied. It says what could reach the output, not what the "
                "output depends on.",
            ),
        ),
        Step(
            "The output",
            "The output comes last. Which squares support it is not shown, as this model merges "
            "its tokens between stages.",
            show_output,
            "about",
        )
        if staged
        else Step(
            "The output, and what supports it",
            "The output comes last. Squares high on the scale support it: a little more attention "
            "to them would raise it most.",
            show_support,
            "attention_relevance",
            _last_task(),
        ),
    ]


def _last_task() -> Task:
    """What to find out of the squares that support the output."""
    begin = (
        "Now choose + your photo above, and begin again with step 1: what do you expect of each "
        "step?"
    )
    if subject.model == FASHION and subject.picture.key in vi.CANVASES:
        return Task(
            "Which squares speak for this class?",
            "Choose one of the garments in 'Patches that support', then another one.",
            "Mostly those of this garment, and they move with your choice; some lie on others. It "
            "is known what lies where in these pictures, so a map can be judged: over a thousand "
            f"of them, {SUPPORT_INSIDE} of this map lies in the box of the garment, which takes "
            f"25% of the picture. {begin}",
        )
    return Task(
        "Would the output change without the strongest squares?",
        screen.in_words(
            "Open Tests, click the same squares there, and read 'Cosine of the outputs': 1 is no "
            "change."
        ),
        "Often hardly, if only a few are missing: other squares say the same. That is the test of "
        "every map: a strong square that can go without a change of the output was not needed. "
        f"{begin}",
    )


def _resampled(result: Result) -> str:
    """That a table is of another grid than the squares, where it is."""
    if not isinstance(result, vi.PositionSimilarity):
        return ""
    table = result.similarity.shape[:2]
    if table == layout.grid:
        return ""
    return (
        f" The model's own table has {table[0]} × {table[1]} positions; for these {rows} × "
        f"{columns} squares it is resampled."
    )


def _reads() -> str:
    """From which tokens the model computes its output, as a sentence."""
    token = layout.readout
    if token == "cls":
        return "The model reads its output from one special token, the class token (CLS)."
    return f"The model reads its output from the {token}."


page.heading("Learn", "How does a photograph become an output?")
told = steps()
number = controls.choose_step(len(told))
step = told[number - 1]
st.header(f"{number}. {step.title}", anchor=False)
st.write(step.words)
if step.task:
    st.markdown(f"**Question:** {step.task.question}")
    st.markdown(f"**Do:** {step.task.do}")
if step.show:
    step.show()
if step.task:
    with st.expander("Answer"):
        st.write(step.task.answer)
if step.page:
    st.button(
        "Open the full page",
        icon=":material/arrow_forward:",
        type="tertiary",
        on_click=address.put,
        kwargs={"at": step.page},
        help="The figure with all its controls",
    )
