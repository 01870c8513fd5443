"""Page: what does the model know of where a patch lies? As a table, as a bias, or by rotation."""

from __future__ import annotations

import streamlit as st

from dashboard import cache, selection, widgets
from dashboard.magnifier import magnifier
from vit_inspect.catalog import FIGURES, FigureSpec
from vit_inspect.errors import UnsupportedModel
from vit_inspect.figures import position_similarity as position_figure
from vit_inspect.records.base import Result
from vit_inspect.records.paper import PositionBias, PositionSimilarity

HOME = "position_similarity"
subject = widgets.current()


def show_tiles(spec: FigureSpec, result: PositionSimilarity) -> None:
    """All tiles, and one of them large."""
    rows, columns = result.similarity.shape[:2]
    patches = {
        f"{row + 1}, {column + 1}": (row, column)
        for row in range(rows)
        for column in range(columns)
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
            alt=f"Cosine similarity of the position embeddings of {result.model}, a tile per patch",
            on_pick=selection.pick_tile,
        )
    with large:
        widgets.plot(
            position_figure.plot_tile(result, patches[patch]),
            key="tile",
            alt=f"Cosine similarity of patch {patch} to all patches",
        )


found: dict[str, tuple[FigureSpec, Result]] = {}
refusals: list[UnsupportedModel] = []
for spec in FIGURES:
    if HOME in (spec.slug, spec.page):
        try:
            found[spec.title] = spec, cache.result(spec, subject)
        except UnsupportedModel as refusal:
            refusals.append(refusal)
if not found:
    raise refusals[0]
kind, head = next(iter(found)), st.container()
if len(found) > 1:
    kind = selection.choose(
        "positions",
        "This model knows places by",
        list(found),
        help="It has more than one kind of positions.",
    )
spec, result = found[kind]
with head:
    place = widgets.heading(spec.title, spec.question)
if isinstance(result, PositionSimilarity):
    show_tiles(spec, result)
else:
    show = magnifier if isinstance(result, PositionBias) else widgets.plot
    show(spec.plot(result), key=spec.slug, alt=f"{spec.title} of {subject.model}")
with place:
    widgets.export(spec, result, name=widgets.title_of(subject))
widgets.explain(spec)
