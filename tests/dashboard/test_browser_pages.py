"""Does every page draw something in a real browser, for a model of features and a classifier?"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, expect

from tests.dashboard.serving import CLASSIFIER
from tests.dashboard.windows import new_window, ready, show
from tests.helpers.words import LITERAL
from vit_inspect.catalog import FIGURES
from vit_inspect.loading.recommended import DEFAULT
from vit_inspect_dashboard.places import PLACES, VIEW_NAMES, place_of
from vit_inspect_dashboard.state import HOME
from vit_inspect_dashboard.wording import JOINER

pytestmark = pytest.mark.slow

QUESTIONS = {
    **{entry.figure.slug: entry.figure.question for entry in FIGURES},
    HOME: "Move over the picture: see what each patch attends to.",
    "token_similarity": "Move over the picture: see which patches are like",
    "surveys": "What do the heads do over many pictures?",
    "compare": "How do two models, two pictures, or two heads differ?",
    "export": "How do the figures get into a paper?",
    "learn": "How does a photograph become an output?",
    "about": "What is this model, and what did it see?",
}
"""What each view asks, in its heading or the line above its map."""
OF_BOTH = (HOME, "attention_relevance", "logit_lens", "head_importance", "learn", "about")
"""Views that show a classifier something else than a model of features."""
SHOWN = [
    *(("bundled", view) for view in VIEW_NAMES),
    *(("classifier", view) for view in OF_BOTH),
]
MODELS = {"bundled": DEFAULT, "classifier": CLASSIFIER}
RESAMPLED = "Position table resampled from 37 × 37 to 16 × 16."
"""What every view has to tell of the bundled model."""
REFUSED = {("bundled", "logit_lens"): "This model has none."}
"""What there is instead of a figure."""
UNDRAWN = ("surveys",)
"""Views without a drawing until the operator offers something."""

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
    ...all("img.picture, [data-testid=stImage] img").map(
      (image) => seen(image) && image.naturalWidth > 0
    ),
    ...all("[data-testid=stMain] .st-key-make_the_archive").map((place) =>
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
    page = new_window(windows)
    yield page
    page.close()


@pytest.fixture
def complaints(window: Page) -> Iterator[list[str]]:
    """What the browser holds against the page."""
    found: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type == "error":
            found.append(f"{message.text} {message.location['url']}")

    def fail(error: Exception) -> None:
        found.append(str(error))

    window.on("console", hear)
    window.on("pageerror", fail)
    yield found
    window.remove_listener("console", hear)
    window.remove_listener("pageerror", fail)


@pytest.mark.parametrize(("kind", "view"), SHOWN)
def test_every_view_is_drawn(kind: str, view: str, window: Page, complaints: list[str]) -> None:
    model, place = MODELS[kind], place_of(view)
    show(window, f"/?at={view}&model={model}")
    expect(window.locator("[data-testid=stException]")).to_have_count(0)
    alerts = window.locator("[data-testid=stAlert]").all_inner_texts()
    refused = REFUSED.get((kind, view))
    if refused:
        assert [alert for alert in alerts if refused in alert] == [alerts.pop()]
    else:
        assert not alerts
        notes = window.locator("[data-testid=stCaptionContainer]", has_text=RESAMPLED)
        expect(notes).to_have_count(int(kind == "bundled"))
    expect(window).to_have_title(f"{place.views[view]} - vit_inspect")
    expect(window.locator(".st-key-place [aria-checked=true]")).to_have_text(place.title)
    expect(window.locator(".st-key-choose_model button:visible")).to_contain_text(model)
    expect(window.locator("h1, h3").filter(has_text=QUESTIONS.get(view, ""))).not_to_have_count(0)
    if not refused and view not in UNDRAWN:
        window.wait_for_function(DRAWN, polling=PAUSE_MS)
    assert complaints == []


def test_the_places_lead_to_every_view(window: Page, address: str) -> None:
    show(window, "/?at=about")
    for place in PLACES:
        window.locator(".st-key-place").get_by_text(place.title, exact=True).click()
        expect(window.locator(".st-key-place [aria-checked=true]")).to_have_text(place.title)
        expect(window).to_have_url(f"{address}/?at={next(iter(place.views))}")
        ready(window)
        views = window.locator(".st-key-view").get_by_role("radio")
        alone = len(place.views) == 1
        expect(views).to_have_text([] if alone else list(place.views.values()))
        expect(window).to_have_title(f"{next(iter(place.views.values()))} - vit_inspect")


def test_an_address_that_is_no_page_says_so_and_leads_home(window: Page, address: str) -> None:
    window.goto(f"{address}/no_such_page")
    told = window.get_by_role("dialog")
    expect(told).to_contain_text("Page not found")
    expect(told).to_contain_text("does not seem to exist")
    expect(window.locator("h1")).to_have_text(QUESTIONS[HOME])
    expect(window).to_have_url(f"{address}/")
    window.keyboard.press("Escape")
    expect(told).to_have_count(0)


def test_words_of_strangers_stand_there_as_they_are(window: Page) -> None:
    asked: list[str] = []

    def hear(request: Request) -> None:
        asked.append(request.url)

    window.on("request", hear)
    for key in ("Markdown", "HTML", "links", "Streamlit", "arrows"):
        show(window, f"/?{urlencode({'at': 'about', 'image': LITERAL[key]})}")
        told = window.get_by_test_id("stAlert")
        assert LITERAL[key] in told.inner_text().replace(JOINER, "")
        expect(told.locator("a, img, code, strong, .katex")).to_have_count(0)
    window.remove_listener("request", hear)
    assert not [each for each in asked if "127.0.0.1:9" in each]
