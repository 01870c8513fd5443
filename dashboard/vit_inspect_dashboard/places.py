"""Which places are there, and what is shown in each? The address says by name what is open."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import NamedTuple

from vit_inspect.catalog import FIGURES
from vit_inspect_dashboard import exports, page, state
from vit_inspect_dashboard.state import HOME

VIEWS = Path(__file__).parent / "views"
OLD = {"attention_maps": HOME, "overview": "about", "tour": "learn"}
"""Names that addresses had, and what they open now."""

_FIGURES = {entry.figure.slug: entry.figure.title for entry in FIGURES if entry.page is None}
_MAPS = (
    "token_similarity",
    "feature_pca",
    "attention_rollout",
    "attention_relevance",
    "token_norms",
    "logit_lens",
)
_TESTS = ("head_importance", "faithfulness")


class Place(NamedTuple):
    """A place has a title, and one view or some, whose names and titles are `views`.

    pictures: whether its views are of one picture each, which is chosen above them.
    """

    title: str
    views: dict[str, str]
    pictures: bool = False


def _place(title: str, slugs: tuple[str, ...], **others: str) -> Place:
    return Place(title, others | {slug: _FIGURES[slug] for slug in slugs})


PLACES = (
    _place("Explore", _MAPS, explore="Attention")._replace(pictures=True),
    _place("Paper figures", (), paper="Paper figures"),
    _place(
        "Heads and layers",
        # Where a figure that nobody has given a place is found.
        tuple(slug for slug in _FIGURES if slug not in (*_MAPS, *_TESTS, *OLD)),
    ),
    _place("Tests", _TESTS),
    _place("Surveys", (), surveys="Surveys"),
    _place("Compare and export", (), compare="Compare", export="Export"),
    _place("Learn", (), learn="Learn")._replace(pictures=True),
    _place("About this model", (), about="About this model"),
)
VIEW_NAMES = tuple(name for place in PLACES for name in place.views)
NAMES = (*VIEW_NAMES, *OLD)
"""What an address may say."""


def named(name: str | None) -> str:
    """The view of a name in an address; the first one if there is none of this name."""
    known = OLD.get(name or "", name)
    return known if known in VIEW_NAMES else HOME


def place_of(view: str) -> Place:
    """Where a view is found."""
    return next(place for place in PLACES if view in place.views)


def show(view: str) -> None:
    """Draw a view: its script in `views/`, or its figure, if that needs no controls."""
    script = VIEWS / f"{view}.py"
    if script.is_file():
        runpy.run_path(str(script))
    else:
        _show_figure(view)


def _show_figure(view: str) -> None:
    """A view of a figure that needs no controls."""
    [entry] = [each for each in FIGURES if each.figure.slug == view]
    figure, subject = entry.figure, state.current()
    place = page.heading(figure.title, figure.question)
    record = page.of_entry(entry, subject)
    page.plot(figure.plot(record), key=view, alt=f"{figure.title} of {subject.model_title}")
    with place:
        exports.offer(figure, record, name=page.title_of(subject))
    page.explain(figure)
