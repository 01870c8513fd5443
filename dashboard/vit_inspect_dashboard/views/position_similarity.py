"""View: how does the model know where a patch lies? By a table, by a bias, or by rotation."""

from __future__ import annotations

from typing import Any

import streamlit as st

from vit_inspect.catalog import FIGURES
from vit_inspect.errors import UnsupportedModel
from vit_inspect.figures import position_similarity
from vit_inspect.figures.figure import FigureSpec
from vit_inspect.records.base import Result
from vit_inspect.records.paper import PositionBias, PositionSimilarity
from vit_inspect_dashboard import controls, exports, page, state
from vit_inspect_dashboard.components import screen
from vit_inspect_dashboard.components.magnifier import magnifier
from vit_inspect_dashboard.wording import patch_name

HOME = position_similarity.FIGURE.slug
subject = state.current()


def show_tiles(result: PositionSimilarity) -> None:
    """All tiles, and one of them large."""
    rows, columns = position_similarity.shown(result)
    patch = controls.choose_patch(
        result.similarity.shape[:2],
        key="patch",
        start=(rows[len(rows) // 2], columns[len(columns) // 2]),
        help=screen.in_words("The patch whose tile is shown large. You can also click a tile.")
        + ("" if screen.touched() else " Hover over a tile to enlarge it."),
    )
    grid, large = st.columns(2, gap="large")
    with grid:
        magnifier(
            position_similarity.plot(result),
            key="tiles",
            alt=f"Cosine similarity of the position embeddings of {result.model}, a tile per patch",
            on_pick=state.pick_tile,
            opened=patch,
        )
    with large:
        page.plot(
            position_similarity.plot_tile(result, patch),
            key="tile",
            alt=f"Cosine similarity of {patch_name(*patch).lower()} to all patches",
        )


found: dict[str, tuple[FigureSpec[Any], Result]] = {}
refusals: list[UnsupportedModel] = []
for entry in FIGURES:
    if HOME in (entry.figure.slug, entry.page):
        try:
            found[entry.figure.title] = entry.figure, page.of_entry(entry, subject)
        except UnsupportedModel as refusal:
            refusals.append(refusal)
if not found:
    raise refusals[0]
kind, head = next(iter(found)), st.container()
if len(found) > 1:
    kind = controls.choose(
        "positions",
        "This model uses",
        list(found),
        help="It tells its tokens where they lie in more than one way.",
    )
figure, result = found[kind]
with head:
    place = page.heading(figure.title, figure.question)
if isinstance(result, PositionSimilarity):
    show_tiles(result)
else:
    show = magnifier if isinstance(result, PositionBias) else page.plot
    show(figure.plot(result), key=figure.slug, alt=f"{figure.title} of {subject.model_title}")
with place:
    exports.offer(figure, result, name=page.title_of(subject))
page.explain(figure)
