"""Has every figure exactly one place, and does an address of before lead there?"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.dashboard.apps import CLASSIFIER, canvas, go, opened
from vit_inspect.catalog import FIGURES
from vit_inspect_dashboard import places

SLUGS = [entry.figure.slug for entry in FIGURES if entry.page is None]


@pytest.mark.parametrize("slug", SLUGS)
def test_every_figure_of_the_catalogue_has_exactly_one_place(slug: str) -> None:
    view = places.named(slug)
    # The first view is also where any unknown name leads.
    assert view == slug or slug in places.OLD
    assert sum(view in place.views for place in places.PLACES) == 1
    assert places.place_of(view).views[view]


def test_a_figure_that_shares_a_page_has_no_view_of_its_own() -> None:
    shared = {entry.figure.slug for entry in FIGURES if entry.page is not None}
    assert shared
    assert not shared & set(places.VIEW_NAMES)
    assert {entry.page for entry in FIGURES} - {None} <= set(places.VIEW_NAMES)


def test_names_and_titles_tell_views_and_places_apart() -> None:
    assert max(Counter(places.VIEW_NAMES).values()) == 1
    titles = [place.title for place in places.PLACES]
    assert len(set(titles)) == len(titles)
    for place in places.PLACES:
        assert len(set(place.views.values())) == len(place.views)


def test_every_script_of_a_view_is_found_and_every_view_can_be_drawn() -> None:
    scripts = {path.stem for path in places.VIEWS.glob("*.py")}
    assert scripts <= set(places.VIEW_NAMES)
    # What has no script is drawn as a figure of the catalogue.
    assert set(places.VIEW_NAMES) - scripts <= set(SLUGS)


@pytest.mark.parametrize(
    ("name", "view"),
    [
        (None, "explore"),
        ("", "explore"),
        ("nonsense", "explore"),
        ("../app", "explore"),
        ("Explore", "explore"),
        ("attention_maps", "explore"),
        ("overview", "about"),
        ("tour", "learn"),
        ("feature_pca", "feature_pca"),
        ("position_bias", "explore"),
    ],
)
def test_a_name_leads_to_its_view_and_any_other_to_the_first(name: str | None, view: str) -> None:
    assert places.named(name) == view
    assert places.place_of(view).views[view]


@pytest.mark.slow
@pytest.mark.usefixtures("random_weights")
def test_old_addresses_and_links_within_the_page_open_their_views() -> None:
    app = opened("overview")
    assert CLASSIFIER in app.title[0].value.replace("\\", "")
    go(app, "tour")
    assert app.title[0].value == "Learn"
    go(app, "attention_maps", layer=1, head=2)
    assert canvas(app).header["opened"] == [1, 2]
    # The place, and then what is in it; what was chosen stays.
    app.button_group(key="place").set_value("Heads and layers").run()
    assert not app.exception
    assert "at" in app.query_params
    app.button_group(key="place").set_value("Explore").run()
    app.button_group(key="view").set_value("Attention").run()
    assert not app.exception
    assert app.query_params["at"] == "explore"
    assert canvas(app).header["opened"] == [1, 2]
