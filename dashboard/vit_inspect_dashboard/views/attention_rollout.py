"""Page: which patches reach the output through all layers?"""

from __future__ import annotations

from typing import get_args

import streamlit as st

import vit_inspect as vi
from vit_inspect.analyses.attention_rollout import Fusion
from vit_inspect.figures import attention_maps as maps_figure
from vit_inspect.figures.attention_rollout import (
    CONCENTRATED,
    FIGURE,
    plot_growth,
    strongest_share,
)
from vit_inspect_dashboard import controls, models, page, records, sanity, state

subject = state.current()
place = page.heading(FIGURE.title, FIGURE.question)
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
        0,
        5,
        format="%d%%",
        key="discard",
        bind="query-params",
        width=220,
        help="Share of each patch's lowest attention to patches that is set to 0 in every layer.",
    )
    start = controls.choose_start(layers, start=0)


def rollout(of: state.Subject) -> vi.AttentionRollout:
    """As it was asked for, by a model, trained or not."""
    return records.of_capture(
        vi.attention_rollout, of, fusion=fusion, discard=discard / 100, start_layer=start
    )


result = rollout(subject)
count, share = strongest_share(result.relevance[0])
if share > CONCENTRATED:
    st.warning(
        f"{count} of {result.relevance[0].size} patches hold {share:.0%} of the rollout on "
        "patches. Such patches are often artefacts of the model, not objects."
    )
maps = records.of_capture(vi.attention_maps, subject)
whole, last = st.columns(2, gap="large")
with whole:
    page.plot(
        FIGURE.plot(result, width=500), key="rollout", alt=f"Attention rollout of {subject.model}"
    )
with last:
    page.plot(
        maps_figure.plot_mean(maps, layer=layers - 1, width=500),
        key="last",
        alt=f"Attention in the last layer of {subject.model}, mean of heads",
    )
page.plot(
    plot_growth(result),
    key="growth",
    alt="Rollout from each layer to the last, growing with depth",
)
if sanity.wanted():
    sanity.map_and_control(FIGURE, subject, rollout, quantity="relevance")
with place:
    page.export(FIGURE, result, name=page.title_of(subject))
page.explain(FIGURE)
