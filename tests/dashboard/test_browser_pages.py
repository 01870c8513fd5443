"""Does every page draw something in a real browser, for a model of features and a classifier?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect

from tests.dashboard.apps import VIEWS
from tests.dashboard.serving import CLASSIFIER
from vit_inspect.catalog import FIGURES
from vit_inspect.loading.recommended import BUNDLED

pytestmark = pytest.mark.slow

FIGURE_PAGES = {entry.figure.slug: entry.figure for entry in FIGURES if entry.page is None}
OTHER_PAGES = sorted(set(VIEWS).difference(FIGURE_PAGES))
HOME, TOKENS = "overview", "feature_pca"
TITLES = {
    **{slug: slug.capitalize() for slug in OTHER_PAGES},
    **{slug: figure.title for slug, figure in FIGURE_PAGES.items()},
}
"""What the menu calls each page."""


class Shown(NamedTuple):
    """What an address shows: the page's heading, and the question below it where one is known."""

    address: str
    heading: str
    question: str = ""


TOKENS_SHOWN = {"token_similarity": "similar patches", "logit_lens": "logit lens"}
PLACES = {
    **{slug: Shown(slug, TITLES[slug]) for slug in OTHER_PAGES},
    **{slug: Shown(slug, figure.title, figure.question) for slug, figure in FIGURE_PAGES.items()},
    **{
        entry.figure.slug: Shown(
            f"{TOKENS}?tokens={TOKENS_SHOWN[entry.figure.slug]}",
            TITLES[TOKENS],
            entry.figure.question,
        )
        for entry in FIGURES
        if entry.page == TOKENS
    },
}
"""All pages, and all that one of them shows of tokens."""
OF_BOTH = (HOME, "attention_relevance", "feature_pca", "logit_lens", "head_importance", "tour")
"""Pages that show a classifier something else than a model of features."""
SHOWN = [
    *(("bundled", place) for place in PLACES),
    *(("classifier", place) for place in OF_BOTH),
]
MODELS = {"bundled": BUNDLED, "classifier": CLASSIFIER}
TOLD = {
    ("bundled", HOME): "Position table resampled from 37 x 37 to 16 x 16.",
    ("bundled", "logit_lens"): "which has no known classes",
}
"""What a page has to tell of a model; all others tell nothing."""
EMPTY = {("bundled", "logit_lens")}
"""Where that is all there is."""

DRAWN = """() => {
  const all = (selector, root = document) => [
    ...root.querySelectorAll(selector),
    ...[...root.querySelectorAll("*")].flatMap((each) =>
      each.shadowRoot ? all(selector, each.shadowRoot) : []
    ),
  ];
  const seen = (part) => {
    const { width, height } = part.getBoundingClientRect();
    return width * height > 0;
  };
  const marked = (plot) =>
    [...plot.querySelectorAll("svg.main-svg")].some(seen) &&
    [...plot.querySelectorAll(".cartesianlayer image, .cartesianlayer .trace path")].some(seen);
  const painted = (canvas) =>
    seen(canvas) &&
    canvas.width * canvas.height > 0 &&
    canvas
      .getContext("2d")
      .getImageData(0, 0, canvas.width, canvas.height)
      .data.some((part) => part > 0);
  const drawings = [
    ...all("[data-testid=stPlotlyChart]").map(marked),
    ...all("canvas.picture").map(painted),
    ...all("img.picture").map((image) => seen(image) && image.naturalWidth > 0),
    ...all("[data-testid=stMain] [data-testid=stDownloadButton]").map((place) =>
      [...place.querySelectorAll("button")].some(seen)
    ),
  ];
  return drawings.length > 0 && drawings.every(Boolean) && !all("[data-testid=stSkeleton]").length;
}"""
"""Whether all plots have marks, all canvases paint, all images pixels and all buttons a place."""
PAUSE_MS = 100
"""Between two looks at it, for the browser to draw."""


@pytest.fixture(scope="module")
def window(windows: BrowserContext) -> Iterator[Page]:
    """One window for all pages."""
    page = windows.new_page()
    yield page
    page.close()


@pytest.fixture
def complaints(window: Page) -> Iterator[list[str]]:
    """What the browser holds against the page."""
    found: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        # Below a page's own address Streamlit looks for its server in vain, and then above.
        lookup = re.search(r"/\w+/_stcore/(health|host-config)$", message.location["url"])
        if message.type == "error" and not lookup:
            found.append(f"{message.text} {message.location['url']}")

    def fail(error: Exception) -> None:
        found.append(str(error))

    window.on("console", hear)
    window.on("pageerror", fail)
    yield found
    window.remove_listener("console", hear)
    window.remove_listener("pageerror", fail)


@pytest.mark.parametrize(("kind", "place"), SHOWN)
def test_every_page_is_drawn(
    kind: str, place: str, window: Page, complaints: list[str], address: str
) -> None:
    model, shown = MODELS[kind], PLACES[place]
    path = "" if place == HOME else shown.address
    window.goto(f"{address}/{path}{'&' if '?' in path else '?'}model={model}")
    window.wait_for_selector("h1, [data-testid=stAlert], [data-testid=stException]")
    window.wait_for_selector('[data-test-script-state="notRunning"]')
    expect(window.locator("[data-testid=stException]")).to_have_count(0)
    alerts = window.locator("[data-testid=stAlert]").all_inner_texts()
    told = TOLD.get((kind, place))
    assert len(alerts) == (told is not None), alerts
    assert all(told in alert for alert in alerts)
    expect(window.get_by_label("Model", exact=True).first).to_have_value(model)
    expect(window.locator("h1")).to_have_text(model if place == HOME else shown.heading)
    expect(window.locator("h3").first).to_contain_text(shown.question)
    if (kind, place) not in EMPTY:
        window.wait_for_function(DRAWN, polling=PAUSE_MS)
    assert complaints == []


def test_the_menu_leads_to_every_page(window: Page, address: str) -> None:
    window.goto(address)
    window.wait_for_selector("h1")
    window.wait_for_selector('[data-test-script-state="notRunning"]')
    read = "links => links.map(link => [link.href, link.innerText])"
    menu = window.locator("[data-testid=stTopNav]")
    found = dict(menu.get_by_role("link").evaluate_all(read))
    for section in menu.get_by_role("button").all():
        section.click()
        items = window.get_by_role("menuitem")
        items.first.wait_for()
        found |= dict(items.evaluate_all(read))
        window.keyboard.press("Escape")
        expect(items).to_have_count(0)
    assert found == {
        f"{address}/{'' if slug == HOME else slug}": title for slug, title in TITLES.items()
    }


def test_an_address_that_is_no_page_says_so_and_leads_home(window: Page, address: str) -> None:
    window.goto(f"{address}/no_such_page")
    told = window.get_by_role("dialog")
    expect(told).to_contain_text("Page not found")
    expect(told).to_contain_text("does not seem to exist")
    expect(window.locator("h1")).to_have_text(BUNDLED)
    expect(window).to_have_url(f"{address}/")
    window.keyboard.press("Escape")
    expect(told).to_have_count(0)
