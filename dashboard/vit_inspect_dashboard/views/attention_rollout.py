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
    models,
    page,
    records,
    sanity,
    sheets,
    state,
)

subject = state.current()
layers = len(models.model(subject).blocks)
with st.container(horizontal=True, vertical_alignment="top"):
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
whole = result if start == 0 else rollout(subject, 0)
sheet = sheets.rollout(whole, start)
canvas.show(sheet, FIGURE.question, layer="start")
canvas.export(
    sheet,
    subject,
    about=f"rollout from layer {start}",
    analysis=f"vi.attention_rollout(capture, fusion={fusion!r}, discard={discard / 100}, "
    f"start_layer={start})",
    values="found.relevance",
    label="Export this map",
)
if sanity.wanted():
    sanity.map_and_control(FIGURE, subject, rollout, quantity="relevance")
page.export(FIGURE, result, name=page.title_of(subject))
page.explain(FIGURE)
