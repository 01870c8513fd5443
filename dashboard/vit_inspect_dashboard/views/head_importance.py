"""View: what does the output depend on? Parts are ablated, and the model runs again."""

from __future__ import annotations

from typing import get_args

import numpy as np
import streamlit as st

import vit_inspect as vi
from vit_inspect.analyses.ablation import Replacement
from vit_inspect.figures import ablation
from vit_inspect.figures.head_importance import FIGURE
from vit_inspect.records.names import place_name
from vit_inspect_dashboard import (
    controls,
    exports,
    models,
    page,
    picker,
    records,
    state,
    survey,
    trials,
)
from vit_inspect_dashboard.components import screen
from vit_inspect_dashboard.wording import query_name

subject = state.current()
place = page.heading(FIGURE.title, FIGURE.question)
# What waits for the device has a place of its own, so that nothing moves when it need not wait.
waiting = st.container()
with waiting:
    capture = models.capture(subject)
layout = capture.layout
layers, heads = capture.layer_count, capture.head_count
every_head = {place_name(*each): each for each in np.ndindex(layers, heads)}
every_token = {
    query_name(each, layout): each for each in (*layout.prefix, *np.ndindex(layout.grid))
}

st.markdown("**Ablate parts of the model**")
above, below = page.controls_and_picture()
columns = above.columns([3, 2, 3, 2], vertical_alignment="bottom")
with columns[0]:
    off_heads = controls.choose_many(
        "off_heads",
        "Heads",
        every_head,
        help=screen.in_words(
            "Single attention heads. You can also click one in the map of all heads below."
        ),
        placeholder="None",
    )
with columns[1]:
    off_layers = controls.choose_many(
        "off_layers",
        "Whole layers",
        {f"Layer {layer}": layer for layer in range(layers)},
        help="All attention heads of a layer at once. Layers count from 0.",
        placeholder="None",
    )
with columns[2]:
    off_tokens = controls.choose_many(
        "off_tokens",
        "Tokens",
        every_token,
        help=screen.in_words(
            "Patches and special tokens, as they enter the first block. You can also click a patch."
        ),
        placeholder="None",
    )
with columns[3]:
    replacement: Replacement = controls.choose(
        "replacement",
        "Replaced by",
        get_args(Replacement),
        help="'mean' replaces the output of a head by its mean over all tokens of this picture, "
        "and a token by the mean of the patches. 'zero' replaces by 0, which the model has never "
        "seen.",
    )
with waiting:
    found = records.of_capture(
        vi.ablate,
        subject,
        heads=tuple(off_heads),
        layers=tuple(off_layers),
        tokens=tuple(off_tokens),
        replacement=replacement,
    )
board, answer = below.columns(2, gap="large")
with board:
    patches = [each for each in off_tokens if not isinstance(each, str)]
    page.plot(
        ablation.plot_board(capture.photographs[0], layout.grid, patches, width=500),
        key="board",
        alt=f"The picture cut into patches, {len(patches)} of them ablated",
        on_pick=state.toggle_patch,
    )
    st.caption(
        screen.in_words(
            "Click a patch to ablate it, and again to restore it. Its position embedding is "
            "removed too."
        )
    )
with answer:
    if found.labels[0]:
        page.plot(
            ablation.plot(found),
            key="answer",
            alt="The largest outputs before and after",
        )
    else:
        st.caption(
            "No classifier: the model outputs a feature vector. The numbers below say how much it "
            "changes."
        )
        picker.offer_classes(models.model(subject))
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
            help="|after - before| / |before| of the whole output.",
            width="content",
        )
        if found.off:
            exports.offer(
                ablation.FIGURE,
                found,
                name=f"{page.title_of(subject)}, without {', '.join(found.off)}",
            )
    if found.patch_change.any():
        page.plot(
            ablation.plot_change(found, width=500),
            key="change",
            alt="How far the token of each patch turned away in the last block",
        )

st.divider()
st.markdown("**Ablate every head alone**")
importance = trials.tried_heads(subject, replacement) or survey.when_asked(
    (FIGURE.slug, subject._replace(size=layout.input_px[0]).key, replacement),
    lambda on_progress: trials.try_heads(
        subject,
        replacement,
        lambda done: on_progress(done / len(every_head), f"{done} of {len(every_head)} heads"),
        state.begun("heads"),
    ),
    label="Test every head",
    words=f"Ablates each of the {len(every_head)} heads alone: the model runs as many times.",
)
if importance is not None:
    page.plot(
        FIGURE.plot(importance, marked=off_heads),
        key="importance",
        alt=f"The effect of ablating each head of {subject.model_title}",
        on_pick=state.toggle_head,
    )
    st.caption(
        screen.in_words(
            "Click a head, in the map or in the list, to ablate it above, and again to restore it."
        )
    )
    with place:
        exports.offer(FIGURE, importance, name=page.title_of(subject))
page.explain(FIGURE)
