"""Page: does the model know which patches are neighbours?"""

from __future__ import annotations

import streamlit as st

from dashboard import cache, selection, widgets
from dashboard.magnifier import magnifier
from vit_inspect.figures import position_similarity as position_figure

spec, subject = widgets.SPECS["position_similarity"], widgets.current()
place = widgets.heading(spec.title, spec.question)
result = cache.result(spec, subject)
rows, columns = result.similarity.shape[:2]
patches = {
    f"{row + 1}, {column + 1}": (row, column) for row in range(rows) for column in range(columns)
}
middle = f"{rows // 2 + 1}, {columns // 2 + 1}"
patch = st.selectbox(
    "Patch (row, column)",
    list(patches),
    index=list(patches).index(middle),
    key="patch",
    bind="query-params",
    width=190,
    help="The patch whose tile is shown large. Or click a tile; point at one to look at it.",
)
grid, large = st.columns(2, gap="large")
with grid:
    magnifier(
        spec.plot(result),
        key="tiles",
        alt=f"Cosine similarity of the position embeddings of {subject.model}, a tile per patch",
        on_pick=selection.pick_tile,
    )
with large:
    widgets.plot(
        position_figure.plot_tile(result, patches[patch]),
        key="tile",
        alt=f"Cosine similarity of patch {patch} to all patches",
    )
with place:
    widgets.export(spec, result, name=widgets.title_of(subject))
widgets.explain(spec)
