"""View: which patches reach the output through all layers?"""

from __future__ import annotations

from typing import get_args

import streamlit as st

import vit_inspect as vi
from vit_inspect.analyses.attention_rollout import Fusion
from vit_inspect.figures.attention_rollout import (
    CONCENTRATED,
    FIGURE,
    strongest_share,
)
from vit_inspect_dashboard import (
    address,
    canvas,
    controls,
    exports,
    models,
    page,
    records,
    sanity,
    sheets,
    state,
)

subject = state.current()
layers = len(models.model(subject).blocks)
above, below = page.controls_and_picture()
with above, st.container(horizontal=True, vertical_alignment="top"):
    fusion: Fusion = controls.choose(
        "fusion",
        "Combine heads by",
        get_args(Fusion),
        help="The paper takes the mean. With max and min, each row is divided by its sum.",
    )
    discard = st.slider(
        "Discard lowest attention",
        0,
        95,
        step=5,
        format="%d%%",
        **address.one_of("discard", range(0, 96, 5), start=0),
        width=220,
        help="Share of each patch's lowest attention to patches that is set to 0 in every layer.",
    )


def rollout(of: state.Subject, first: int | None = None) -> vi.AttentionRollout:
    """As it was asked for, by a model, trained or not; `first` is another layer to start at."""
    return records.of_capture(
        vi.attention_rollout,
        of,
        fusion=fusion,
        discard=discard / 100,
        start_layer=start if first is None else first,
    )


start = canvas.chosen_number("start", layers, start=0)
result = rollout(subject)
count, share = strongest_share(result.relevance[0])
if share > CONCENTRATED:
    st.warning(
        f"{count} of {result.relevance[0].size} patches hold {share:.0%} of the rollout on "
        "patches. Such patches are often artefacts of the model, not objects."
    )


def sheet(of: state.Subject) -> sheets.Sheet:
    """From each layer on, by a model, trained or not."""
    return sheets.rollout(rollout(of, 0), start)


with below:
    sanity.show(
        subject,
        sheet,
        FIGURE.question,
        layer="start",
        about=f"rollout from layer {start}",
        all_about="rollout from each layer on",
        analysis=f"vi.attention_rollout(capture, fusion={fusion!r}, discard={discard / 100}, "
        f"start_layer={start})",
        values="found.relevance",
    )
    exports.offer(FIGURE, result, name=page.title_of(subject), label="Export the paper's figure")
page.explain(*sanity.words(), FIGURE)
