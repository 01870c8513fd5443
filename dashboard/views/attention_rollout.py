"""Page: which patches reach the read-out through all layers?"""

from __future__ import annotations

from typing import get_args

import streamlit as st

from dashboard import cache, selection, widgets
from vit_inspect.analyses.attention_rollout import Fusion
from vit_inspect.figures import attention_maps as maps_figure
from vit_inspect.figures import attention_rollout as rollout_figure

spec, subject = widgets.SPECS["attention_rollout"], widgets.current()
place = widgets.heading(spec.title, spec.question)
layers = len(cache.model(subject).blocks)
with st.container(horizontal=True, vertical_alignment="top"):
    fusion = selection.choose(
        "fusion",
        "Heads are fused by",
        get_args(Fusion),
        help="The paper takes the mean; of max and min, rows are divided by their sums.",
    )
    discard = st.slider(
        "Weakest attention left out",
        0,
        95,
        0,
        5,
        format="%d%%",
        key="discard",
        bind="query-params",
        width=220,
        help="Share of each patch's weakest attention to patches that is dropped in every layer.",
    )
    start = selection.choose_number("start", "First layer", range(layers), start=0, keys=("J", "K"))
options = {"fusion": fusion, "discard": discard / 100, "start_layer": start}
result = cache.result(spec, subject, **options)
count, share = rollout_figure.strongest_share(result.relevance[0])
if share > rollout_figure.CONCENTRATED:
    st.warning(
        f"{count} of {result.relevance[0].size} patches hold {share:.0%} of what is on patches. "
        "These are often artefacts of the model, not objects."
    )
maps = cache.result(widgets.SPECS["attention_maps"], subject)
rollout, last = st.columns(2, gap="large")
with rollout:
    widgets.plot(
        spec.plot(result, width=500), key="rollout", alt=f"Attention rollout of {subject.model}"
    )
with last:
    widgets.plot(
        maps_figure.plot_mean(maps, layer=layers - 1, width=500),
        key="last",
        alt=f"Attention of the read-out in the last layer of {subject.model}, mean of heads",
    )
widgets.plot(
    rollout_figure.plot_growth(result),
    key="growth",
    alt="Rollout from each layer to the last, growing with depth",
)
if widgets.wants_control():
    widgets.map_and_control(
        spec,
        subject,
        lambda other: cache.result(spec, other, **options),
        quantity="relevance",
    )
with place:
    widgets.export(spec, result, name=widgets.title_of(subject))
widgets.explain(spec)
