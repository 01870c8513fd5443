"""Page: what does the answer rest on? Parts are switched off, and the model runs again."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import streamlit as st

from dashboard import cache, selection, survey, widgets
from vit_inspect.analyses.ablation import Replacement
from vit_inspect.figures import ablation as ablation_figure

spec, subject = widgets.SPECS["head_importance"], widgets.current()
place = widgets.heading(spec.title, spec.question)
# What waits for the device has a place of its own, so that nothing moves when it need not wait.
waiting = st.container()
with waiting:
    capture = cache.capture(subject)
layout = capture.layout
layers, heads = len(capture.layers), capture.layers[0].queries.shape[1]
every_head = {selection.head_name(*each): each for each in np.ndindex(layers, heads)}
every_token = {
    selection.query_name(each, layout): each for each in (*layout.prefix, *np.ndindex(layout.grid))
}

st.markdown("**Switch off what you like**")
columns = st.columns([3, 2, 3, 2], vertical_alignment="bottom")
with columns[0]:
    off_heads = selection.choose_many(
        "off_heads",
        "Heads",
        every_head,
        help="Single attention heads. Or click one in the map of every head below.",
        placeholder="None",
    )
with columns[1]:
    off_layers = selection.choose_many(
        "off_layers",
        "Whole layers",
        {f"Layer {layer}": layer for layer in range(layers)},
        help="All heads of a layer's attention at once.",
        placeholder="None",
    )
with columns[2]:
    off_tokens = selection.choose_many(
        "off_tokens",
        "Tokens",
        every_token,
        help="Patches and prefix tokens, as they enter the first block. Or click a patch.",
        placeholder="None",
    )
with columns[3]:
    replacement = selection.choose(
        "replacement",
        "Replaced by",
        get_args(Replacement),
        help="'mean': a head's output by its mean over all tokens of this picture, a token by the "
        "mean of the patches. 'zero' is nothing that the model ever met.",
    )
with waiting:
    found = cache.ablation(
        subject,
        heads=tuple(off_heads),
        layers=tuple(off_layers),
        tokens=tuple(off_tokens),
        replacement=replacement,
    )
board, answer = st.columns(2, gap="large")
with board:
    patches = [each for each in off_tokens if not isinstance(each, str)]
    widgets.plot(
        ablation_figure.plot_board(capture.photographs[0], layout.grid, patches, width=500),
        key="board",
        alt=f"The picture cut into patches, {len(patches)} of them switched off",
        on_pick=selection.toggle_patch,
    )
    st.caption("Click a patch to switch it off, or on again. Its position goes with it.")
with answer:
    if found.labels[0]:
        widgets.plot(
            ablation_figure.plot(found),
            key="answer",
            alt="The most probable classes before and after",
        )
    else:
        st.caption("This model has no classes: what changes is the feature that it gives.")
    with st.container(horizontal=True):
        st.metric(
            "Cosine of the outputs",
            f"{found.cosine[0]:.4f}",
            help="Between the whole output before and after: 1 is the same direction.",
            width="content",
        )
        st.metric(
            "Relative change",
            f"{found.relative_change[0]:.2%}",
            help="|after − before| / |before| of the whole output.",
            width="content",
        )
        if found.off:
            off = ", ".join(found.off)
            widgets.export(
                replace(spec, slug="ablation", title="Ablation", draw=ablation_figure.draw),
                found,
                name=f"{widgets.title_of(subject)}, without {off}",
                formats=("svg", "pdf", "png", "npz", "csv"),
            )
    if found.patch_change.any():
        widgets.plot(
            ablation_figure.plot_change(found, width=500),
            key="change",
            alt="How far the last block's token of each patch turned away",
        )

st.divider()
st.markdown("**Every head alone**")
importance = cache.tried_heads(subject, replacement) or survey.when_asked(
    (spec.slug, subject._replace(size=layout.input_px[0]), replacement),
    lambda tell: cache.try_heads(
        subject,
        replacement,
        lambda done: tell(done / len(every_head), f"{done} of {len(every_head)} heads"),
    ),
    label="Test every head",
    words=f"Each of the {len(every_head)} heads is switched off alone: as many runs of the model.",
)
if importance is not None:
    widgets.plot(
        spec.plot(importance, marked=off_heads),
        key="importance",
        alt=f"The effect of switching off each head of {subject.model}",
        on_pick=selection.toggle_head,
    )
    st.caption("Click a head, in the map or in the list, to switch it off above, or on again.")
    with place:
        widgets.export(spec, importance, name=widgets.title_of(subject))
widgets.explain(spec)
