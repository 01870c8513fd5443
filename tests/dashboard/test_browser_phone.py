"""Can a chart be read and used on a phone, in a real browser?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dashboard.serving import CLASSIFIER
from tests.dashboard.windows import PHONE, show, user_with

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phone(browser: Browser, address: str) -> Iterator[Page]:
    with user_with(browser, address, **PHONE) as page:
        yield page


def swipe(page: Page, start: tuple[float, float], by: tuple[float, float]) -> None:
    """Moves a finger over the screen, in CSS px."""
    session = page.context.new_cdp_session(page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    send("touchStart", start)
    for step in range(1, 11):
        send("touchMove", (start[0] + by[0] * step / 10, start[1] + by[1] * step / 10))
    send("touchEnd")


def rests(page: Page, selector: str, side: str, *, above: float) -> None:
    """Waits until something has been scrolled so far, and glides no more."""
    moved = """async ([selector, side, above]) => {
      const place = document.querySelector(selector);
      const before = place[side];
      for (let times = 0; times < 10; times++) await new Promise(requestAnimationFrame);
      return place[side] === before && before > above;
    }"""
    page.wait_for_function(moved, arg=[selector, side, above])


def test_a_finger_on_a_chart_moves_the_page_and_a_tap_opens_the_head(phone: Page) -> None:
    show(phone, "/?at=head_statistics")
    drawing = phone.locator(".stPlotlyChart .nsewdrag").first
    box = drawing.bounding_box()
    assert box
    swipe(phone, (150, box["y"] + 150), (0, -120))
    rests(phone, "[data-testid=stMain]", "scrollTop", above=60)
    swipe(phone, (150, 400), (-100, 0))
    rests(phone, ".st-key-wide_heads", "scrollLeft", above=40)
    phone.locator(".st-key-wide_heads").evaluate("e => e.scrollLeft = 0")
    box = drawing.bounding_box()
    assert box
    # The cell of head 3 in layer 6, of six heads and twelve layers.
    phone.touchscreen.tap(box["x"] + box["width"] * 3.5 / 6, box["y"] + box["height"] * 6.5 / 12)
    phone.wait_for_url("**at=explore**")
    opened = parse_qs(urlparse(phone.url).query)
    assert (opened["layer"], opened["head"]) == (["6"], ["3"])


def test_a_chart_that_is_cut_fades_there_and_can_be_moved_to_its_end(phone: Page) -> None:
    show(phone, "/?at=head_statistics")
    place = phone.locator(".st-key-wide_heads")
    expect(place).to_have_css("mask-image", re.compile(r"linear-gradient\(to left"))
    ends = """e => {
      e.scrollLeft = e.scrollWidth;
      const [fade] = getComputedStyle(e).maskImage.match(/[0-9.]+px/);
      const chart = e.querySelector(".stPlotlyChart").getBoundingClientRect();
      return [chart.right + parseFloat(fade), e.getBoundingClientRect().right];
    }"""
    last, edge = place.evaluate(ends)
    assert last <= edge + 1, "the end of the chart still fades"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/?at=layer_cka", "cka"),
        ("/?at=token_similarity&beside=coffee", "similar_there"),
        (f"/?at=head_importance&model={CLASSIFIER}", "board"),
    ],
)
def test_below_a_picture_in_a_chart_is_no_empty_room(phone: Page, path: str, key: str) -> None:
    show(phone, path)
    chart = phone.locator(f".st-key-{key} .stPlotlyChart")
    chart.scroll_into_view_if_needed()
    below = chart.evaluate("""e => {
      const drawing = e.querySelector(".nsewdrag").getBoundingClientRect();
      const place = e.closest(".stElementContainer").getBoundingClientRect();
      return place.bottom - drawing.bottom;
    }""")
    assert 0 <= below < 80


def test_the_legend_of_a_chart_is_on_the_screen(phone: Page) -> None:
    show(phone, "/?at=attention_distance")
    names = phone.locator(".stPlotlyChart .legendtext")
    expect(names).not_to_have_count(0)
    assert names.all_text_contents()[:6] == [f"Head {head}" for head in range(6)]
    for name in names.all():
        box = name.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
