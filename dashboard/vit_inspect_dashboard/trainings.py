"""What does the page of surveys show of a training? Its curves, and the survey of one step."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from vit_inspect.figures.head_statistics import STATISTICS
from vit_inspect.figures.layer_steps import FIGURE as LAYER_STEPS
from vit_inspect.figures.layer_steps import QUANTITIES
from vit_inspect.figures.steps import FIGURE as STEPS
from vit_inspect.surveys.steps import done_steps
from vit_inspect_dashboard import address, controls, exports, page, surveyed
from vit_inspect_dashboard.components import screen

STEP, CURVES = "training_step", "curves"
"""Where the address holds them."""

ALL = "All layers"


def at_step(name: str, folder: Path) -> tuple[str, Path]:
    """Name and folder of the survey that is shown: of a training, that of the chosen step."""
    if not surveyed.is_training(folder):
        return name, folder
    # What does not fit together is refused before a step of it is shown.
    surveyed.steps(folder)
    folders = done_steps(folder)
    options = list(folders)
    with st.container(width="content"):
        step = st.selectbox(
            "Step",
            options,
            format_func="{:,}".format,
            width=170,
            help="The step of the training whose survey is shown below the curves. Previous and "
            "next step: keys B and F.",
            **address.one_of(STEP, options, start=options[-1]),
        )
        with st.container(horizontal=True, gap="small", width="content"):
            controls.step_buttons(STEP, options, step, keys=("B", "F"), what="step")
    return surveyed.of_step(folder, folders[step]), folders[step]


def show_curves(folder: Path, statistic: str) -> None:
    """How a statistic changes over the steps, where the folder is of a training."""
    if not surveyed.is_training(folder):
        return
    result = surveyed.steps(folder)[statistic]
    layers = {ALL: None} | {f"Heads of layer {each}": each for each in range(result.mean.shape[1])}
    curves = st.selectbox(
        "Curves",
        list(layers),
        width=260,
        help="A curve of each layer, the mean over its heads; or one of each head of a layer.",
        **address.one_of(CURVES, layers, start=ALL),
    )
    layer = layers[str(curves)]
    what = "every layer" if layer is None else f"every head of layer {layer}"
    page.plot(
        STEPS.plot(result, layer=layer),
        key="curves_over_steps",
        alt=f"{STATISTICS[statistic].title} of {what} over {len(result.step)} steps",
        on_pick=_pick_layer if layer is None else _pick_head,
    )
    st.caption(screen.in_words("Click a point: below is the survey of that step."))
    suffix = "" if layer is None else f"_L{layer}"
    exports.offer(STEPS, result, name=folder.resolve().name, suffix=suffix, layer=layer)


def show_layers(folder: Path, quantity: str) -> bool:
    """How a number of each layer changes over the steps; returns whether there is one."""
    if not surveyed.is_training(folder):
        return False
    result = surveyed.layer_steps(folder).get(quantity)
    if result is None:
        return False
    page.plot(
        LAYER_STEPS.plot(result),
        key="layers_over_steps",
        alt=f"{QUANTITIES[quantity].axis} of every layer over {len(result.step)} steps",
        on_pick=_pick_layer,
    )
    st.caption(screen.in_words("Click a point: below is the survey of that step."))
    exports.offer(LAYER_STEPS, result, name=folder.resolve().name, suffix=f"_{quantity}")
    return True


def _pick_layer(picked: list[int]) -> None:
    """What a click on a point of a layer does."""
    step, layer, *_ = picked
    address.put(**{STEP: step, "layer": layer})


def _pick_head(picked: list[int]) -> None:
    """What a click on a point of a head does."""
    step, layer, head = picked
    address.put(**{STEP: step, "layer": layer, "head": head})
